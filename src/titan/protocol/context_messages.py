"""Messages between a job and its worker on the job's own connection. The worker forwards some of
them to the master. See docs/protocol.md.

A forwarded message has a field `lease`, which the worker fills in.
"""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Fraction, Lease, Name, Text


class WhoAmI(Message, frozen=True):
    """Ask for the job's identity. Answered by Identity.

    In a call, the connection belongs to call `seq` of its runner from now on; 0: the running call.
    """

    seq: Count = 0


class Identity(Message, frozen=True):
    """Identity of a job. `archive`: the SHA-256 of its project, if it belongs to one."""

    lease: Lease
    run: Name
    job: Name
    attempt: Count
    archive: Name = ""


class Noted(Message, frozen=True):
    """The request is done."""


class ReportProgress(Message, frozen=True):
    """Progress of the attempt, 0 to 1, or -1 for unknown, with at most 1 KiB of text.

    Only the newest report counts.
    """

    fraction: Fraction
    message: Text = ""


class SetStatus(Message, frozen=True):
    """Status text of the job, at most 1 KiB; kept with the job. Answered by Noted."""

    text: Text


class SetResult(Message, frozen=True):
    """Piece of the job's value, in the blob. The value is JSON if `json`, otherwise a pickle.

    `size` is the size of the whole value in bytes. Pieces are sent in order, each at most 1 MiB and
    answered by Noted. The last piece sets the value. If the attempt succeeds, the value that was
    set last counts.
    """

    json: bool
    size: Count
    offset: Count = 0


class ReadValue(Message, frozen=True):
    """Read the value of another job of the run. Answered by ValueRead, or by a Conflict if that job
    is not over."""

    lease: Lease
    job: Name


class ValueRead(Message, frozen=True):
    """Value as in Values.

    A job gets "f" and the path of a file with the pickle in place of a value by content; "g" for
    JSON.
    """

    value: Bytes


class Progress(Message, frozen=True):
    """Newest progress of attempts whose progress changed since the last message.

    From a worker, in columns. `fractions`: -1 for unknown.
    """

    leases: Column[Lease]
    fractions: Column[Fraction]
    messages: Column[Text]


class Statuses(Message, frozen=True):
    """Status of each attempt whose status changed; of all attempts after a registration.

    From a worker, in columns.
    """

    leases: Column[Lease]
    texts: Column[Text]
