"""Commands for TitanStore over a client's connection, and their replies."""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Lease, Name


class StoreCommands(Message, frozen=True):
    """Commands of Redis, each with its arguments; executed in order, with others' in between unless
    they are a transaction.

    Those of one `lane` of a connection share a session: they wait for one another, and what MULTI,
    WATCH or SELECT did holds for the next ones. `run`: work on the keys of that run instead of
    those of all. Answered by StoreReplies.
    """

    commands: Column[Column[Bytes]]
    lane: Count = 0
    run: Name = ""


class StoreReplies(Message, frozen=True):
    """Everything that the commands changed is durable. The blob is RESP3: one reply for each
    command, errors among them."""

    count: Count


class CloseLane(Message, frozen=True):
    """The session of a lane is over, with what it watches. Not answered."""

    lane: Count


class StoreStream(Message, frozen=True):
    """A job's connection to TitanStore, carried over its worker's, in both directions. `request` is
    its number, which the worker chooses; the blob is what comes next of the bytes of RESP.

    The first from the worker has the job's `lease`, 0 for none, and says whether the keys of its
    run are meant or those `shared` by all. `taken`: so many bytes more were dealt with; each side
    sends at most 4 MiB (WINDOW) that are not. `closed`: no more comes.
    """

    lease: Lease = 0
    shared: bool = False
    taken: Count = 0
    closed: bool = False


WINDOW = 4 << 20
