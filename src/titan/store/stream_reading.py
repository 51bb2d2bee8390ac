"""XREAD and XREADGROUP, with and without waiting."""

from __future__ import annotations

from typing import NamedTuple

from titan.store import blocking
from titan.store.context import Context
from titan.store.parsing import integer
from titan.store.replies import BLOCKED, NULL_ARRAY, SYNTAX, Error, Keyed, Refusal, Reply, shown
from titan.store.stream_log import MAX_ID, MOST_COUNTED, UNKNOWN, Consumer, Group, Pending, Stream, id_text
from titan.store.streams import entries_between, entry_reply, parse_id, stream_of

_NEW = MAX_ID
"""Position ``>``: entries that were not delivered to any consumer yet. As in Redis, the largest id
means the same."""
_GROUP_IS_GONE = Error(b"NOGROUP the consumer group this client was blocked on no longer exists")
_KEY_IS_GONE = Error(b"UNBLOCKED the stream key no longer exists")


class _Request(NamedTuple):
    keys: list[bytes]
    positions: list[bytes]
    most: int | None
    until_ms: int | None
    """End of the timeout; None: do not wait; 0: wait without a timeout."""
    group: bytes | None
    consumer: bytes
    acknowledged: bool
    """True with the option NOACK: delivered entries count as acknowledged."""


