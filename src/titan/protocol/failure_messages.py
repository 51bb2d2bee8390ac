"""Messages about gates and the dead letter queue."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Moment, Name, Text


class Decide(Message, frozen=True):
    """Approve or reject an open gate.

    The gate is identified by `run` and `job`, or only by the one-time `token` of its webhook. `key`
    is the client's idempotency key: a decision repeated with its key gets the same answer. Any
    other decision about a decided gate is a conflict. `by`: the person who decides, 1 to 128
    characters.
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
    """List the gates of one run, or of all runs, that wait for a decision."""

    run: Name = ""
    limit: Count = 1000


class GateRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Open gate. Times are in seconds since the epoch.

    `webhook`: "" (none), "due", "delivered", or the reason why delivery was given up.
    """

    run: Name
    dag: Name
    job: Name
    message: Text
    opened_at: Measured
    expires_at: Measured
    webhook: Text = ""


class Gates(Message, frozen=True):
    """Open gates, the oldest first."""

    gates: Column[GateRow]


class RetryDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue and run it again. `job` "": all DEAD jobs of the
    run.

    Jobs that were cancelled because of the DEAD job wait again. `key` is as in Decide.
    """

    run: Name
    job: Name = ""
    by: Name = ""
    key: Name = ""


class Retried(Message, frozen=True):
    """Number of jobs that run again, and number of cancelled jobs that wait for these jobs
    again."""

    run: Name
    retried: Count
    revived: Count


class PurgeDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue; it stays DEAD. `job` "": all DEAD jobs of the
    run."""

    run: Name
    job: Name = ""


class Purged(Message, frozen=True):
    jobs: Count
