"""Channels: SUBSCRIBE, PUBLISH and related commands."""

from __future__ import annotations

from titan.store.context import Context
from titan.store.patterns import matcher
from titan.store.replies import Push, Refusal, Reply, Several, misused
from titan.store.session import Session

MOST_CHANNEL = 64 * 1024
"""Maximum bytes in the name of a channel that is compared with patterns."""


def subscribe(ctx: Context, args: list[bytes]) -> Reply:
    return Several(_join(ctx, b"subscribe", channel, patterns=False) for channel in args[1:])


def psubscribe(ctx: Context, args: list[bytes]) -> Reply:
    return Several(_join(ctx, b"psubscribe", pattern, patterns=True) for pattern in args[1:])


def unsubscribe(ctx: Context, args: list[bytes]) -> Reply:
    return _leave_all(ctx, b"unsubscribe", args[1:] or list(ctx.session.channels), patterns=False)


def punsubscribe(ctx: Context, args: list[bytes]) -> Reply:
    return _leave_all(ctx, b"punsubscribe", args[1:] or list(ctx.session.patterns), patterns=True)


def publish(ctx: Context, args: list[bytes]) -> Reply:
    channel, message = args[1], args[2]
    if ctx.patterns and len(channel) > MOST_CHANNEL:
        raise Refusal(b"ERR the name of the channel has more than %d bytes" % MOST_CHANNEL)
    ctx.strain(len(ctx.patterns))
    receivers = 0
    for session in ctx.channels.get(channel, ()):
        ctx.deliver(session, Push([b"message", channel, message]))
        receivers += 1
    for pattern, sessions in ctx.patterns.items():
        if matcher(pattern)(channel):
            for session in sessions:
                ctx.deliver(session, Push([b"pmessage", pattern, channel, message]))
                receivers += 1
    return receivers


def pubsub_channels(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        raise Refusal(misused(args))
    if len(args) == 2:
        return list(ctx.channels)
    matches = matcher(args[2])
    return [channel for channel in ctx.channels if matches(channel)]


def pubsub_numsub(ctx: Context, args: list[bytes]) -> Reply:
    return [part for channel in args[2:] for part in (channel, len(ctx.channels.get(channel, ())))]


def pubsub_numpat(ctx: Context, args: list[bytes]) -> Reply:
    return len(ctx.patterns)


def leave_everything(ctx: Context, session: Session) -> None:
    for channel in list(session.channels):
        _leave(ctx, session, channel, patterns=False)
    for pattern in list(session.patterns):
        _leave(ctx, session, pattern, patterns=True)
    session.review()


def _join(ctx: Context, word: bytes, name: bytes, *, patterns: bool) -> Push:
    session = ctx.session
    if patterns:
        matcher(name)
    mine, everyone = (session.patterns, ctx.patterns) if patterns else (session.channels, ctx.channels)
    mine[name] = None
    everyone.setdefault(name, {})[session] = None
    session.review()
    return Push([word, name, len(session.channels) + len(session.patterns)])


def _leave_all(ctx: Context, word: bytes, names: list[bytes], *, patterns: bool) -> Reply:
    session = ctx.session
    confirmations = []
    for name in names:
        _leave(ctx, session, name, patterns=patterns)
        confirmations.append(Push([word, name, len(session.channels) + len(session.patterns)]))
    session.review()
    return Several(confirmations or [Push([word, None, len(session.channels) + len(session.patterns)])])


def _leave(ctx: Context, session: Session, name: bytes, *, patterns: bool) -> None:
    mine, everyone = (session.patterns, ctx.patterns) if patterns else (session.channels, ctx.channels)
    mine.pop(name, None)
    listeners = everyone.get(name)
    if listeners is not None:
        listeners.pop(session, None)
        if not listeners:
            del everyone[name]
