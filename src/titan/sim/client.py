"""A user: submits graphs under keys of its own, cancels, and asks again with the same words when
nobody answers."""

from __future__ import annotations

from titan.model.graph import resolve
from titan.protocol import messages as pm
from titan.sim.network import Connection
from titan.sim.oracle.processes import Violation
from titan.sim.scenario import Submission
from titan.sim.translation import describe
from titan.sim.user import PATIENCE_S, SimUser
from titan.sim.world import World

PARTS = 1000
"""Requests above are submissions in parts."""
STOPS, DECISIONS, REVIVALS, SERVICES, REPLACES = 100, 200, 400, 500, 800
"""Requests from here on cancel what was retried, are about gates, about the dead letter queue, and
stop or replace services."""
MAX_LOOKS = 40
"""So long the key of a decision grows, by one character each time its gate is not open yet."""


class SimClient(SimUser):
    def __init__(self, world: World, submission: Submission) -> None:
        super().__init__(world, f"client-{submission.key}")
        self.submission = submission
        self.run = ""
        self._cancels: dict[int, str] = {}
        """Request -> job: cancels that nobody has confirmed."""
        self._decisions: dict[int, pm.Decide | pm.RetryDead | pm.PurgeDead] = {}
        """What somebody wants with gates and the dead letter queue and nobody has answered, by
        request."""
        self._again = 0
        self._parts = 0
        """Submissions in parts that were begun."""
        self._stops: dict[int, tuple[str, float]] = {}
        """Request -> (job, since when): services that nobody has confirmed to be stopped."""
        self._replaces: dict[int, str] = {}
        """The same for services that are to be replaced."""
        self._planned = 0
        """Cancels and the like whose time has not come."""
        world.clock.after(submission.at_s, self._dial)

    def _send_requests(self) -> None:
        """Says all that is unanswered, and hangs up if that stays so."""
        link = self._link
        if link is None:
            return
        if not self.run:
            self._submit()
        for request, job in self._cancels.items():
            self._send(pm.Cancel(request, self.run, job))
        for message in self._decisions.values():
            self._send(message)
        for request, (job, _) in self._stops.items():
            self._send(pm.StopService(request, self.run, job))
        for request, job in self._replaces.items():
            changed = "serve anew" if request % 2 else ""
            self._send(pm.ReplaceService(request, self.run, job, command=changed))
        self.world.clock.after(PATIENCE_S, lambda: self._lose_patience(link))

    def _submit(self) -> None:
        key, dag, size = self.submission.key, self.submission.dag, self.submission.part
        if not size:
            self._send(pm.Submit(2, key, dag))
            return
        self._parts += 1
        request, parents = PARTS + self._parts, resolve(dag)
        self._send(pm.OpenRun(request, key, dag.name, dag.version, dag.templates, len(dag.ids), deadline_s=dag.deadline_s))
        for at in range(0, len(dag.ids), size):
            part = slice(at, at + size)
            self._send(pm.AddJobs(request, at, dag.ids[part], dag.template_of[part], dag.args[part], parents[part]))

    def _lose_patience(self, link: Connection) -> None:
        if self._link is not link or (self.run and not self._has_unanswered()):
            return
        self._resend_or_hang_up(link)

    def _on_message(self, message: pm.Message) -> None:
        match message:
            case pm.Welcome():
                pass
            case pm.Submitted(_, run, _):
                self._on_submitted(run)
            case pm.Cancelled(request):
                job = self._cancels.pop(request, None)
                if job is not None:
                    self.world.trace.note(self.host, f"hears that {self.run}/{job} is cancelled")
                    self.world.oracle.on_cancelled(self.run, job)
            case pm.ServicesStopped(request):
                stopped = self._stops.pop(request, None)
                if stopped is not None:
                    self.world.oracle.on_stopped(self.run, stopped[0], asked_at=stopped[1])
            case pm.ServiceReplaced(request):
                self._replaces.pop(request, None)
            case pm.Error(request, "conflict" | "not_found") if REPLACES <= request < PARTS:
                self._replaces.pop(request, None)  # it is over
            case pm.Error(request, "not_found") if SERVICES <= request < REPLACES:
                self._stops.pop(request, None)
            case pm.Decided() | pm.Retried() | pm.Purged() as answer:
                self._on_answer(answer)
            case pm.Error(request, "conflict" | "not_found", why) if DECISIONS <= request < SERVICES:
                asked = self._decisions.pop(request, None)
                self.world.trace.count(f"{type(asked).__name__} refused")
                self.world.trace.note(self.host, f"hears: {why}")
                # said again, it may have come in time
                early = isinstance(asked, pm.Decide) and "not open yet" in why
                if isinstance(asked, (pm.Decide, pm.RetryDead)) and not early:
                    self.world.oracle.on_refused(asked.run or self.run, asked.key)
                if isinstance(asked, pm.Decide) and early:
                    self._ask_later(request, asked)
            case pm.Error(request, "invalid_graph") if request > PARTS and not self.world.scenario.calm:
                self.world.trace.note(self.host, "begins again: a part was lost")
                self.world.trace.count("part lost")
                if not self.run:
                    self._submit()
            case unexpected:
                raise Violation(f"{self.host} was answered {unexpected}")

    def _on_submitted(self, run: str) -> None:
        self.world.oracle.on_submitted(self.submission.key, run)
        if self.run:
            return
        self.run = run
        self.world.trace.note(self.host, f"hears that its run is {run}")
        for i, (after_s, job) in enumerate(self.submission.cancels):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, job=job: self._cancel(10 + i, job))  # type: ignore[misc]

        for i, (after_s, gate, approve, by_token) in enumerate(self.submission.decisions):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, it=(gate, approve, by_token): self._decide(i, *it))  # type: ignore[misc]
        for i, (after_s, job, purge) in enumerate(self.submission.revivals):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, job=job, purge=purge: self._revive(i, job, purge))  # type: ignore[misc]

        for i, (after_s, job) in enumerate(self.submission.stops):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, job=job: self._stop(SERVICES + i, job))  # type: ignore[misc]

        for i, (after_s, job) in enumerate(self.submission.replaces):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, job=job: self._replace(REPLACES + i, job))  # type: ignore[misc]

    def _decide(self, i: int, gate: str, approve: bool, by_token: bool) -> None:
        key = f"{self.submission.key}-decision-{i}"
        token = self.world.oracle.token_of(self.run, gate) if by_token else ""
        place = ("", "") if token else (self.run, gate)
        self._request(DECISIONS + i, pm.Decide(DECISIONS + i, *place, approve, f"human {i}", "", key, token))

    def _ask_later(self, request: int, asked: pm.Decide) -> None:
        """A gate was not open yet: somebody looks again, which is another decision."""
        again = pm.Decide(request, asked.run, asked.job, asked.approve, asked.by, "", f"{asked.key}'", asked.token)
        if len(asked.key) < MAX_LOOKS:
            self._planned += 1
            self.world.clock.after(self.world.rng.uniform(2.0, 20.0), lambda: self._request(request, again))

    def _revive(self, i: int, job: str, purge: bool) -> None:
        request = REVIVALS + i
        key = f"{self.submission.key}-revival-{i}"
        self._request(request, pm.PurgeDead(request, self.run, job) if purge else pm.RetryDead(request, self.run, job, "ann", key))

    def _request(self, request: int, message: pm.Decide | pm.RetryDead | pm.PurgeDead) -> None:
        self._planned -= 1
        self._decisions[request] = message
        self.world.trace.count(type(message).__name__)
        self._dial_or_send()

    def _on_answer(self, answer: pm.Decided | pm.Retried | pm.Purged) -> None:
        asked = self._decisions.pop(answer.request, None)
        if asked is None:
            return
        self.world.trace.note(self.host, f"hears that it is done: {describe(asked)}")
        oracle = self.world.oracle
        if isinstance(asked, pm.Decide) and isinstance(answer, pm.Decided):
            oracle.on_decided(answer.run, answer.job, asked.key, approved=asked.approve)
        elif isinstance(asked, pm.RetryDead):
            oracle.on_retried(asked.run, asked.key)
            self._stop_what_never_ends()

    def _stop_what_never_ends(self) -> None:
        """Those that run again have to be cancelled again."""
        dag = self.submission.dag
        for job, args in zip(dag.ids, dag.args, strict=True):
            if args[0] == "endless":
                self._planned += 1
                self._again += 1
                request = STOPS + self._again
                self.world.clock.after(self.world.rng.uniform(5.0, 60.0), lambda r=request, j=job: self._cancel(r, j))  # type: ignore[misc]

        for _, service in self.submission.stops:
            self._planned += 1
            self._again += 1
            later = SERVICES + STOPS + self._again
            self.world.clock.after(self.world.rng.uniform(5.0, 60.0), lambda r=later, j=service: self._stop(r, j))  # type: ignore[misc]

    def _replace(self, request: int, job: str) -> None:
        self._planned -= 1
        self._replaces[request] = job
        self.world.trace.count("service replaced")
        self._dial_or_send()

    def _stop(self, request: int, job: str) -> None:
        self._planned -= 1
        self._stops[request] = job, self.world.clock.now
        self.world.oracle.on_stop_asked(self.run, job)
        self.world.trace.count("service stopped")
        self._dial_or_send()

    def _cancel(self, request: int, job: str) -> None:
        self._planned -= 1
        self._cancels[request] = job
        self.world.trace.count("cancel")
        self._dial_or_send()

    def _has_unanswered(self) -> bool:
        """Whether something was asked and not answered."""
        return bool(self._cancels or self._decisions or self._stops or self._replaces)

    def open_work(self) -> list[str]:
        """What is not done yet; empty in the end."""
        if self.run and not (self._has_unanswered() or self._planned):
            return []
        return [f"{self.host} waits for an answer"]
