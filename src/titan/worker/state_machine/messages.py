"""What the worker's machine hears and says: inputs named by what was seen, and instructions to the
shell."""

from __future__ import annotations

import msgspec

from titan.model.dag import JobTemplate
from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.model.values import RETURNED_AT, artifact_of

FILE_PREFIX = "file:"
"""Of a hash among the needs of an attempt: content that goes into its folder, and is kept apart
from scripts and values."""


# -- what was seen ---------------------------------------------------------------------------------
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
    """(id, HOST:PORT) of the services that it depends on."""
    files: tuple[StoredFile, ...] = ()
    """What it is given, by the paths in its folder."""

    @property
    def needs(self) -> list[str]:
        """The artifacts that it cannot start without."""
        template = self.template
        if not template.function:
            artifact = template.archive or template.file_hash
            given = dict.fromkeys(FILE_PREFIX + file.hash for file in self.files) if self.files else ()
            return [artifact, *given] if artifact else [*given]
        if not self.inputs and self.payload[:1] != RETURNED_AT:
            return [template.function]
        large = [h for value in (self.payload, *self.inputs) if (h := artifact_of(value))]
        return [template.function, *dict.fromkeys(large)]


class Welcomed(msgspec.Struct, frozen=True):
    """A master answered. If it is of another cluster, nothing that is held means anything to it."""

    cluster: str


class Registered(msgspec.Struct, frozen=True):
    heartbeat_s: float


class Disconnected(msgspec.Struct, frozen=True):
    pass


class Dispatched(msgspec.Struct, frozen=True):
    """`draw` names the start of a master that gave these leases."""

    assignments: list[Assignment]
    draw: str = ""


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


class AttemptWithdrawn(msgspec.Struct, frozen=True, gc=False):
    """It stood behind another and was taken away from there before it began."""

    lease: int


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
    over_memory: bool = False
    """Something of it was killed because it used more than its memory limit."""
    lost: str = ""
    """Why some of its output is lost."""


class PortChosen(msgspec.Struct, frozen=True, gc=False):
    """A service is about to be started, and is to listen there."""

    lease: int
    port: int


class HealthSeen(msgspec.Struct, frozen=True, gc=False):
    """What the check `probe` of a service found; `message` says why it is not healthy."""

    lease: int
    probe: int
    healthy: bool
    message: str
    at: float


class WardenDied(msgspec.Struct, frozen=True):
    """The process that ran these attempts is gone, and they with it. `begun`: those of which there
    was a process."""

    leases: list[int]
    at: float
    begun: list[int] = []


class CallsEnded(msgspec.Struct, frozen=True, gc=False):
    """The first calls of a runner are over. `printed` are leases whose output is still on its way:
    LogsSent follows for each."""

    runner: int
    raised: list[str]
    """"" for a call that returned, else the reason that people see."""
    values: list[bytes]
    started: list[float]
    finished: list[float]
    printed: list[int]
    lost: dict[int, str] = {}
    """Lease -> why some of its output is lost."""


class CallsReturned(msgspec.Struct, frozen=True, gc=False):
    """The last `count` calls of a runner never ran."""

    runner: int
    count: int


class CallWaits(msgspec.Struct, frozen=True, gc=False):
    """The call that a runner executes waits for other calls, or does not any more."""

    runner: int
    waits: bool


class RunnerUp(msgspec.Struct, frozen=True, gc=False):
    """A runner takes calls now."""

    runner: int


class RunnerEnded(msgspec.Struct, frozen=True, gc=False):
    """A runner is gone with `calls` calls. `ran` of them had begun, the last of those is to blame.
    `unfit`: it never came up, which is the worker's fault.

    Calls for that number that were ordered since are a new runner's. `printed` as with
    `CallsEnded`. `spared`: the process went for what something else did, and nobody is to blame.
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
    """What an attempt left is on the master's disk; or `problem` says why not, and `outcome` what
    that makes of the attempt."""

    lease: int
    outputs: tuple[StoredFile, ...]
    problem: str = ""
    outcome: Outcome = Outcome.SUCCEEDED


class LogsSent(msgspec.Struct, frozen=True, gc=False):
    """All output of an attempt that ended is on its way to the master."""

    lease: int


class ResultSet(msgspec.Struct, frozen=True, gc=False):
    """An attempt that runs says what it came to, as in model/values.py."""

    lease: int
    value: bytes


class DrainOrdered(msgspec.Struct, frozen=True):
    """Finish what runs, hand back what waits, then go."""


class QuitOrdered(msgspec.Struct, frozen=True):
    """Stop everything at once, hand it all back, then go."""


class TimePassed(msgspec.Struct, frozen=True):
    pass


# -- what is to be done ----------------------------------------------------------------------------
class FetchArtifact(msgspec.Struct, frozen=True, gc=False):
    hash: str


class StartAttempt(msgspec.Struct, frozen=True, gc=False):
    assignment: Assignment
    gpus: tuple[str, ...] = ()
    """Those that it alone may use, if it asked for any."""
    behind: int = 0
    """Not before this attempt has ended; 0: now."""


class WithdrawAttempt(msgspec.Struct, frozen=True, gc=False):
    """If it still stands behind another: AttemptWithdrawn follows. Else it is too late."""

    lease: int


class StartCalls(msgspec.Struct, frozen=True, gc=False):
    runner: int
    assignments: list[Assignment]


class TakeBack(msgspec.Struct, frozen=True, gc=False):
    """As many of the runner's last `count` calls as have not begun; CallsReturned follows."""

    runner: int
    count: int


class KillRunner(msgspec.Struct, frozen=True, gc=False):
    runner: int


class StopAttempt(msgspec.Struct, frozen=True, gc=False):
    lease: int
    grace_s: float


class RestartService(msgspec.Struct, frozen=True, gc=False):
    """Start the process of a service again, in the same sandbox and if that can be at the same
    port."""

    lease: int


class CheckHealth(msgspec.Struct, frozen=True, gc=False):
    """See whether a service is healthy; HealthSeen with that `probe` follows within `timeout_s`."""

    lease: int
    probe: int


class CloseService(msgspec.Struct, frozen=True, gc=False):
    """An attempt of a service is over: no process of it is started any more."""

    lease: int


class ReportServices(msgspec.Struct, frozen=True, gc=False):
    """As in the protocol's ServiceStates."""

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
    """All calls that wait for other calls."""

    leases: list[int]


class ReportResults(msgspec.Struct, frozen=True, gc=False):
    results: list[Result]


class Beat(msgspec.Struct, frozen=True, gc=False):
    """What is held, as in the protocol's Heartbeat."""

    leases: list[int]
    started: list[float]
    draws: tuple[str, ...] = ()
    draw_of: list[int] = []


class StoreValue(msgspec.Struct, frozen=True, gc=False):
    """The value of an attempt that ended well is by content, and has to be with the master before
    that is told.

    LogsSent follows when it is.
    """

    lease: int
    value: bytes


class AnnounceDrain(msgspec.Struct, frozen=True, gc=False):
    pass


class KeepOutputs(msgspec.Struct, frozen=True, gc=False):
    """The attempt succeeded: see that what it was to leave is there, and send it to the master.
    OutputsKept follows."""

    lease: int


class GiveUpOutputs(msgspec.Struct, frozen=True, gc=False):
    """Nobody wants them any more; OutputsKept does not follow."""

    lease: int


class Forget(msgspec.Struct, frozen=True, gc=False):
    """The master has all of this attempt."""

    leases: list[int]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Say goodbye and end."""


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
    """Why some of its output is lost; the reason does not say it."""
