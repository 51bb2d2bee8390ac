"""The worker's own state machine. Pure: what was seen goes in with the time, instructions to the shell come out.

It holds an attempt from its dispatch until the master has said that its result is durable, so no crash or cut of the
connection on either side loses one. It must not know processes, files or sockets.

    FETCHING -> WAITING -> STARTING -> RUNNING -> ENDED -> DONE -> (acknowledged: gone)

FETCHING waits for its script; WAITING for a slot; ENDED for its last output to be on its way; DONE for the acknowledgement.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush
from typing import Any

import msgspec

from titan.model.dag import JobTemplate
from titan.model.states import Outcome

RESEND_S = 10.0
GATHER_S = 0.005
"""While attempts wait here for a slot, reports may wait so long for others: the master has nothing to add to this worker's work."""


class Phase(IntEnum):
    FETCHING = 0
    WAITING = 1
    STARTING = 2
    RUNNING = 3
    ENDED = 4
    DONE = 5


# -- what was seen ------------------------------------------------------------------------------------------------------
class Assignment(msgspec.Struct, frozen=True, gc=False):
    lease: int
    run: str
    job: str
    attempt: int
    template: JobTemplate
    args: tuple[str, ...]


class Welcomed(msgspec.Struct, frozen=True):
    """A master answered. If it is of another cluster, nothing that is held means anything to it."""

    cluster: str


class Registered(msgspec.Struct, frozen=True):
    heartbeat_s: float


class Disconnected(msgspec.Struct, frozen=True):
    pass


class Dispatched(msgspec.Struct, frozen=True):
    assignments: list[Assignment]


class StopOrdered(msgspec.Struct, frozen=True):
    leases: list[int]
    grace_s: float


class RecallOrdered(msgspec.Struct, frozen=True):
    """Hand these back if they have not started: another worker is idle."""

    leases: list[int]


class ResultsAcked(msgspec.Struct, frozen=True):
    leases: list[int]


class ArtifactReady(msgspec.Struct, frozen=True):
    hash: str


class ArtifactFailed(msgspec.Struct, frozen=True):
    hash: str
    message: str
    retryable: bool


class AttemptStarted(msgspec.Struct, frozen=True, gc=False):
    lease: int
    at: float


class AttemptRefused(msgspec.Struct, frozen=True, gc=False):
    """It could not be started. `final`: and never can be."""

    lease: int
    message: str
    final: bool
    at: float


class AttemptExited(msgspec.Struct, frozen=True, gc=False):
    """`exit_code` -n: killed by signal n."""

    lease: int
    exit_code: int
    at: float
    cpu_s: float
    peak_bytes: int


class RunnerDied(msgspec.Struct, frozen=True):
    """The process that runs the attempts is gone, and they with it."""

    at: float


class LogsSent(msgspec.Struct, frozen=True, gc=False):
    """All output of an attempt that ended is on its way to the master."""

    lease: int


class DrainOrdered(msgspec.Struct, frozen=True):
    """Finish what runs, hand back what waits, then go."""


class QuitOrdered(msgspec.Struct, frozen=True):
    """Stop everything at once, hand it all back, then go."""


class TimePassed(msgspec.Struct, frozen=True):
    pass


# -- what is to be done ---------------------------------------------------------------------------------------------------
class FetchArtifact(msgspec.Struct, frozen=True, gc=False):
    hash: str


class StartAttempt(msgspec.Struct, frozen=True, gc=False):
    assignment: Assignment


class StopAttempt(msgspec.Struct, frozen=True, gc=False):
    lease: int
    grace_s: float


class ReportStarted(msgspec.Struct, frozen=True, gc=False):
    leases: list[int]
    ats: list[float]


class ReportResults(msgspec.Struct, frozen=True, gc=False):
    results: list[Result]


class Beat(msgspec.Struct, frozen=True, gc=False):
    leases: list[int]
    started: list[float]


class AnnounceDrain(msgspec.Struct, frozen=True, gc=False):
    pass


