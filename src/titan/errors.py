"""Every exception that Titan raises, by whose fault it is.

    TitanError
      CallerError        the caller asked for something that cannot be done
        InvalidGraph       a DAG that is refused whole: cycle, unknown parent, duplicate or malformed id, ...
        InvalidPipeline    a pipeline file that is refused: names file, line and key
        NotFound           no such run, job, log or artifact
        Conflict           the state of things forbids it: a name that is taken, a home that is locked
        LimitExceeded      more than Titan takes in one piece
        Untrusted          a pickle of a run that this program did not submit
        StoreRefused       TitanStore refuses a command
      JobError           a job did what it did: the code of its owner
        JobFailed          a call whose job is DEAD without an exception of its own
      PeerError          the other end of a connection broke the protocol
        ProtocolError      bytes that are no TITAN_PROTO
        VersionMismatch    a peer of a version that is too far away
      EnvironmentFault   the machine or the network: nobody's code is wrong
        MasterUnreachable  nothing answers at the address
        ConnectionLost     the connection broke while an answer was due
        CallsNotAcknowledged  a client ended before the master had all calls that were handed in
        JournalFailed      the disk under the journal refused a write or a sync; final
          HomeGone         the home was deleted, moved or replaced under a running server; final
        JournalCorrupt     a record before the journal's tail is bad: names file and offset
        LogCompacted       a snapshot has replaced records that were to be read next
        JournalTooNew      a later Titan wrote it, and this one does not know all of it
        PortInUse          another program listens there
      Bug                an invariant of Titan itself does not hold

Each has a stable `code` (it travels in error frames and in `--json`), a message that says what
happened and what to do next, and `retryable`: whether the same call may succeed later without a
change.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class TitanError(Exception):
    """The root. `str(error)` is one line for a person; `code` is for programs."""

    code: ClassVar[str] = "titan"
    retryable: ClassVar[bool] = False


class CallerError(TitanError):
    code = "caller"


class InvalidGraph(CallerError):
    """A DAG was refused whole. `job` is the id at fault ("" if it is the DAG's own).

    `field` and `problem` say what of the job it is and why, as far as one field is at fault; "" in
    what a master answers.
    """

    code = "invalid_graph"

    def __init__(self, message: str, job: str = "", *, field: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.job = job
        self.field = field
        self.problem = problem

    @classmethod
    def of(cls, job: str, field: str, problem: str) -> InvalidGraph:
        """A job is refused for one field."""
        return cls(f"job {job!r}: {field}: {problem}", job, field=field, problem=problem)


class InvalidPipeline(CallerError):
    """A pipeline file was refused. The message starts with `file:line: key`."""

    code = "invalid_pipeline"


class NotFound(CallerError):
    code = "not_found"


class Conflict(CallerError):
    code = "conflict"


class LimitExceeded(CallerError):
    code = "limit_exceeded"


class Untrusted(CallerError):
    """A value is a pickle of a run that this program did not submit: whoever submitted it can
    execute code in who opens it."""

    code = "untrusted"

    def __init__(self, what: object) -> None:
        super().__init__(
            f"the value is a Python pickle of {what:,} bytes of a run that this program did not submit; to open it executes what "
            "its submitter wrote: if you trust them, say Run.result(job, trust=True) or `titan result --unpickle`"
            if isinstance(what, int)
            else str(what)
        )


class StoreRefused(CallerError):
    """TitanStore refused a command; the message is Redis's, its first word the kind: WRONGTYPE,
    NOAUTH, ERR, ..."""

    code = "store_refused"


class JobError(TitanError):
    code = "job"


class JobFailed(JobError):
    """The job behind a call is DEAD: its process died, or what it raised cannot be unpickled here.
    The message says which."""

    code = "job_failed"


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
    """`calls` says how many of which function were handed in and may be lost."""

    code = "calls_not_acknowledged"

    def __init__(self, message: str, calls: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.calls = calls or {}


class JournalFailed(EnvironmentFault):
    code = "journal_failed"


class HomeGone(JournalFailed):
    code = "home_gone"


class JournalCorrupt(EnvironmentFault):
    """`path` and `offset` say where the first bad byte is."""

    code = "journal_corrupt"

    def __init__(self, message: str, path: str = "", offset: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class LogCompacted(EnvironmentFault):
    """Records that were to be read next have been replaced by a snapshot: read on from that."""

    code = "log_compacted"
    retryable = True


class JournalTooNew(EnvironmentFault):
    code = "journal_too_new"


class PortInUse(EnvironmentFault):
    code = "port_in_use"
    retryable = True


class Bug(TitanError):
    """An invariant does not hold. Please report it with the message: it carries the story of the
    job concerned."""

    code = "bug"


def _tree(root: type[TitanError]) -> dict[str, type[TitanError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def from_code(code: str, message: str) -> TitanError:
    """The error that an error frame describes. An unknown code (a newer peer) gives a plain
    TitanError."""
    return _tree(TitanError).get(code, TitanError)(message)
