"""Sessions that wait for keys: BLPOP and related commands, XREAD and XREADGROUP.

A command that finds no element registers a Wait for its keys. When one of these keys changes, the
store first completes the command that changed it. Then the store serves the waiting sessions, in
the order in which they began to wait. Serving a session may change further keys, so the store
repeats this until no session can be served.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from math import ceil

from titan.store.context import Context
from titan.store.parsing import INT_MAX, extended, extended_product
from titan.store.replies import BLOCKED, NEGATIVE_TIMEOUT, NO_REPLY, Error, Refusal, Reply
from titan.store.session import Session, Wait

_OUT_OF_RANGE = b"ERR timeout is out of range"
Serve = Callable[[Context, bytes], Reply]
"""Function that tries to complete a waiting command with a changed key. Returns BLOCKED if the
session must continue to wait."""


def deadline(ctx: Context, seconds: bytes) -> int:
    """Convert a timeout in seconds to its end, in ms since the epoch; 0 means no timeout. Raises
    Refusal."""
    amount = extended(seconds, Error(b"ERR timeout is not a float or out of range"))
    if amount is None:
        raise Refusal(NEGATIVE_TIMEOUT)
    milliseconds = ceil(extended_product(amount, 1000))
    if milliseconds > INT_MAX:
        raise Refusal(NEGATIVE_TIMEOUT)  # in Redis 7.0 the number wraps around and is negative
    return _until(ctx, milliseconds)


def deadline_ms(ctx: Context, milliseconds: int) -> int:
    """Convert a timeout in milliseconds to its end, like `deadline`."""
    return _until(ctx, milliseconds)


def _until(ctx: Context, milliseconds: int) -> int:
    if milliseconds < 0:
        raise Refusal(NEGATIVE_TIMEOUT)
    if milliseconds + ctx.now > INT_MAX:
        raise Refusal(_OUT_OF_RANGE)
    return ctx.now + milliseconds if milliseconds else 0


def wait(ctx: Context, keys: list[bytes], until_ms: int, serve: Serve, empty: Reply) -> Reply:
    """Make the current session wait until `serve` succeeds with one of `keys`, but not after
    `until_ms`. In EXEC do not wait, but return `empty`."""
    if ctx.executing:
        return empty
    session, db = ctx.session, ctx.db
    ctx.waits += 1
    waiting = Wait(db.index, list(dict.fromkeys(keys)), until_ms, partial(serve, ctx), empty, ctx.waits)
    session.blocked = waiting
    for key in waiting.keys:
        ctx.observed.add(db.index, key).waiters[session] = waiting
    if until_ms:
        heappush(ctx.timeouts, (until_ms, ctx.waits, session))
        if len(ctx.timeouts) > 64 + 2 * len(ctx.sessions):
            ctx.timeouts = [entry for entry in ctx.timeouts if _is_current(entry)]
            heapify(ctx.timeouts)
    return BLOCKED


def release(ctx: Context, session: Session) -> None:
    """End the wait of a session without a reply."""
    waiting = session.blocked
    if waiting is not None:
        for key in waiting.keys:
            ctx.observed.leave(waiting.index, key, session, watching=False)
        session.blocked = None


def answer(ctx: Context, session: Session, reply: Reply) -> None:
    """End the wait of a session with a reply."""
    release(ctx, session)
    if session.muted:
        return
    if reply is not NO_REPLY:
        ctx.deliveries.append((session, reply))


def serve_ready(ctx: Context) -> None:
    """Serve the sessions that wait for changed keys."""
    while ctx.ready:
        index, key = next(iter(ctx.ready))
        del ctx.ready[index, key]
        observers = ctx.observed.get((index, key))
        if observers is None:
            continue
        db = ctx.databases[index]
        for session, waiting in list(observers.waiters.items()):
            if session.blocked is not waiting:
                continue
            ctx.session, ctx.db = session, db
            try:
                reply = waiting.serve(key)
            except Refusal as refusal:
                reply = refusal.reply
            if reply is not BLOCKED:
                answer(ctx, session, reply)


def next_timeout(ctx: Context) -> int | None:
    """Return the earliest end of a timeout; None if there is none."""
    while ctx.timeouts and not _is_current(ctx.timeouts[0]):
        heappop(ctx.timeouts)
    return ctx.timeouts[0][0] if ctx.timeouts else None


def time_out(ctx: Context, now_ms: int) -> None:
    """Answer the sessions whose timeout has ended."""
    while (at := next_timeout(ctx)) is not None and at <= now_ms:
        session = heappop(ctx.timeouts)[2]
        assert session.blocked is not None
        answer(ctx, session, session.blocked.empty)


def _is_current(entry: tuple[int, int, Session]) -> bool:
    blocked = entry[2].blocked
    return blocked is not None and blocked.number == entry[1]