class Forget(msgspec.Struct, frozen=True, gc=False):
    """The master has all of this attempt."""

    leases: list[int]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Say goodbye and end."""


Instruction = FetchArtifact | StartAttempt | StopAttempt | ReportStarted | ReportResults | Beat | AnnounceDrain | Forget | Leave


class Result(msgspec.Struct, frozen=True, gc=False):
    lease: int
    outcome: Outcome
    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    cpu_s: float
    peak_bytes: int


class Held(msgspec.Struct, gc=False):
    """An attempt that this worker has."""

    assignment: Assignment
    phase: Phase
    started_at: float = 0.0
    stopping: Outcome | None = None
    """Why it was told to end, if it was: STOPPED, TIMED_OUT or RETURNED."""
    orphaned: bool = False
    """Of a cluster that is no more: end it and tell nobody."""
    ran: bool = False
    """It was started, or that was tried: there may be output."""
    result: Result | None = None
    sent_at: float = 0.0


class WorkerMachine:
    def __init__(self, slots: int, *, grace_s: float = 5.0) -> None:
        self.slots = slots
        self.grace_s = grace_s
        self.cluster = ""
        self.connected = False
        self.draining = False
        self.quitting = False
        self.left = False
        self.held: dict[int, Held] = {}
        self.have: dict[str, None] = {}
        """Artifacts that are here."""
        self._wanted: dict[str, dict[int, None]] = {}
        self._waiting: deque[int] = deque()
        self.busy = 0
        """Attempts whose processes are, or may be, there."""
        self._heartbeat_s = 5.0
        self._next_beat = 0.0
        self._beat_due = False
        self._timers: list[tuple[float, int]] = []
        self._out: list[Instruction] = []
        self._started: list[int] = []
        self._results: list[Result] = []
        self._report_by = 0.0
        """When what is gathered has to go, 0 if nothing is."""

    def handle(self, now: float, inputs: list[Any]) -> list[Instruction]:
        """One turn: reports of the same turn go out as one message each."""
        for one in inputs:
            _HANDLERS[type(one)](self, now, one)
        self._fill(now)
        self._flush(now)
        out, self._out = self._out, []
        return out

    def next_due(self) -> float | None:
        """When TimePassed is due."""
        due = self._timers[0][0] if self._timers else None
        if self.connected:
            due = self._next_beat if due is None else min(due, self._next_beat)
        if self._report_by:
            due = self._report_by if due is None else min(due, self._report_by)
        return due

    @property
    def gathering(self) -> bool:
        """Reports wait for others; so may output."""
        return self._report_by > 0

    def holdings(self) -> tuple[list[int], list[float]]:
        """(leases, start times; 0 for not started) of all that is held, for a registration."""
        mine = [(lease, h.started_at) for lease, h in self.held.items() if not h.orphaned]
        return [lease for lease, _ in mine], [at for _, at in mine]

    def _unreported(self) -> tuple[list[int], list[float]]:
        """The same for a heartbeat: without those whose results went before it on this connection.

        By the time the master reads the heartbeat it has recorded these, and would take them for strays that block a slot.
        """
        mine = [(lease, h.started_at) for lease, h in self.held.items() if not h.orphaned and h.phase is not Phase.DONE]
        return [lease for lease, _ in mine], [at for _, at in mine]

    # -- the connection -----------------------------------------------------------------------------------------------
    def on_welcomed(self, now: float, seen: Welcomed) -> None:
        if self.cluster not in ("", seen.cluster):
            self._timers.clear()  # the new cluster may use the same numbers for its leases
            self._waiting.clear()
            self._started.clear()
            self._results.clear()
            for leases in self._wanted.values():
                leases.clear()
            for lease, h in list(self.held.items()):
                if h.phase in (Phase.STARTING, Phase.RUNNING):
                    h.orphaned = True
                    h.stopping = Outcome.STOPPED
                    self._out.append(StopAttempt(lease, 0.0))
                else:
                    self._drop(lease)
        self.cluster = seen.cluster

    def on_registered(self, now: float, seen: Registered) -> None:
        self.connected = True
        self._heartbeat_s = seen.heartbeat_s
        self._next_beat = now + seen.heartbeat_s
        if self.draining:
            self._out.append(AnnounceDrain())
        self._results = [h.result for h in self.held.values() if h.phase is Phase.DONE and h.result]

    def on_disconnected(self, now: float, seen: Disconnected) -> None:
        """Output that was on its way may be lost, so a result that nobody has acknowledged waits for it to be sent anew."""
        self.connected = False
        for h in self.held.values():
            if h.phase is Phase.DONE and h.ran:
                h.phase = Phase.ENDED
                h.sent_at = 0.0

    def on_time_passed(self, now: float, seen: TimePassed) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, lease = heappop(self._timers)
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.RUNNING and h.stopping is None:
                h.stopping = Outcome.TIMED_OUT
                self._out.append(StopAttempt(lease, self.grace_s))
        if self.connected and self._next_beat <= now:
            self._next_beat = now + self._heartbeat_s
            self._beat_due = True
            late = [h.result for h in self.held.values() if h.result and h.sent_at and h.sent_at + RESEND_S <= now]
            self._results.extend(late)

    # -- orders ---------------------------------------------------------------------------------------------------------
    def on_dispatched(self, now: float, seen: Dispatched) -> None:
        for assignment in seen.assignments:
            lease = assignment.lease
            if lease in self.held:
                continue  # said twice
            template = assignment.template
            wanted = template.archive or template.file_hash
            if self.draining:
                self.held[lease] = Held(assignment, Phase.WAITING)
                self._end(now, lease, Outcome.RETURNED, "the worker drains")
            elif not wanted or wanted in self.have:
                self.held[lease] = Held(assignment, Phase.WAITING)
                self._waiting.append(lease)
            else:
                self.held[lease] = Held(assignment, Phase.FETCHING)
                if wanted not in self._wanted:
                    self._out.append(FetchArtifact(wanted))
                self._wanted.setdefault(wanted, {})[lease] = None

    def on_stop_ordered(self, now: float, seen: StopOrdered) -> None:
        for lease in seen.leases:
            h = self.held.get(lease)
            if h is None:
                continue
            if h.phase in (Phase.FETCHING, Phase.WAITING):
                self._end(now, lease, Outcome.STOPPED, "stopped before it started")
            elif h.phase in (Phase.STARTING, Phase.RUNNING) and h.stopping is not Outcome.STOPPED:
                h.stopping = Outcome.STOPPED
                self._out.append(StopAttempt(lease, seen.grace_s))

    def on_recall_ordered(self, now: float, seen: RecallOrdered) -> None:
        for lease in seen.leases:
            h = self.held.get(lease)
            if h is not None and h.phase in (Phase.FETCHING, Phase.WAITING):
                self._end(now, lease, Outcome.RETURNED, "taken back for an idle worker")

    def on_results_acked(self, now: float, seen: ResultsAcked) -> None:
        gone = [lease for lease in dict.fromkeys(seen.leases) if (h := self.held.get(lease)) is not None and h.phase is Phase.DONE]
        for lease in gone:
            del self.held[lease]
        if gone:
            self._out.append(Forget(gone))

    def on_drain_ordered(self, now: float, seen: DrainOrdered) -> None:
        if self.draining:
            return
        self.draining = True
        if self.connected:
            self._out.append(AnnounceDrain())
        for lease, h in self.held.items():
            if h.phase in (Phase.FETCHING, Phase.WAITING):
                self._end(now, lease, Outcome.RETURNED, "the worker drains")

    def on_quit_ordered(self, now: float, seen: QuitOrdered) -> None:
        self.on_drain_ordered(now, DrainOrdered())
        self.quitting = True
        for lease, h in self.held.items():
            if h.phase in (Phase.STARTING, Phase.RUNNING):
                if h.stopping is None:
                    h.stopping = Outcome.RETURNED
                self._out.append(StopAttempt(lease, 0.0))

    # -- artifacts and processes --------------------------------------------------------------------------------------
    def on_artifact_ready(self, now: float, seen: ArtifactReady) -> None:
        self.have[seen.hash] = None
        for lease in self._wanted.pop(seen.hash, ()):
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.FETCHING:
                h.phase = Phase.WAITING
                self._waiting.append(lease)

    def on_artifact_failed(self, now: float, seen: ArtifactFailed) -> None:
        for lease in self._wanted.pop(seen.hash, ()):
            h = self.held.get(lease)
            if h is not None and h.phase is Phase.FETCHING:
                outcome = Outcome.BROKEN if seen.retryable else Outcome.REFUSED
                self._end(now, lease, outcome, f"its file could not be fetched: {seen.message}")

    def on_attempt_started(self, now: float, seen: AttemptStarted) -> None:
        h = self.held.get(seen.lease)
        if h is None or h.phase is not Phase.STARTING:
            return
        h.phase = Phase.RUNNING
        h.started_at = seen.at
        if h.assignment.template.timeout_s:
            heappush(self._timers, (seen.at + h.assignment.template.timeout_s, seen.lease))
        self._started.append(seen.lease)

    def on_attempt_refused(self, now: float, seen: AttemptRefused) -> None:
        h = self.held.get(seen.lease)
        if h is None or h.phase is not Phase.STARTING:
            return
        self._end(now, seen.lease, Outcome.REFUSED if seen.final else Outcome.BROKEN, seen.message, finished_at=seen.at)

    def on_attempt_exited(self, now: float, seen: AttemptExited) -> None:
        h = self.held.get(seen.lease)
        if h is None or h.phase not in (Phase.STARTING, Phase.RUNNING):
            return
        _forgive(h, seen.at)
        outcome, code, reason = _verdict(h, seen.exit_code)
        self._end(
            now,
            seen.lease,
            outcome,
            reason,
            exit_code=code,
            finished_at=seen.at,
            cpu_s=seen.cpu_s,
            peak_bytes=seen.peak_bytes,
        )

    def on_runner_died(self, now: float, seen: RunnerDied) -> None:
        for lease, h in list(self.held.items()):
            if h.phase in (Phase.STARTING, Phase.RUNNING):
                _forgive(h, seen.at)
                self._end(now, lease, h.stopping or Outcome.BROKEN, "the worker's process runner died", finished_at=seen.at)

    def on_logs_sent(self, now: float, seen: LogsSent) -> None:
        h = self.held.get(seen.lease)
        if h is not None and h.phase is Phase.ENDED and h.result is not None:
            h.phase = Phase.DONE
            self._results.append(h.result)

    # -- how it goes on -------------------------------------------------------------------------------------------------
    def _end(
        self,
        now: float,
        lease: int,
        outcome: Outcome,
        reason: str,
        *,
        exit_code: int = -1,
        finished_at: float = 0.0,
        cpu_s: float = 0.0,
        peak_bytes: int = 0,
    ) -> None:
        """The attempt is over. One that had started waits for its output to be sent, the others report at once."""
        h = self.held[lease]
        started = h.phase in (Phase.STARTING, Phase.RUNNING)
        if started:
            self.busy -= 1
        if h.orphaned:
            self._drop(lease)
            return
        h.result = Result(lease, outcome, exit_code, reason, h.started_at, finished_at or now, cpu_s, peak_bytes)
        h.ran = started
        h.phase = Phase.ENDED if started else Phase.DONE
        if not started:
            self._results.append(h.result)

    def _drop(self, lease: int) -> None:
        del self.held[lease]
        self._out.append(Forget([lease]))

    def _fill(self, now: float) -> None:
        while self._waiting:
            h = self.held.get(self._waiting[0])
            if h is not None and h.phase is Phase.WAITING:
                if self.busy >= self.slots:
                    return
                h.phase = Phase.STARTING
                self.busy += 1
                self._out.append(StartAttempt(h.assignment))
            self._waiting.popleft()

    def _gather(self, now: float) -> bool:
        """Whether the reports of this turn wait for those of the next ones."""
        if not (self._started or self._results) or not self._waiting or self._beat_due or self.draining:
            return False
        if not self._report_by:
            self._report_by = now + GATHER_S
        return now < self._report_by

    def _flush(self, now: float) -> None:
        if self.connected and self._gather(now):
            return
        self._report_by = 0.0
        if self.connected:
            running = [(lease, self.held[lease]) for lease in self._started if lease in self.held]
            started = [(lease, h.started_at) for lease, h in running if h.phase is Phase.RUNNING and not h.orphaned]
            if started:
                self._out.append(ReportStarted([lease for lease, _ in started], [at for _, at in started]))
            # Once each, and none that was acknowledged meanwhile.
            pending = {r.lease: r for r in self._results if (h := self.held.get(r.lease)) is not None and h.result is r}
            self._results = list(pending.values())
            if self._results:
                for result in self._results:
                    self.held[result.lease].sent_at = now
                self._out.append(ReportResults(self._results))
            if self._beat_due:
                self._out.append(Beat(*self._unreported()))
        # What was not sent goes with the next registration.
        self._started, self._results, self._beat_due = [], [], False
        if self.draining and not self.left and not self.held:
            self.left = True
            self._out.append(Leave())


def _forgive(h: Held, ended_at: float) -> None:
    """An attempt that had ended in time did not time out; this worker was late to see it."""
    if h.stopping is Outcome.TIMED_OUT and ended_at < h.started_at + h.assignment.template.timeout_s:
        h.stopping = None


def _verdict(h: Held, exit_code: int) -> tuple[Outcome, int, str]:
    code = 128 - exit_code if exit_code < 0 else exit_code
    match h.stopping:
        case Outcome.TIMED_OUT:
            return Outcome.TIMED_OUT, code, f"timed out after {h.assignment.template.timeout_s:g} s"
        case Outcome.STOPPED:
            return Outcome.STOPPED, code, "stopped"
        case Outcome.RETURNED:
            return Outcome.RETURNED, code, "the worker was stopped"
    if exit_code == 0:
        return Outcome.SUCCEEDED, 0, ""
    if exit_code < 0:
        return Outcome.SIGNALED, code, f"killed by {_signal_name(-exit_code)}"
    return Outcome.EXITED, code, f"exit code {exit_code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


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
    AttemptExited: WorkerMachine.on_attempt_exited,
    RunnerDied: WorkerMachine.on_runner_died,
    LogsSent: WorkerMachine.on_logs_sent,
    DrainOrdered: WorkerMachine.on_drain_ordered,
    QuitOrdered: WorkerMachine.on_quit_ordered,
    TimePassed: WorkerMachine.on_time_passed,
}
