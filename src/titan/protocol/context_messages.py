"""What a job says to its worker on a connection of its own, and what of it goes on to the master.
See docs/protocol.md.

A message that goes on to the master has a field `lease`, which the worker fills in.
"""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Fraction, Lease, Name, Text


class WhoAmI(Message, frozen=True):
    """Answered by Identity. In a call: from now on the connection speaks for call `seq` of its
    runner; 0: for the one that runs."""

    seq: Count = 0


class Identity(Message, frozen=True):
    """`archive`: of a job of a project, the SHA-256 of that."""

    lease: Lease
    run: Name
    job: Name
    attempt: Count
    archive: Name = ""


class Noted(Message, frozen=True):
    """It is done."""


class ReportProgress(Message, frozen=True):
    """How far the attempt is, 0 to 1, or -1 if that is not known; at most 1 KiB of text. Only the
    newest counts."""

    fraction: Fraction
    message: Text = ""


class SetStatus(Message, frozen=True):
    """What the job says of itself, at most 1 KiB; kept with the job. Answered by Noted."""

    text: Text


class SetResult(Message, frozen=True):
    """A piece of the job's value, in the blob: `json` if it is JSON, else a pickle, of `size` bytes
    in all.

    The pieces come in order, each at most 1 MiB and answered by Noted; with the last the value is
    set. The one set last counts, if the attempt succeeds.
    """

    json: bool
    size: Count
    offset: Count = 0


class ReadValue(Message, frozen=True):
    """What another job of the run came to; answered by ValueRead, or by a Conflict if it is not
    over."""

    lease: Lease
    job: Name


class ValueRead(Message, frozen=True):
    """As in Values. To a job, instead of what is by content: "f" and the path of a file that is the
    pickle; "g" for JSON."""

    value: Bytes


class Progress(Message, frozen=True):
    """From a worker, in columns: what changed since the last, of each attempt the newest.
    `fractions`: -1 for not known."""

    leases: Column[Lease]
    fractions: Column[Fraction]
    messages: Column[Text]


class Statuses(Message, frozen=True):
    """From a worker, in columns: the status of each attempt whose status changed; of all of them
    after a registration."""

    leases: Column[Lease]
    texts: Column[Text]
