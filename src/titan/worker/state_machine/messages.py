"""Inputs and instructions of the worker's state machine. Inputs are observations, and instructions
are orders to the shell."""

from __future__ import annotations

import msgspec

from titan.model.dag import JobTemplate
from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.model.values import RETURNED_AT, artifact_of

FILE_PREFIX = "file:"
"""Prefix of a hash in `Assignment.needs` that marks an input file of the attempt. Input files go
into the attempt's folder, and have a cache apart from that of scripts and values."""


# -- inputs ----------------------------------------------------------------------------------------
class Assignment(msgspec.Struct, frozen=True, gc=False):
    lease: int
    run: str
    job: str
    attempt: int
    template: JobTemplate
    args: tuple[str, ...]
    payload: bytes = b""
    inputs: tuple[bytes, ...] = ()
    services: tuple[tuple[str, str], ...] = ()
    """(job id, HOST:PORT) of each service that the attempt depends on."""
    files: tuple[StoredFile, ...] = ()
    """Input files, by their paths in the attempt's folder."""
    results: tuple[tuple[str, str], ...] = ()
    """(JOB.result.KEY, text) of each result that the texts of the job name."""

    @property
    def needs(self) -> list[str]:
        """Hashes of the artifacts that the attempt needs before it can start."""
        template = self.template
        if not template.function:
            artifact = template.archive or template.file_hash
            file_hashes = dict.fromkeys(FILE_PREFIX + file.hash for file in self.files) if self.files else ()
            if template.stdin and not template.stdin.startswith("/"):
                return [*([artifact] if artifact else ()), template.stdin, *file_hashes]
            return [artifact, *file_hashes] if artifact else [*file_hashes]
        if not self.inputs and self.payload[:1] != RETURNED_AT:
            return [template.function]
        large = [h for value in (self.payload, *self.inputs) if (h := artifact_of(value))]
        return [template.function, *dict.fromkeys(large)]


class Welcomed(msgspec.Struct, frozen=True):
    """A master sent its Welcome. If its cluster is not that of the last master, all leases held
    here are void."""

    cluster: str


class Registered(msgspec.Struct, frozen=True):
    heartbeat_s: float


class Disconnected(msgspec.Struct, frozen=True):
    pass


class Dispatched(msgspec.Struct, frozen=True):
    """The master dispatched attempts. `draw` is the random id of the master's start in which it
    granted their leases."""

    assignments: list[Assignment]
    draw: str = ""


class StopOrdered(msgspec.Struct, frozen=True):
    leases: list[int]
    grace_s: float


class RecallOrdered(msgspec.Struct, frozen=True):
    """The master asks for those of these attempts that have not started, because another worker is
    idle."""

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


