"""Commands for TitanStore over a client's connection, and their replies."""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Lease, Name


class StoreCommands(Message, frozen=True):
    """Redis commands, each with its arguments. Answered by StoreReplies.

    The master executes the commands in order. Commands of other clients may come in between, except
    within a transaction. The commands of one `lane` of a connection share a session: a command
    waits for the one before it, and the effects of MULTI, WATCH and SELECT last. `run`: use the
    keys of that run instead of the shared keys.
    """

    commands: Column[Column[Bytes]]
    lane: Count = 0
    run: Name = ""


class StoreReplies(Message, frozen=True):
    """Replies to store commands. The master sends them when all changes are durable.

    The blob is RESP3 with one reply, possibly an error, for each command.
    """

    count: Count


class CloseLane(Message, frozen=True):
    """End the session of a lane, with its watches. Not answered."""

    lane: Count


class StoreStream(Message, frozen=True):
    """Next bytes of a job's connection to TitanStore. The worker relays them, in both directions.

    `request` is the number of the job's connection, chosen by the worker. The blob holds the next
    bytes of RESP. The worker's first message has the job's `lease`, 0 for none, and selects the
    keys of the job's run or the `shared` keys. `taken`: number of additional bytes that the sender
    has processed. Each side sends at most 4 MiB (WINDOW) more than the other has processed.
    `closed`: no more bytes follow.
    """

    lease: Lease = 0
    shared: bool = False
    taken: Count = 0
    closed: bool = False


WINDOW = 4 << 20
