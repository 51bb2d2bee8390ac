"""Messages between a job and its worker on the job's own connection. The worker forwards some of
them to the master. See docs/protocol.md.

A forwarded message has a field `lease`, which the worker fills in.
"""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Fraction, Lease, Name, Text


class WhoAmI(Message, frozen=True):
    """Ask for the job's identity. Answered by Identity.

    If the job is a call, the connection from now on belongs to call `seq` of the job's runner; 0:
    the call that is running.
    """

    seq: Count = 0


class Identity(Message, frozen=True):
    """Identity of a job. `archive`: the SHA-256 of the job's project, "" if it has none."""

    lease: Lease
    run: Name
    job: Name
    attempt: Count
    archive: Name = ""


class Noted(Message, frozen=True):
    """The request is done."""


class ReportProgress(Message, frozen=True):
    """Report the progress of the attempt: a number from 0 to 1 (-1: unknown), with at most 1 KiB of
    text.

    Only the newest report counts.
    """

    fraction: Fraction
    message: Text = ""


class SetStatus(Message, frozen=True):
    """Set the status text of the job, at most 1 KiB. The master keeps it with the job. Answered by
    Noted."""

    text: Text


class SetResult(Message, frozen=True):
    """Set the job's value, piece by piece. The blob is one piece. `json`: JSON, else a pickle.

    `size` is the size of the whole value in bytes. The job sends pieces of at most 1 MiB in order;
    each is answered by Noted. The last piece sets the value. If the attempt succeeds, the value
    that was set last counts.
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
    """Value of a job, encoded as in Values.

    In an answer to a job, a value by content is replaced by "f" and the path of a file with the
    pickle, or by "g" and the path of a file with the JSON.
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
    """Status of each attempt whose status changed. From a worker, in columns.

    After a registration, the worker sends the status of all attempts.
    """

    leases: Column[Lease]
    texts: Column[Text]
