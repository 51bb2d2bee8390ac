"""State machine of a worker. Pure: inputs and the time go in, instructions to the shell come out.

The machine holds an attempt from its dispatch until the master has acknowledged that the result is
durable. So a lost connection or a crash of the master does not lose the attempt. The machine must
not know processes, files or sockets.

    FETCHING -> WAITING -> [AHEAD ->] STARTING -> RUNNING -> ENDED -> DONE -> (acknowledged: gone)

In FETCHING an attempt waits for artifacts, and in WAITING for a slot. In AHEAD it also waits for a
slot, but is already queued in the warden (see `pipelining`). In ENDED it waits until its last
output and its output files are sent, and in DONE for the acknowledgement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from titan.model.sizes import format_size
from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, Phase, clear_late_timeout, end_of_call, verdict
from titan.worker.state_machine.calls import Runners
from titan.worker.state_machine.job_values import begin_storing, on_result_set, value_of
from titan.worker.state_machine.messages import (
    AnnounceDrain,
    ArtifactFailed,
    ArtifactReady,
    Assignment,
    AttemptExited,
    AttemptRefused,
    AttemptStarted,
    AttemptWithdrawn,
    Beat,
    CallsEnded,
    CallsReturned,
    CallWaits,
    Disconnected,
    Dispatched,
    DrainOrdered,
    FetchArtifact,
    Forget,
    Instruction,
    KillRunner,
    Leave,
    LogsSent,
    OutputsKept,
    QuitOrdered,
    RecallOrdered,
    Registered,
    ReportResults,
    ReportStarted,
    Result,
    ResultsAcked,
    ResultSet,
    RunnerEnded,
    RunnerUp,
    StartAttempt,
    StartCalls,
    StopAttempt,
    StopOrdered,
    TakeBack,
    TimePassed,
    WardenDied,
    Welcomed,
    WithdrawAttempt,
)
from titan.worker.state_machine.outputs import begin_output_upload, end_output_upload, give_up_output_upload
from titan.worker.state_machine.pipelining import QUICK_S, Ahead, starts_at_once
from titan.worker.state_machine.resources import Resources
from titan.worker.state_machine.services import Services
from titan.worker.state_machine.suspects import Suspects
from titan.worker.state_machine.waiting_calls import Awaiting

__all__ = [
    "Held",
    "Phase",
    "AnnounceDrain",
    "ArtifactFailed",
    "ArtifactReady",
    "Assignment",
    "AttemptExited",
    "AttemptRefused",
    "AttemptStarted",
    "AttemptWithdrawn",
    "Beat",
    "CallsEnded",
    "CallsReturned",
    "Disconnected",
    "Dispatched",
    "DrainOrdered",
    "FetchArtifact",
    "Forget",
    "GATHER_S",
    "Instruction",
    "KillRunner",
    "Leave",
    "LogsSent",
    "QuitOrdered",
    "RESEND_S",
    "RecallOrdered",
    "Registered",
    "ReportResults",
    "ReportStarted",
    "Result",
    "ResultsAcked",
    "WardenDied",
    "WithdrawAttempt",
    "RunnerEnded",
    "RunnerUp",
    "StartAttempt",
    "StartCalls",
    "StopAttempt",
    "StopOrdered",
    "TakeBack",
    "TimePassed",
    "Welcomed",
    "WorkerMachine",
]

RESEND_S = 10.0
GATHER_S = 0.005
"""Maximum delay of reports. The machine gathers reports only while attempts wait here for a slot,
because the worker then has work without an answer of the master."""


class WorkerMachine:
    def __init__(self, slots: int, *, grace_s: float = 5.0, resources: Resources | None = None, quick_s: float = QUICK_S) -> None:
        """Create a machine. Attempts of at most `quick_s` seconds are pipelined."""
        self.slots = slots
        self.resources = resources or Resources()
        self.grace_s = grace_s
        self.cluster = ""
        self.connected = False
        self.draining = False
        self.quitting = False
        self.left = False
        self.held: dict[int, Held] = {}
        self.have: dict[str, None] = {}
        """Hashes of the artifacts that are in the cache."""
        self._wanted: dict[str, dict[int, None]] = {}
        self._waiting: deque[int] = deque()
        self.busy = 0
        """Number of attempts that have, or may have, processes."""
        self.runners = Runners()
        self.services = Services(self)
        self._awaiting = Awaiting(self.held, self.runners)
        self._ahead = Ahead(quick_s)
        self.suspects = Suspects()
        self._heartbeat_s = 5.0
        self._next_beat = 0.0
        self.beat_due = False
        self._timers: list[tuple[float, int]] = []
        self._out: list[Instruction] = []
        self._started: list[int] = []
        self._results: list[Result] = []
        self._report_by = 0.0
        """Time at which the gathered reports have to be sent, 0 if there are no gathered
        reports."""

    def handle(self, now: float, inputs: list[Any]) -> list[Instruction]:
        """Handle the inputs of one turn and return the instructions. The turn's reports are
        combined into one instruction of each kind."""
        for received in inputs:
            if not self.services.take(now, received):
                _HANDLERS[type(received)](self, now, received)
        self._fill(now)
        self.services.work(now)
        self._flush(now)
        out, self._out = self._out, []
        return out

    def next_due(self) -> float | None:
        """Return when TimePassed is due."""
        due = self._timers[0][0] if self._timers else None
        if self.connected:
            due = self._next_beat if due is None else min(due, self._next_beat)
        for other in (self.runners.next_due(), self._ahead.next_due(), self.services.next_due()):
            if other is not None:
                due = other if due is None else min(due, other)
        if self._report_by:
            due = self._report_by if due is None else min(due, self._report_by)
        return due

    @property
    def gathering(self) -> bool:
        """True while the machine gathers reports to send them together. The shell may delay output
        meanwhile."""
        return self._report_by > 0

    def holdings(self, without: Phase | None = None) -> Beat:
        """Return all attempts that this worker holds, for a registration.

        `without` excludes the attempts in one phase. A heartbeat excludes DONE: the results of
        these attempts are sent before the heartbeat, so the master has handled them when it reads
        the heartbeat. Otherwise the master would take such attempts for unknown ones that block a
        slot.
        """
        own = [(lease, h) for lease, h in self.held.items() if not h.orphaned and h.phase is not without]
        draws: dict[str, int] = {}
        draw_of = [draws.setdefault(h.draw, len(draws)) for _, h in own]
        leases, started = [lease for lease, _ in own], [h.started_at for _, h in own]
        return Beat(leases, started, tuple(draws), draw_of) if any(draws) else Beat(leases, started)

    # -- the connection ----------------------------------------------------------------------------
    def on_welcomed(self, now: float, received: Welcomed) -> None:
        if self.cluster not in ("", received.cluster):
            self._timers.clear()  # the new cluster may use the same lease numbers for other attempts
            self._waiting.clear()
            self._started.clear()
            self._results.clear()
            for leases in self._wanted.values():
                leases.clear()
            for lease, h in list(self.held.items()):
                if h.runner >= 0:
                    h.orphaned = True  # the call is not stopped, and its result is dropped
                elif h.phase in _WITH_WARDEN:
                    h.orphaned = True
                    h.stopping = Outcome.STOPPED
                    self._out.append(StopAttempt(lease, 0.0))
                else:
                    self._drop(lease)
        self.cluster = received.cluster

    def on_registered(self, now: float, received: Registered) -> None:
        self.connected = True
        self._heartbeat_s = received.heartbeat_s
        self._next_beat = now + received.heartbeat_s
        self._awaiting.on_registered()
        if self.draining:
            self._out.append(AnnounceDrain())
        self._results = [h.result for h in self.held.values() if h.phase is Phase.DONE and h.result]

    def on_disconnected(self, now: float, received: Disconnected) -> None:
        """Let unacknowledged results wait until their output is sent again, because output that was
        sent just before the disconnect may be lost."""
        self.connected = False
        for h in self.held.values():
            if h.phase is Phase.DONE and h.ran:
                h.phase = Phase.ENDED
                h.sent_at = 0.0

    def on_time_passed(self, now: float, received: TimePassed) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, lease = heappop(self._timers)
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.RUNNING and h.stopping is None:
                h.stopping = Outcome.TIMED_OUT
                self._out.append(StopAttempt(lease, self.grace_s) if h.runner < 0 else KillRunner(h.runner))
        for slow in self.runners.slow(now):
            if slow.lease is not None:
                h = self.held[slow.lease]
                h.started_at = slow.since
                if h.assignment.template.timeout_s:
                    heappush(self._timers, (slow.since + h.assignment.template.timeout_s, slow.lease))
                self._started.append(slow.lease)
            if slow.behind:
                self._out.append(TakeBack(slow.runner, slow.behind))
        self._out.extend([WithdrawAttempt(lease) for lease in self._ahead.late(now)])
        if self.connected and self._next_beat <= now:
            self._next_beat = now + self._heartbeat_s
            self.beat_due = True
            overdue = [h.result for h in self.held.values() if h.result and h.sent_at and h.sent_at + RESEND_S <= now]
            self._results.extend(overdue)

    # -- orders ------------------------------------------------------------------------------------
    def on_dispatched(self, now: float, received: Dispatched) -> None:
        for assignment in received.assignments:
            lease = assignment.lease
            if lease in self.held:
                continue  # a duplicate of an earlier dispatch
            missing = [hash_ for hash_ in assignment.needs if hash_ not in self.have]
            self.held[lease] = Held(
                assignment, Phase.FETCHING if missing and not self.draining else Phase.WAITING, draw=received.draw
            )
            if self.draining:
                self.end(now, lease, Outcome.RETURNED, "the worker drains")
            elif not missing:
                self._waiting.append(lease)
            else:
                for hash_ in missing:
                    if hash_ not in self._wanted:
                        self._out.append(FetchArtifact(hash_))
                    self._wanted.setdefault(hash_, {})[lease] = None

    def on_stop_ordered(self, now: float, received: StopOrdered) -> None:
        for lease in received.leases:
            h = self.held.get(lease)
            if h is None:
                continue
            if h.phase in (Phase.FETCHING, Phase.WAITING):
                self.end(now, lease, Outcome.STOPPED, "stopped before it started")
            elif h.runner >= 0 and h.phase is Phase.RUNNING:
                h.stopping = Outcome.STOPPED
                self._out.append(TakeBack(h.runner, len(self.runners.queues[h.runner])))
            elif h.phase in _WITH_WARDEN and h.stopping is not Outcome.STOPPED:
                h.stopping = Outcome.STOPPED
                self._out.append(StopAttempt(lease, received.grace_s))
            else:
                self._out.extend(give_up_output_upload(h))

    def on_recall_ordered(self, now: float, received: RecallOrdered) -> None:
        for lease in received.leases:
            h = self.held.get(lease)
            if h is not None and h.phase in (Phase.FETCHING, Phase.WAITING):
                self.end(now, lease, Outcome.RETURNED, "taken back for an idle worker")
            elif h is not None and h.runner >= 0 and h.phase is Phase.RUNNING:
                h.recalled = True
            elif h is not None and h.phase is Phase.AHEAD:
                h.recalled = True
                self._out.append(WithdrawAttempt(lease))

    def on_results_acked(self, now: float, received: ResultsAcked) -> None:
        acked = [
            lease for lease in dict.fromkeys(received.leases) if (h := self.held.get(lease)) is not None and h.phase is Phase.DONE
        ]
        for lease in acked:
            del self.held[lease]
        if acked:
            self._out.append(Forget(acked))

    def on_drain_ordered(self, now: float, received: DrainOrdered) -> None:
        if self.draining:
            return
        self.draining = True
        if self.connected:
            self._out.append(AnnounceDrain())
        for lease, h in self.held.items():
            if h.phase in (Phase.FETCHING, Phase.WAITING):
                self.end(now, lease, Outcome.RETURNED, "the worker drains")
            elif h.phase is Phase.AHEAD:
                self._out.append(WithdrawAttempt(lease))

    def on_quit_ordered(self, now: float, received: QuitOrdered) -> None:
        self.on_drain_ordered(now, DrainOrdered())
        self.quitting = True
        for lease, h in self.held.items():
            if h.phase in _WITH_WARDEN:
                if h.stopping is None:
                    h.stopping = Outcome.RETURNED
                if h.runner < 0:
                    self._out.append(StopAttempt(lease, 0.0))
        self._out.extend([KillRunner(runner) for runner, queue in self.runners.queues.items() if queue])

    # -- artifacts and processes -------------------------------------------------------------------
    def on_artifact_ready(self, now: float, received: ArtifactReady) -> None:
        self.have[received.hash] = None
        for lease in self._wanted.pop(received.hash, ()):
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.FETCHING and all(hash_ in self.have for hash_ in h.assignment.needs):
                h.phase = Phase.WAITING
                self._waiting.append(lease)

    def on_artifact_failed(self, now: float, received: ArtifactFailed) -> None:
        for lease in self._wanted.pop(received.hash, ()):
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.FETCHING:
                outcome = Outcome.BROKEN if received.retryable else Outcome.REFUSED
                self.end(now, lease, outcome, f"a file of the job could not be fetched: {received.message}")

    def on_attempt_started(self, now: float, received: AttemptStarted) -> None:
        h = self.held.get(received.lease)
        if h is None or h.phase is not Phase.STARTING:
            return
        h.phase = Phase.RUNNING
        h.started_at = received.at
        if h.assignment.template.timeout_s:
            heappush(self._timers, (received.at + h.assignment.template.timeout_s, received.lease))
        self._started.append(received.lease)

    def on_attempt_withdrawn(self, now: float, received: AttemptWithdrawn) -> None:
        h = self.held.get(received.lease)
        if h is not None and h.phase is Phase.AHEAD:
            self._ahead.gone(received.lease)
            self._requeue(now, [received.lease])

    def on_attempt_refused(self, now: float, received: AttemptRefused) -> None:
        h = self.held.get(received.lease)
        if h is None or h.phase not in (Phase.AHEAD, Phase.STARTING):
            return
        self._ahead.gone(received.lease)
        self.end(
            now, received.lease, Outcome.REFUSED if received.final else Outcome.BROKEN, received.message, finished_at=received.at
        )

    def on_attempt_exited(self, now: float, received: AttemptExited) -> None:
        h = self.held.get(received.lease)
        if h is None or h.phase not in (Phase.STARTING, Phase.RUNNING):
            return
        clear_late_timeout(h, received.at)
        if h.phase is Phase.RUNNING:
            self._ahead.took(received.at - h.started_at)
        outcome, code, reason = verdict(h, received.exit_code)
        limits = h.assignment.template.limits
        if received.over_memory and limits is not None and outcome in (Outcome.SIGNALED, Outcome.EXITED):
            reason = f"used more than its memory limit of {format_size(limits.memory)}"
        if received.final and outcome is Outcome.EXITED:
            outcome, reason = Outcome.REFUSED, received.final
        self.end(
            now,
            received.lease,
            outcome,
            reason,
            lost=received.lost,
            exit_code=code,
            finished_at=received.at,
            cpu_s=received.cpu_s,
            peak_bytes=received.peak_bytes,
        )

    def on_warden_died(self, now: float, received: WardenDied) -> None:
        for lease in received.leases:
            self.on_attempt_withdrawn(now, AttemptWithdrawn(lease))
        for lease in received.leases:
            h = self.held.get(lease)
            if h is not None and h.phase in (Phase.STARTING, Phase.RUNNING) and h.runner < 0:
                clear_late_timeout(h, received.at)
                outcome, reason, code = self.suspects.verdict(h, received)
                self.end(now, lease, outcome, reason, exit_code=code, finished_at=received.at)

    # -- calls -------------------------------------------------------------------------------------
    def on_runner_up(self, now: float, received: RunnerUp) -> None:
        self.runners.up(now, received.runner)

    def on_calls_ended(self, now: float, received: CallsEnded) -> None:
        took = sum(received.finished) - sum(received.started)
        leases = self.runners.ended(now, received.runner, len(received.values), took)
        for i, lease in enumerate(leases):
            h = self.held[lease]
            h.started_at = received.started[i]
            reason = received.raised[i]
            outcome, code = (Outcome.EXITED, 1) if reason else (Outcome.SUCCEEDED, 0)
            lost = received.lost.get(lease, "") if received.lost else ""
            details = (outcome, reason, lost, received.finished[i], received.values[i])
            self._end_call(h, lease, *details, code=code, printed=lease in received.printed)

    def on_calls_returned(self, now: float, received: CallsReturned) -> None:
        self._requeue(now, self.runners.returned(received.runner, received.count))
        if any(self.held[lease].stopping for lease in self.runners.queues[received.runner]):
            self._out.append(KillRunner(received.runner))  # the call to be stopped was not returned, so it has begun

    def on_runner_ended(self, now: float, received: RunnerEnded) -> None:
        leases = self.runners.gone(now, received.runner, received.calls)
        guilty = [] if received.spared else leases if received.unfit else leases[max(0, received.ran - 1) : received.ran]
        for lease in guilty:
            h = self.held[lease]
            outcome, reason = end_of_call(h, received.reason, unfit=received.unfit)
            lost = received.lost.get(lease, "")
            self._end_call(h, lease, outcome, reason, lost, received.at, b"", code=-1, printed=lease in received.printed)
        self._requeue(now, [lease for lease in leases if lease not in guilty])

    def _requeue(self, now: float, leases: list[int]) -> None:
        """Put attempts that did not begin back at the front of the queue. End those that the master
        wants to stop or has recalled."""
        for lease in reversed(leases):
            h = self.held[lease]
            self.resources.give_back(lease)
            h.runner = -1
            h.phase = Phase.WAITING
            h.started_at = 0.0
            if h.orphaned:
                self._drop(lease)
            elif h.stopping is not None:
                self.end(now, lease, h.stopping, "stopped before it started")
            elif h.recalled or self.draining:
                self.end(now, lease, Outcome.RETURNED, "taken back for an idle worker")
            else:
                self._waiting.appendleft(lease)

    def _end_call(
        self, h: Held, lease: int, outcome: Outcome, reason: str, lost: str, at: float, value: bytes, *, code: int, printed: bool
    ) -> None:
        h.runner = -1
        self.resources.give_back(lease)
        if h.orphaned:
            self._drop(lease)
            return
        h.result = Result(lease, outcome, code, reason, h.started_at, at, max(0.0, at - h.started_at), 0, value, lost=lost)
        h.ran = printed
        h.phase = Phase.ENDED if printed else Phase.DONE
        if not printed:
            self._results.append(h.result)

    def on_call_waits(self, now: float, received: CallWaits) -> None:
        self._out.extend(self._awaiting.on_call_waits(received))

    def on_result_set(self, now: float, received: ResultSet) -> None:
        h = self.held.get(received.lease)
        if h is not None:
            on_result_set(h, received)

    def on_outputs_kept(self, now: float, received: OutputsKept) -> None:
        h = self.held.get(received.lease)
        if h is not None:
            end_output_upload(h, received)

    def on_logs_sent(self, now: float, received: LogsSent) -> None:
        h = self.held.get(received.lease)
        if h is None:
            return
        if storing := begin_storing(h):
            self._out.extend(storing)
        elif h.phase is Phase.ENDED and h.result is not None and not h.keeping:
            h.phase = Phase.DONE
            self._results.append(h.result)

    # -- ends and starts ---------------------------------------------------------------------------
    def end(
        self,
        now: float,
        lease: int,
        outcome: Outcome,
        reason: str,
        *,
        lost: str = "",
        exit_code: int = -1,
        finished_at: float = 0.0,
        cpu_s: float = 0.0,
        peak_bytes: int = 0,
    ) -> None:
        """End an attempt.

        If the attempt had started, its result waits until its output is sent. Otherwise the result
        is reported at once.
        """
        h = self.held[lease]
        started = h.phase in (Phase.STARTING, Phase.RUNNING)
        if started:
            self.busy -= 1
            self.resources.give_back(lease)
            self.services.ended(lease)
            follower = self._ahead.ended(lease)
            if follower:
                self._begin(now, follower)
        if h.orphaned:
            self._drop(lease)
            return
        value = value_of(h, outcome)
        h.result = Result(lease, outcome, exit_code, reason, h.started_at, finished_at or now, cpu_s, peak_bytes, value, lost=lost)
        h.ran = started
        h.phase = Phase.ENDED if started else Phase.DONE
        self._out.extend(begin_output_upload(h))
        if not started:
            self._results.append(h.result)

    def order(self, instruction: Instruction) -> None:
        """Add an instruction, which the shell carries out at the end of this turn."""
        self._out.append(instruction)

    def _begin(self, now: float, lease: int) -> None:
        """Give the attempt a slot."""
        h = self.held[lease]
        h.phase = Phase.STARTING
        h.alone = h.assignment in self.suspects
        self.busy += 1
        if starts_at_once(h.assignment.template) and not h.alone:
            self._ahead.began(now, lease)

    def _drop(self, lease: int) -> None:
        del self.held[lease]
        self._out.append(Forget([lease]))

    def _fill(self, now: float) -> None:
        calls: dict[tuple[int, tuple[str, ...]], list[Assignment]] = {}
        passed: list[int] = []
        self._waiting = self._awaiting.deepest_first(self._waiting)
        while self._waiting:
            h = self.held.get(self._waiting[0])
            if h is not None and h.phase is Phase.WAITING:
                free = self.busy + self.runners.busy < self.slots
                lease, template = h.assignment.lease, h.assignment.template
                if template.function:
                    devices = self.resources.take(lease, template) if template.needs is not None else ()
                    if problem := self.resources.problem_of(template):
                        self.end(now, lease, Outcome.BROKEN, problem)
                    elif devices is None:
                        passed.append(lease)
                    else:
                        # a process keeps the GPUs that it found first: other GPUs need another
                        # runner
                        runner = self.runners.place(now, lease, " ".join((template.session, *devices)), free=free)
                        if runner is None:
                            self.resources.give_back(lease)
                            break
                        h.phase, h.runner = Phase.RUNNING, runner
                        calls.setdefault((runner, devices), []).append(h.assignment)
                elif not free:
                    ahead = starts_at_once(template) and not self.draining and h.assignment not in self.suspects
                    front = self._ahead.place(now, lease) if ahead else 0
                    if not front:
                        break
                    h.phase = Phase.AHEAD
                    self._out.append(StartAttempt(h.assignment, (), front))
                elif problem := self.resources.problem_of(template):
                    self.end(now, lease, Outcome.BROKEN, problem)
                elif (gpus := self.resources.take(lease, template)) is None:
                    passed.append(lease)  # its resources are still in use
                else:
                    self._begin(now, lease)
                    self._out.append(StartAttempt(h.assignment, gpus))
            self._waiting.popleft()
        self._waiting.extendleft(reversed(passed))
        self._out.extend([StartCalls(runner, assignments, devices) for (runner, devices), assignments in calls.items()])

    def _gather(self, now: float) -> bool:
        """Return whether the reports of this turn are held back, to be sent with those of the next
        turns."""
        if not (self._started or self._results) or not (self._waiting or self._ahead) or self.beat_due or self.draining:
            return False
        if not self._report_by:
            self._report_by = now + GATHER_S
        return now < self._report_by

    def _flush(self, now: float) -> None:
        if self.connected:
            self._out.extend(self._awaiting.report())
        if self.connected and self._gather(now):
            return
        self._report_by = 0.0
        if self.connected:
            running = [(lease, self.held[lease]) for lease in self._started if lease in self.held]
            started = [(lease, h.started_at) for lease, h in running if h.phase is Phase.RUNNING and not h.orphaned]
            if started:
                self._out.append(ReportStarted([lease for lease, _ in started], [at for _, at in started]))
            # Send each result once, except those that the master acknowledged meanwhile.
            pending = {r.lease: r for r in self._results if (h := self.held.get(r.lease)) is not None and h.result is r}
            self._results = list(pending.values())
            if self._results:
                for result in self._results:
                    self.held[result.lease].sent_at = now
                self._out.append(ReportResults(self._results))
            if self.beat_due:
                self._out.append(self.holdings(without=Phase.DONE))
        # Without a connection the reports are dropped: the next registration covers them.
        self._started, self._results, self.beat_due = [], [], False
        if self.draining and not self.left and not self.held:
            self.left = True
            self._out.append(Leave())


_WITH_WARDEN = (Phase.AHEAD, Phase.STARTING, Phase.RUNNING)

_HANDLERS: dict[type, Callable[[WorkerMachine, float, Any], None]] = {
    Welcomed: WorkerMachine.on_welcomed,
    Registered: WorkerMachine.on_registered,
    Disconnected: WorkerMachine.on_disconnected,
    Dispatched: WorkerMachine.on_dispatched,
    StopOrdered: WorkerMachine.on_stop_ordered,
    RecallOrdered: WorkerMachine.on_recall_ordered,
    ResultsAcked: WorkerMachine.on_results_acked,
    ArtifactReady: WorkerMachine.on_artifact_ready,
    ArtifactFailed: WorkerMachine.on_artifact_failed,
    AttemptStarted: WorkerMachine.on_attempt_started,
    AttemptRefused: WorkerMachine.on_attempt_refused,
    AttemptWithdrawn: WorkerMachine.on_attempt_withdrawn,
    AttemptExited: WorkerMachine.on_attempt_exited,
    CallsEnded: WorkerMachine.on_calls_ended,
    RunnerUp: WorkerMachine.on_runner_up,
    CallWaits: WorkerMachine.on_call_waits,
    CallsReturned: WorkerMachine.on_calls_returned,
    RunnerEnded: WorkerMachine.on_runner_ended,
    WardenDied: WorkerMachine.on_warden_died,
    ResultSet: WorkerMachine.on_result_set,
    LogsSent: WorkerMachine.on_logs_sent,
    OutputsKept: WorkerMachine.on_outputs_kept,
    DrainOrdered: WorkerMachine.on_drain_ordered,
    QuitOrdered: WorkerMachine.on_quit_ordered,
    TimePassed: WorkerMachine.on_time_passed,
}
