"""Simulated user that submits one DAG with an idempotency key, and then sends requests about the
run, its jobs, gates and services.

The user repeats each request unchanged until the master answers it.
"""

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
"""Number of the first request that submits in parts. One request number stands for all messages of
such a submission."""
STOPS, DECISIONS, REVIVALS, SERVICES, REPLACES = 100, 200, 400, 500, 800
"""Lowest request number of each kind of request, in this order: cancels of retried jobs, decisions
about gates, requests about the dead letter queue, stops of services, replacements of services."""
MAX_KEY = 40
"""Maximum length of the key of a decision. Each time that the gate is not open yet, the next
decision has a key that is one character longer."""


class SimClient(SimUser):
    def __init__(self, world: World, submission: Submission) -> None:
        super().__init__(world, f"client-{submission.key}")
        self.submission = submission
        self.run = ""
        self._cancels: dict[int, str] = {}
        """Request -> job, of unanswered cancels."""
        self._decisions: dict[int, pm.Decide | pm.RetryDead | pm.PurgeDead] = {}
        """Request -> message, of unanswered requests about gates and the dead letter queue."""
        self._repeats = 0
        self._parts = 0
        """Number of submissions in parts so far."""
        self._stops: dict[int, tuple[str, float]] = {}
        """Request -> (job, time of the request), of unanswered stops of services."""
        self._replaces: dict[int, str] = {}
        """Request -> job, of unanswered replacements of services."""
        self._planned = 0
        """Number of requests that are not due yet."""
        world.clock.after(submission.at_s, self._dial)

    def _send_requests(self) -> None:
        """Send all unanswered requests, and plan how to handle a late answer."""
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
            command = "serve anew" if request % 2 else ""
            self._send(pm.ReplaceService(request, self.run, job, command=command))
        self.world.clock.after(PATIENCE_S, lambda: self._lose_patience(link))

    def _submit(self) -> None:
        key, dag, size = self.submission.key, self.submission.dag, self.submission.part
        if not size:
            self._send(pm.Submit(2, key, dag))
            return
        self._parts += 1
        request, parents = PARTS + self._parts, resolve(dag)
        head = (request, key, dag.name, dag.version, dag.templates, len(dag.ids))
        self._send(pm.OpenRun(*head, deadline_s=dag.deadline_s, fresh=dag.fresh))
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
                    self.world.trace.note(self.host, f"{self.run}/{job} is cancelled")
                    self.world.oracle.on_cancelled(self.run, job)
            case pm.ServicesStopped(request):
                stopped = self._stops.pop(request, None)
                if stopped is not None:
                    self.world.oracle.on_stopped(self.run, stopped[0], asked_at=stopped[1])
            case pm.ServiceReplaced(request):
                self._replaces.pop(request, None)
            case pm.Error(request, "conflict" | "not_found") if REPLACES <= request < PARTS:
                self._replaces.pop(request, None)  # the service has ended
            case pm.Error(request, "not_found") if SERVICES <= request < REPLACES:
                self._stops.pop(request, None)
            case pm.Decided() | pm.Retried() | pm.Purged() as answer:
                self._on_answer(answer)
            case pm.Error(request, "conflict" | "not_found", why) if DECISIONS <= request < SERVICES:
                refused = self._decisions.pop(request, None)
                self.world.trace.count(f"{type(refused).__name__} refused")
                self.world.trace.note(self.host, f"refused: {why}")
                # a copy of a decision that came too early may arrive when the gate is open
                early = isinstance(refused, pm.Decide) and "not open yet" in why
                if isinstance(refused, (pm.Decide, pm.RetryDead)) and not early:
                    self.world.oracle.on_refused(refused.run or self.run, refused.key)
                if isinstance(refused, pm.Decide) and early:
                    self._decide_later(request, refused)
            case pm.Error(request, "invalid_graph") if request > PARTS and not self.world.scenario.calm:
                self.world.trace.note(self.host, "submits again: a part was lost")
                self.world.trace.count("part lost")
                if not self.run:
                    self._submit()
            case unexpected:
                raise Violation(f"{self.host} received an unexpected answer: {unexpected}")

    def _on_submitted(self, run: str) -> None:
        self.world.oracle.on_submitted(self.submission.key, run)
        if self.run:
            return
        self.run = run
        self.world.trace.note(self.host, f"its run is {run}")
        for i, (after_s, job) in enumerate(self.submission.cancels):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, job=job: self._cancel(10 + i, job))  # type: ignore[misc]

        for i, (after_s, gate, approve, by_token) in enumerate(self.submission.decisions):
            self._planned += 1
            self.world.clock.after(after_s, lambda i=i, args=(gate, approve, by_token): self._decide(i, *args))  # type: ignore[misc]
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

    def _decide_later(self, request: int, early: pm.Decide) -> None:
        """Plan another decision, with a new key, about a gate that was not open yet."""
        later = pm.Decide(request, early.run, early.job, early.approve, early.by, "", f"{early.key}'", early.token)
        if len(early.key) < MAX_KEY:
            self._planned += 1
            self.world.clock.after(self.world.rng.uniform(2.0, 20.0), lambda: self._request(request, later))

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
        request = self._decisions.pop(answer.request, None)
        if request is None:
            return
        self.world.trace.note(self.host, f"done: {describe(request)}")
        oracle = self.world.oracle
        if isinstance(request, pm.Decide) and isinstance(answer, pm.Decided):
            oracle.on_decided(answer.run, answer.job, request.key, approved=request.approve)
        elif isinstance(request, pm.RetryDead):
            oracle.on_retried(request.run, request.key)
            self._stop_endless_jobs()

    def _stop_endless_jobs(self) -> None:
        """Plan to cancel endless jobs and to stop services, because a retry may have started them
        again."""
        dag = self.submission.dag
        for job, args in zip(dag.ids, dag.args, strict=True):
            if args[0] == "endless":
                self._planned += 1
                self._repeats += 1
                request = STOPS + self._repeats
                self.world.clock.after(self.world.rng.uniform(5.0, 60.0), lambda r=request, j=job: self._cancel(r, j))  # type: ignore[misc]

        for _, service in self.submission.stops:
            self._planned += 1
            self._repeats += 1
            request = SERVICES + STOPS + self._repeats
            self.world.clock.after(self.world.rng.uniform(5.0, 60.0), lambda r=request, j=service: self._stop(r, j))  # type: ignore[misc]

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
        """Return whether a request is unanswered."""
        return bool(self._cancels or self._decisions or self._stops or self._replaces)

    def open_work(self) -> list[str]:
        """Describe unfinished work, one text for each item. The list must be empty at the end of a
        simulation."""
        if self.run and not (self._has_unanswered() or self._planned):
            return []
        return [f"{self.host} waits for an answer"]
