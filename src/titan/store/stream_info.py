"""XINFO: facts about streams, consumer groups and consumers."""

from __future__ import annotations

from titan.store.context import Context
from titan.store.parsing import integer
from titan.store.replies import NO_SUCH_KEY, Refusal, Reply, misused, shown
from titan.store.stream_groups import own_consumers
from titan.store.stream_log import MAX_ID, UNKNOWN, Consumer, Group, Stream, id_text
from titan.store.streams import entries_between, entry_reply, stream_of

_PER_NODE = 100
"""Entries in a node of the radix tree of Redis. The store has no such tree, but XINFO STREAM
reports the size that the tree would have with this value."""


def _stream(ctx: Context, key: bytes) -> Stream:
    stream = stream_of(ctx, key)
    if stream is None:
        raise Refusal(NO_SUCH_KEY)
    return stream


def xinfo_stream(ctx: Context, args: list[bytes]) -> Reply:
    stream = _stream(ctx, args[2])
    full = len(args) > 3
    count: int | None = 10
    if full:
        if args[3].upper() != b"FULL" or len(args) not in (4, 6) or (len(args) == 6 and args[4].upper() != b"COUNT"):
            raise Refusal(misused(args))
        if len(args) == 6:
            count = integer(args[5])
            count = 10 if count < 0 else count or None
    entries = stream.entries
    nodes = -(-len(stream) // _PER_NODE)
    facts: dict[bytes, object] = {
        b"length": len(stream),
        b"radix-tree-keys": nodes,
        b"radix-tree-nodes": nodes + 1,
        b"last-generated-id": id_text(stream.last),
        b"max-deleted-entry-id": id_text(stream.max_deleted),
        b"entries-added": stream.added,
        b"recorded-first-entry-id": id_text(stream.first()),
    }
    if full:
        facts[b"entries"] = entries_between(stream, 0, MAX_ID, count)
        facts[b"groups"] = [_full_group(name, group, stream, count) for name, group in sorted(stream.groups.items())]
        return facts
    facts[b"groups"] = len(stream.groups)
    facts[b"first-entry"] = entry_reply(entries.first(), entries[entries.first()]) if entries else None
    facts[b"last-entry"] = entry_reply(entries.last(), entries[entries.last()]) if entries else None
    return facts


def _full_group(name: bytes, group: Group, stream: Stream, count: int | None) -> dict[bytes, object]:
    pending: list[object] = []
    for entry in group.pending.span(0, MAX_ID):
        if count is not None and len(pending) == count:
            break
        item = group.pending[entry]
        pending.append([id_text(entry), item.consumer.name, item.delivered_ms, item.count])
    return {
        b"name": name,
        b"last-delivered-id": id_text(group.last),
        b"entries-read": None if group.read == UNKNOWN else group.read,
        b"lag": _lag(stream, group),
        b"pel-count": len(group.pending),
        b"pending": pending,
        b"consumers": [_full_consumer(consumer, count) for consumer in own_consumers(group)],
    }


def _full_consumer(consumer: Consumer, count: int | None) -> dict[bytes, object]:
    pending: list[object] = []
    for entry in consumer.pending.span(0, MAX_ID):
        if count is not None and len(pending) == count:
            break
        item = consumer.pending[entry]
        pending.append([id_text(entry), item.delivered_ms, item.count])
    return {b"name": consumer.name, b"seen-time": consumer.seen_ms, b"pel-count": len(consumer.pending), b"pending": pending}


def _lag(stream: Stream, group: Group) -> int | None:
    """Return the number of entries that the group has not received yet; None if they cannot be
    counted."""
    if not stream.added:
        return 0
    if group.read != UNKNOWN and not stream.gaps_after(group.last):
        return stream.added - group.read
    read = stream.position(group.last)
    return None if read == UNKNOWN else stream.added - read


def xinfo_groups(ctx: Context, args: list[bytes]) -> Reply:
    stream = _stream(ctx, args[2])
    return [
        {
            b"name": name,
            b"consumers": len(group.consumers),
            b"pending": len(group.pending),
            b"last-delivered-id": id_text(group.last),
            b"entries-read": None if group.read == UNKNOWN else group.read,
            b"lag": _lag(stream, group),
        }
        for name, group in sorted(stream.groups.items())
    ]


def xinfo_consumers(ctx: Context, args: list[bytes]) -> Reply:
    stream = _stream(ctx, args[2])
    group = stream.groups.get(args[3])
    if group is None:
        raise Refusal(b"NOGROUP No such consumer group '%b' for key name '%b'" % (shown(args[3]), shown(args[2])))
    return [
        {b"name": consumer.name, b"pending": len(consumer.pending), b"idle": max(0, ctx.now - consumer.seen_ms)}
        for consumer in own_consumers(group)
    ]