class AttemptWithdrawn(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was queued behind another attempt was withdrawn before it began."""

    lease: int


class AttemptRefused(msgspec.Struct, frozen=True, gc=False):
    """An attempt could not be started. `final` is True if a retry cannot help."""

    lease: int
    message: str
    final: bool
    at: float


class AttemptExited(msgspec.Struct, frozen=True, gc=False):
    """The process of an attempt ended. An `exit_code` of -n means that signal n killed it."""

    lease: int
    exit_code: int
    at: float
    cpu_s: float
    peak_bytes: int
    over_memory: bool = False
    """True if a process of the attempt was killed because the attempt exceeded its memory limit."""
    lost: str = ""
    """Reason why some output is lost, "" if no output is lost."""
    final: str = ""
    """Reason why no retry can help; "" if a retry may help."""


class PortChosen(msgspec.Struct, frozen=True, gc=False):
    """The service driver chose the port on which a service has to listen. Its process is about to
    start."""

    lease: int
    port: int


class HealthSeen(msgspec.Struct, frozen=True, gc=False):
    """Health check number `probe` of a service finished. `message` is the reason why the service is
    not healthy."""

    lease: int
    probe: int
    healthy: bool
    message: str
    at: float


class WardenDied(msgspec.Struct, frozen=True):
    """The warden of these attempts died, and their processes were killed. `begun` lists the
    attempts that had a process."""

    leases: list[int]
    at: float
    begun: list[int] = []


class CallsEnded(msgspec.Struct, frozen=True, gc=False):
    """Calls of a runner are over: the first ones in its queue.

    `printed` lists the leases whose output or value was not sent to the master yet. LogsSent
    follows for each of them.
    """

    runner: int
    raised: list[str]
    """For each call the reason of its failure that users see, "" if the call returned."""
    values: list[bytes]
    started: list[float]
    finished: list[float]
    printed: list[int]
    lost: dict[int, str] = {}
    """lease -> reason why some output of the call is lost."""


class CallsReturned(msgspec.Struct, frozen=True, gc=False):
    """The runner gave back its last `count` calls, which never ran."""

    runner: int
    count: int


class CallWaits(msgspec.Struct, frozen=True, gc=False):
    """The running call of a runner began to wait for other calls, or stopped waiting."""

    runner: int
    waits: bool


class RunnerUp(msgspec.Struct, frozen=True, gc=False):
    """A runner has started and takes calls."""

    runner: int


class RunnerEnded(msgspec.Struct, frozen=True, gc=False):
    """A runner ended while it had `calls` calls. The first `ran` of them had begun, and the last of
    those is blamed.

    `unfit`: the runner never came up, which is the worker's fault. `spared`: the process ended for
    a reason outside its calls, and no call is blamed. `printed` is as in `CallsEnded`. Calls that
    were ordered later for the same runner number belong to a new runner.
    """

    runner: int
    calls: int
    ran: int
    reason: str
    at: float
    unfit: bool = False
    printed: tuple[int, ...] = ()
    spared: bool = False
    lost: dict[int, str] = {}


class OutputsKept(msgspec.Struct, frozen=True, gc=False):
    """The upload of an attempt's outputs ended. The outputs are on the master's disk, or `problem`
    is the reason why they are not. In that case `outcome` is the new outcome of the attempt."""

    lease: int
    outputs: tuple[StoredFile, ...]
    problem: str = ""
    outcome: Outcome = Outcome.SUCCEEDED


class LogsSent(msgspec.Struct, frozen=True, gc=False):
    """All output of an ended attempt was sent to the master."""

    lease: int


class ResultSet(msgspec.Struct, frozen=True, gc=False):
    """A running attempt set its result, in the encoding of model/values.py."""

    lease: int
    value: bytes


class DrainOrdered(msgspec.Struct, frozen=True):
    """The worker has to finish its running attempts, return the waiting ones to the master, then
    leave."""


class QuitOrdered(msgspec.Struct, frozen=True):
    """The worker has to stop all attempts at once, return them to the master, then leave."""


class TimePassed(msgspec.Struct, frozen=True):
    pass


# -- instructions ----------------------------------------------------------------------------------
class FetchArtifact(msgspec.Struct, frozen=True, gc=False):
    hash: str


class StartAttempt(msgspec.Struct, frozen=True, gc=False):
    assignment: Assignment
    gpus: tuple[str, ...] = ()
    """GPUs reserved for the attempt, empty if it asked for none."""
    behind: int = 0
    """Lease of the attempt that has to end first, 0 to start now."""


class WithdrawAttempt(msgspec.Struct, frozen=True, gc=False):
    """Withdraw an attempt that is queued behind another attempt. AttemptWithdrawn follows, unless
    the attempt has begun already."""

    lease: int


class StartCalls(msgspec.Struct, frozen=True, gc=False):
    """Give these calls to a runner, whose process may use the devices `gpus`."""

    runner: int
    assignments: list[Assignment]
    gpus: tuple[str, ...] = ()


class TakeBack(msgspec.Struct, frozen=True, gc=False):
    """Take back those of the runner's last `count` calls that have not begun. CallsReturned
    follows."""

    runner: int
    count: int


class KillRunner(msgspec.Struct, frozen=True, gc=False):
    runner: int


class StopAttempt(msgspec.Struct, frozen=True, gc=False):
    lease: int
    grace_s: float


class RestartService(msgspec.Struct, frozen=True, gc=False):
    """Start a new process of a service, in the same sandbox and if possible on the same port."""

    lease: int


class CheckHealth(msgspec.Struct, frozen=True, gc=False):
    """Check the health of a service. HealthSeen with this `probe` number follows within the
    service's `timeout_s`."""

    lease: int
    probe: int


class CloseService(msgspec.Struct, frozen=True, gc=False):
    """The attempt of a service is over: start no more processes for it."""

    lease: int


class ReportServices(msgspec.Struct, frozen=True, gc=False):
    """Report the states of services, in the columns of the protocol's ServiceStates."""

    leases: list[int]
    serials: list[int]
    started: list[float]
    ready_ats: list[float]
    ports: list[int]
    restarts: list[int]
    reasons: list[str]
    next_starts: list[float]


class ReportStarted(msgspec.Struct, frozen=True, gc=False):
    leases: list[int]
    ats: list[float]


class ReportAwaiting(msgspec.Struct, frozen=True, gc=False):
    """Report the leases of all calls that wait for other calls."""

    leases: list[int]


class ReportResults(msgspec.Struct, frozen=True, gc=False):
    results: list[Result]


class Beat(msgspec.Struct, frozen=True, gc=False):
    """Report all attempts that this worker holds, in the columns of the protocol's Heartbeat."""

    leases: list[int]
    started: list[float]
    draws: tuple[str, ...] = ()
    draw_of: list[int] = []


class StoreValue(msgspec.Struct, frozen=True, gc=False):
    """Upload the value of a successful attempt, which is stored by its content hash. The result is
    reported only after the upload.

    LogsSent follows when the master has the value.
    """

    lease: int
    value: bytes


class AnnounceDrain(msgspec.Struct, frozen=True, gc=False):
    pass


class KeepOutputs(msgspec.Struct, frozen=True, gc=False):
    """Check that a successful attempt wrote its declared outputs, and upload them. OutputsKept
    follows."""

    lease: int


class GiveUpOutputs(msgspec.Struct, frozen=True, gc=False):
    """Give up the upload of an attempt's outputs. OutputsKept does not follow."""

    lease: int


class Forget(msgspec.Struct, frozen=True, gc=False):
    """Drop all data of these attempts: the master has recorded their results, or they are void."""

    leases: list[int]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Send the protocol's Leaving message, then end the worker."""


Instruction = (
    FetchArtifact
    | StartAttempt
    | StartCalls
    | TakeBack
    | KillRunner
    | StopAttempt
    | WithdrawAttempt
    | RestartService
    | CheckHealth
    | CloseService
    | ReportServices
    | ReportStarted
    | ReportAwaiting
    | ReportResults
    | Beat
    | AnnounceDrain
    | KeepOutputs
    | GiveUpOutputs
    | StoreValue
    | Forget
    | Leave
)


class Result(msgspec.Struct, frozen=True, gc=False):
    lease: int
    outcome: Outcome
    exit_code: int
    reason: str
    started_at: float
    finished_at: float
    cpu_s: float
    peak_bytes: int
    value: bytes = b""
    outputs: tuple[StoredFile, ...] = ()
    lost: str = ""
    """Reason why some output is lost, "" if no output is lost. `reason` does not include it."""
