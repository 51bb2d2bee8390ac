"""What clients say about gates and the dead letter queue, and the answers."""

from __future__ import annotations

import msgspec

from titan.protocol.base import Message


class Decide(Message, frozen=True):
    """Approve or reject an open gate, named by `run` and `job`, or by the one-time `token` of its webhook alone.

    `key` is the asker's own: a decision repeated under the key under which it was made is answered alike; any other decision about
    a gate that is decided is a conflict. `by`: who decides, 1 to 128 characters.
    """

    run: str
    job: str
    approve: bool
    by: str
    comment: str = ""
    key: str = ""
    token: str = ""


class Decided(Message, frozen=True):
    """The decision is durable. `at`: seconds since the epoch."""

    run: str
    job: str
    approved: bool
    by: str
    at: float


class ListGates(Message, frozen=True):
    """The gates that wait for a decision, of one run or of all."""

    run: str = ""
    limit: int = 1000


class GateRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open gate. Times in seconds since the epoch. `webhook`: "" has none, "due", "delivered", or why it was given up."""

    run: str
    dag: str
    job: str
    message: str
    opened_at: float
    expires_at: float
    webhook: str = ""


class Gates(Message, frozen=True):
    """The oldest first."""

    gates: list[GateRow]


class RetryDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue, or with `job` "" all of its run, and run it again with all that was cancelled
    because of it. `key` as in Decide."""

    run: str
    job: str = ""
    by: str = ""
    key: str = ""


class Retried(Message, frozen=True):
    """So many jobs run again, and so many that were cancelled because of them wait again."""

    run: str
    retried: int
    revived: int


class PurgeDead(Message, frozen=True):
    """Take a DEAD job off the dead letter queue, or with `job` "" all of its run; they stay DEAD."""

    run: str
    job: str = ""


class Purged(Message, frozen=True):
    jobs: int
