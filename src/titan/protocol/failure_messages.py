"""What clients say about gates and the dead letter queue, and the answers."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Moment, Name, Text


class Decide(Message, frozen=True):
    """Approve or reject an open gate, named by `run` and `job`, or by the one-time `token` of its
    webhook alone.

    `key` is the asker's own: a decision repeated under the key under which it was made is answered
    alike; any other decision about a gate that is decided is a conflict. `by`: who decides, 1 to
    128 characters.
    """

    run: Name
    job: Name
    approve: bool
    by: Name
    comment: Text = ""
    key: Name = ""
    token: Name = ""


class Decided(Message, frozen=True):
    """The decision is durable. `at`: seconds since the epoch."""

    run: Name
    job: Name
    approved: bool
    by: Name
    at: Moment


class ListGates(Message, frozen=True):
    """The gates that wait for a decision, of one run or of all."""

    run: Name = ""
    limit: Count = 1000


class GateRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open gate. Times in seconds since the epoch. `webhook`: "" has none, "due", "delivered",
    or why it was given up."""

    run: Name
    dag: Name
    job: Name
    message: Text
    opened_at: Measured
    expires_at: Measured
    webhook: Text = ""


class Gates(Message, frozen=True):
    """The oldest first."""

    gates: Column[GateRow]


class RetryDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue, or with `job` "" all of its run, and run it again
    with all that was cancelled because of it. `key` as in Decide."""

    run: Name
    job: Name = ""
    by: Name = ""
    key: Name = ""


class Retried(Message, frozen=True):
    """So many jobs run again, and so many that were cancelled because of them wait again."""

    run: Name
    retried: Count
    revived: Count


class PurgeDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue, or with `job` "" all of its run; they stay DEAD."""

    run: Name
    job: Name = ""


class Purged(Message, frozen=True):
    jobs: Count