def _request(ctx: Context, args: list[bytes], *, grouped: bool) -> _Request:
    count = until = group = None
    consumer = b""
    acknowledged = False
    at = 1
    while at < len(args):
        option = args[at].upper()
        more = len(args) - at - 1
        if option == b"BLOCK" and more:
            until = blocking.deadline_ms(ctx, integer(args[at + 1], Error(b"ERR timeout is not an integer or out of range")))
            at += 2
        elif option == b"COUNT" and more:
            count = max(0, integer(args[at + 1]))
            at += 2
        elif option == b"STREAMS" and more:
            if more % 2:
                raise Refusal(b"ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
            break
        elif option == b"GROUP" and more >= 2:
            if not grouped:
                raise Refusal(b"ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
            group, consumer = args[at + 1], args[at + 2]
            at += 3
        elif option == b"NOACK":
            if not grouped:
                raise Refusal(b"ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
            acknowledged = True
            at += 1
        else:
            raise Refusal(SYNTAX)
    if at >= len(args):
        raise Refusal(SYNTAX)
    if grouped and group is None:
        raise Refusal(b"ERR Missing GROUP option for XREADGROUP")
    rest = args[at + 1 :]
    half = len(rest) // 2
    return _Request(rest[:half], rest[half:], count or None, until, group, consumer, acknowledged)


def xread(ctx: Context, args: list[bytes]) -> Reply:
    request = _request(ctx, args, grouped=False)
    after: dict[bytes, int] = {}
    found = Keyed()
    wanted: list[tuple[bytes, Stream | None, int]] = []
    for key, position in zip(request.keys, request.positions, strict=True):
        stream = stream_of(ctx, key)
        if position == b">":
            raise Refusal(b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.")
        after[key] = (stream.last if stream is not None else 0) if position == b"$" else parse_id(position)
        wanted.append((key, stream, after[key]))
    for key, stream, position_id in wanted:
        if stream is not None and stream.entries and stream.entries.last() > position_id:
            found.append((key, entries_between(stream, position_id + 1, MAX_ID, request.most)))
    if found:
        return found
    if request.until_ms is None:
        return NULL_ARRAY

    def serve(ctx: Context, key: bytes) -> Reply:
        stream = ctx.db.find(key)
        if not isinstance(stream, Stream) or stream.last <= after[key]:
            return BLOCKED
        return Keyed([(key, entries_between(stream, after[key] + 1, MAX_ID, request.most))])

    return blocking.wait(ctx, request.keys, request.until_ms, serve, NULL_ARRAY)


def xreadgroup(ctx: Context, args: list[bytes]) -> Reply:
    request = _request(ctx, args, grouped=True)
    name = request.group
    assert name is not None
    wanted: list[tuple[bytes, Stream, Group, int]] = []
    for key, position in zip(request.keys, request.positions, strict=True):
        stream = stream_of(ctx, key)
        group = stream.groups.get(name) if stream is not None else None
        if stream is None or group is None:
            raise Refusal(
                b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option" % (shown(key), shown(name))
            )
        if position == b"$":
            raise Refusal(
                b"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by "
                b"specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set."
            )
        wanted.append((key, stream, group, _NEW if position == b">" else parse_id(position)))
    found = Keyed()
    for key, stream, group, after in wanted:
        if after != _NEW:
            found.append((key, _history(ctx, key, stream, group, request, after)))
        elif stream.entries and stream.entries.last() > group.last:
            found.append((key, _deliver(ctx, key, stream, group, request)))
    if found:
        return found
    if request.until_ms is None:
        return NULL_ARRAY

    def serve(ctx: Context, key: bytes) -> Reply:
        stream = ctx.db.find(key)
        if not isinstance(stream, Stream):
            return _KEY_IS_GONE
        group = stream.groups.get(name)
        if group is None:
            return _GROUP_IS_GONE
        if stream.last <= group.last:
            return BLOCKED
        return Keyed([(key, _deliver(ctx, key, stream, group, request))])

    return blocking.wait(ctx, request.keys, request.until_ms, serve, NULL_ARRAY)


def consumer_of(ctx: Context, key: bytes, group_name: bytes, group: Group, name: bytes) -> Consumer:
    """Return a consumer of a group. Create it if it does not exist."""
    consumer = group.consumers.get(name)
    if consumer is None:
        consumer = group.consumers[name] = Consumer(name, ctx.now)
        ctx.regrouped(key, [b"XGROUP", b"CREATECONSUMER", key, group_name, name])
    consumer.seen_ms = ctx.now
    return consumer


def _deliver(ctx: Context, key: bytes, stream: Stream, group: Group, request: _Request) -> list[object]:
    """Deliver entries that no consumer of the group has received yet."""
    assert request.group is not None
    consumer = consumer_of(ctx, key, request.group, group, request.consumer)
    found: list[object] = []
    delivered: list[int] = []
    for entry in stream.entries.span(group.last + 1, MAX_ID):
        if request.most is not None and len(delivered) == request.most:
            break
        delivered.append(entry)
        if group.read != UNKNOWN and not stream.gaps_after(entry):
            group.read = min(group.read + 1, MOST_COUNTED)
        elif stream.added:
            group.read = stream.position(entry)
        group.last = entry
        found.append(entry_reply(entry, stream.entries[entry]))
        if not request.acknowledged:
            pending = group.pending.get(entry) or Pending(consumer, ctx.now, 1)
            pending.delivered_ms, pending.count = ctx.now, 1
            group.assign(entry, pending, consumer)
    if not request.acknowledged:
        log_claims(ctx, key, request.group, consumer, delivered)
    ctx.regrouped(key, [b"XGROUP", b"SETID", key, request.group, id_text(group.last), b"ENTRIESREAD", b"%d" % group.read])
    return found


def _history(ctx: Context, key: bytes, stream: Stream, group: Group, request: _Request, after: int) -> list[object]:
    """Return the pending entries of this consumer, with a null array in place of the fields of
    deleted entries."""
    assert request.group is not None
    consumer = consumer_of(ctx, key, request.group, group, request.consumer)
    found: list[object] = []
    delivered: list[int] = []
    for entry in consumer.pending.span(after + 1, MAX_ID):
        if request.most is not None and len(found) == request.most:
            break
        fields = stream.entries.get(entry)
        if fields is None:
            found.append([id_text(entry), NULL_ARRAY])
        else:
            pending = consumer.pending[entry]
            pending.delivered_ms = ctx.now
            pending.count = min(pending.count + 1, MOST_COUNTED)
            delivered.append(entry)
            found.append(entry_reply(entry, fields))
    log_claims(ctx, key, request.group, consumer, delivered)
    return found


def log_claims(ctx: Context, key: bytes, group: bytes, consumer: Consumer, entries: list[int]) -> None:
    """Record that entries are pending for a consumer. One change covers all entries with the same
    time and number of deliveries."""
    alike: dict[tuple[int, int], list[bytes]] = {}
    for entry in entries:
        pending = consumer.pending[entry]
        alike.setdefault((pending.delivered_ms, pending.count), []).append(id_text(entry))
    for (at_ms, count), ids in alike.items():
        ctx.regrouped(
            key,
            [
                *(b"XCLAIM", key, group, consumer.name, b"0", *ids),
                *(b"TIME", b"%d" % at_ms, b"RETRYCOUNT", b"%d" % count, b"FORCE", b"JUSTID"),
            ],
        )
