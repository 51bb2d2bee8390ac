"""Exceptions that Titan raises, grouped by the party at fault.

    TitanError
      CallerError        the caller asked for something impossible
        InvalidGraph       the whole DAG is refused: cycle, unknown parent, malformed id, ...
        InvalidPipeline    a pipeline file is refused; names file, line and key
        NotFound           no such run, job, log or artifact
        Conflict           the current state forbids the request: a name is taken, a home is locked
        LimitExceeded      a value is larger than its limit
        Untrusted          a pickle from a run that this program did not submit
        StoreRefused       TitanStore refuses a command
      JobError           a job failed: its owner's code is at fault
        JobFailed          a call has no result, and no exception of the call can be raised here
      PeerError          the other end of a connection broke the protocol
        ProtocolError      the bytes are not valid TITAN_PROTO
        VersionMismatch    the peer's version is incompatible
      EnvironmentFault   the machine or the network failed; no code is at fault
        MasterUnreachable  nothing answers at the address
        ConnectionLost     the connection broke before the answer arrived
        CallsNotAcknowledged  a client closed before the master acknowledged all submitted calls
        JournalFailed      a journal write or sync failed; the server must be started again
          HomeGone         the home was deleted, moved or replaced under a running server
        JournalCorrupt     a record before the journal's tail is damaged; names file and offset
        LogCompacted       a snapshot has replaced the records to be read next
        JournalTooNew      a later Titan wrote the journal, and this version cannot read all of it
        PortInUse          another program listens on the port
      Bug                an invariant of Titan itself does not hold

Each error has:

- `code`: a stable name, used in error frames and in `--json`;
- a message that says what happened and what to do next;
- `retryable`: true if the same call may succeed later without a change.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class TitanError(Exception):
    """Root of all Titan errors. `str(error)` is one line for people; `code` is for programs."""

    code: ClassVar[str] = "titan"
    retryable: ClassVar[bool] = False


class CallerError(TitanError):
    code = "caller"


class InvalidGraph(CallerError):
    """Refusal of a whole DAG.

    - `job`: id of the job at fault; "" if the DAG itself is at fault.
    - `field` and `problem`: the field at fault and the reason. Both are "" if no single field is at
      fault, and in errors from a master.
    """

    code = "invalid_graph"

    def __init__(self, message: str, job: str = "", *, field: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.job = job
        self.field = field
        self.problem = problem

    @classmethod
    def of(cls, job: str, field: str, problem: str) -> InvalidGraph:
        """Return the error for one field of a job."""
        return cls(f"job {job!r}: {field}: {problem}", job, field=field, problem=problem)


class InvalidPipeline(CallerError):
    """Refusal of a pipeline file. The message is ``FILE:LINE: KEY: PROBLEM``."""

    code = "invalid_pipeline"

    def __init__(self, message: str, *, line: int = 0, key: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.key = key
        self.problem = problem

    @classmethod
    def of(cls, file: str, line: int, key: str, problem: str) -> InvalidPipeline:
        """Return the error for one key of a file."""
        return cls(f"{file}:{line}: {key}: {problem}", line=line, key=key, problem=problem)


class NotFound(CallerError):
    code = "not_found"


class Conflict(CallerError):
    code = "conflict"


class LimitExceeded(CallerError):
    code = "limit_exceeded"


class Untrusted(CallerError):
    """Refusal to unpickle a value from a run that this program did not submit.

    Unpickling such a value can execute code of the submitter.
    """

    code = "untrusted"

    def __init__(self, size_or_message: object) -> None:
        super().__init__(
            f"the value is a Python pickle of {size_or_message:,} bytes from a run that this program did not submit. "
            "Opening it can execute code of the submitter. "
            "If you trust the submitter, use Run.result(job, trust=True) or `titan result --unpickle`"
            if isinstance(size_or_message, int)
            else str(size_or_message)
        )


class StoreRefused(CallerError):
    """Refusal of a command by TitanStore.

    The message is the one that Redis sends. Its first word is the kind: WRONGTYPE, NOAUTH, ERR, ...
    """

    code = "store_refused"


class JobError(TitanError):
    code = "job"


class JobFailed(JobError):
    """Failure of a call without an exception that can be raised here.

    For example, the process of the call died, or the exception cannot be unpickled here. The
    message has the reason.

    - `job`: RUN/JOB of the call.
    - `worker`, `attempts`, `exit_code`: of the last attempt; -1 for no exit code.
    - `error_type`, `traceback`: of the exception that could not be opened here, as text.

    Fields that are not known are empty, or -1.
    """

    code = "job_failed"
    job: str = ""
    worker: str = ""
    attempts: int = -1
    exit_code: int = -1
    error_type: str = ""
    traceback: str = ""


class PeerError(TitanError):
    code = "peer"


class ProtocolError(PeerError):
    code = "protocol"


class VersionMismatch(PeerError):
    code = "version_mismatch"


class EnvironmentFault(TitanError):
    code = "environment"


class MasterUnreachable(EnvironmentFault):
    code = "master_unreachable"
    retryable = True


class ConnectionLost(EnvironmentFault):
    code = "connection_lost"
    retryable = True


class CallsNotAcknowledged(EnvironmentFault):
    """Loss of submitted calls, which is possible but not certain.

    `calls` maps the name of each function to the number of its calls that may be lost.
    """

    code = "calls_not_acknowledged"

    def __init__(self, message: str, calls: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.calls = calls or {}


class JournalFailed(EnvironmentFault):
    code = "journal_failed"


class HomeGone(JournalFailed):
    code = "home_gone"


class JournalCorrupt(EnvironmentFault):
    """Damage in the journal. `path` and `offset` locate the first bad byte."""

    code = "journal_corrupt"

    def __init__(self, message: str, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class LogCompacted(EnvironmentFault):
    """Request for records that a snapshot has replaced. Continue from that snapshot."""

    code = "log_compacted"
    retryable = True


class JournalTooNew(EnvironmentFault):
    code = "journal_too_new"


class PortInUse(EnvironmentFault):
    code = "port_in_use"
    retryable = True


class Bug(TitanError):
    """Violation of an invariant of Titan.

    Please report the whole message. It may contain the story of the job concerned.
    """

    code = "bug"


def _tree(root: type[TitanError]) -> dict[str, type[TitanError]]:
    errors = {root.code: root}
    for child in root.__subclasses__():
        errors.update(_tree(child))
    return errors


def from_code(code: str, message: str) -> TitanError:
    """Return the error that an error frame describes.

    An unknown code, such as one from a newer peer, gives a plain TitanError.
    """
    return _tree(TitanError).get(code, TitanError)(message)
