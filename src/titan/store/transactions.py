"""MULTI, EXEC and DISCARD, WATCH and UNWATCH."""

from __future__ import annotations

from typing import Any

from titan.store import breaking, guarding
from titan.store.command import Command
from titan.store.context import Context
from titan.store.replies import MOST_REPLY, NULL_ARRAY, OK, OUT_OF_MEMORY, QUEUED, TOO_MUCH, Error, Refusal, Reply
from titan.store.session import Session
from titan.store.settings import MOST_COMMAND

_QUEUED_BYTES = 64
"""Overhead of a queued argument in bytes."""
_ABORTED = Error(b"EXECABORT Transaction discarded because of previous errors.")
_NO_MEMORY = Error(b"EXECABORT Transaction discarded because of: " + OUT_OF_MEMORY)


def multi(ctx: Context, args: list[bytes]) -> Reply:
    session = ctx.session
    if session.queue is not None:
        raise Refusal(b"ERR MULTI calls can not be nested")
    session.queue = []
    session.queued_bytes = 0
    session.review()
    return OK


def put(session: Session, command: Command, args: list[bytes]) -> Reply:
    """Queue a command of the transaction. Raises Refusal."""
    assert session.queue is not None
    session.queued_bytes += sum(map(len, args)) + _QUEUED_BYTES * len(args)
    if session.queued_bytes > MOST_COMMAND:
        session.queue_failed = True
        session.queue.clear()
        raise Refusal(b"ERR the commands of this transaction have more than %d bytes together: split it" % MOST_COMMAND)
    session.queue.append((command, args))
    return QUEUED


def discard(ctx: Context, args: list[bytes]) -> Reply:
    if ctx.session.queue is None:
        raise Refusal(b"ERR DISCARD without MULTI")
    end(ctx, ctx.session)
    return OK


def exec_(ctx: Context, args: list[bytes]) -> Reply:
    session = ctx.session
    queue = session.queue
    if queue is None:
        raise Refusal(b"ERR EXEC without MULTI")
    failed, stale = session.queue_failed, session.stale or _has_expired(ctx, session)
    end(ctx, session)
    if ctx.meter is not None and any(command.grows for command, _ in queue) and not guarding.make_room(ctx):
        return _NO_MEMORY
    if failed:
        return _ABORTED
    if stale:
        return NULL_ARRAY
    first = len(ctx.changes)
    index = ctx.db.index
    replies: list[Any] = []
    room = MOST_REPLY
    ctx.executing = True
    try:
        for command, queued in queue:
            ctx.session, ctx.db = session, session.db
            assert command.run is not None
            try:
                guarding.check_names(ctx, command, queued)  # the transaction may have changed the database
                reply = command.run(ctx, queued)
                room -= _size_of(reply)
                replies.append(reply if room >= 0 else TOO_MUCH)
            except Refusal as refusal:
                replies.append(refusal.reply)
            except Exception as error:
                replies.append(breaking.reply_to(ctx, command, queued, error))
    finally:
        ctx.executing = False
    if len(ctx.changes) > first + 1:
        ctx.changes.insert(first, (index, [b"MULTI"]))
        ctx.changes.append((index, [b"EXEC"]))
    return replies


def _size_of(reply: Reply) -> int:
    """Return the approximate number of bytes of a reply."""
    if isinstance(reply, bytes | bytearray):
        return len(reply)
    if isinstance(reply, dict):
        return sum(_size_of(key) + _size_of(value) for key, value in reply.items())
    return sum(map(_size_of, reply)) if isinstance(reply, list | tuple) else 16


def watch(ctx: Context, args: list[bytes]) -> Reply:
    session = ctx.session
    if session.queue is not None:
        raise Refusal(b"ERR WATCH inside MULTI is not allowed")
    for key in args[1:]:
        at = (ctx.db.index, key)
        if at not in session.watched:
            session.watched[at] = ctx.db.has_expired(key)
            ctx.observed.add(ctx.db.index, key).watchers[session] = None
    return OK


def unwatch(ctx: Context, args: list[bytes]) -> Reply:
    forget_watched(ctx, ctx.session)
    return OK


def forget_watched(ctx: Context, session: Session) -> None:
    for index, key in session.watched:
        ctx.observed.leave(index, key, session, watching=True)
    session.watched = {}
    session.stale = False


def end(ctx: Context, session: Session) -> None:
    """End the transaction of a session. The session then watches no keys."""
    session.queue = None
    session.queue_failed = False
    forget_watched(ctx, session)
    session.review()


def _has_expired(ctx: Context, session: Session) -> bool:
    return any(not expired and ctx.databases[index].has_expired(key) for (index, key), expired in session.watched.items())
