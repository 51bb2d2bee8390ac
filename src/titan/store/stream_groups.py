"""Consumer groups: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM."""

from __future__ import annotations

from typing import NamedTuple

from titan.store.context import Context
from titan.store.parsing import integer
from titan.store.replies import NULL_ARRAY, OK, SYNTAX, Error, Refusal, Reply, misused, shown
from titan.store.stream_log import MAX_ID, MOST_COUNTED, UNKNOWN, Consumer, Group, Pending, Stream, id_text
from titan.store.stream_reading import consumer_of, log_claims
from titan.store.streams import count_option, counter, entry_reply, interval_start, parse_end, parse_id, parse_interval, stream_of

_NO_KEY = (
    b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create "
    b"an empty stream automatically."
)


def _group_options(ctx: Context, args: list[bytes], *, creating: bool) -> tuple[bool, int]:
    """Parse the options of XGROUP from argument 5 on. Return whether MKSTREAM is present, and the
    value of ENTRIESREAD. Raises Refusal."""
    make = False
    read = UNKNOWN
    at = 5
    while at < len(args):
        option = args[at].upper()
        if creating and option == b"MKSTREAM":
            make = True
            at += 1
        elif option == b"ENTRIESREAD" and at + 1 < len(args):
            read = counter(ctx, args[at + 1])
            if read < 0 and read != UNKNOWN:
                raise Refusal(b"ERR value for ENTRIESREAD must be positive or -1")
            at += 2
        else:
            raise Refusal(misused(args))
    return make, read


def xgroup_create(ctx: Context, args: list[bytes]) -> Reply:
    make, read = _group_options(ctx, args, creating=True)
    key, name = args[2], args[3]
    stream = stream_of(ctx, key)
    if stream is None and not make:
        raise Refusal(_NO_KEY)
    last = (stream.last if stream is not None else 0) if args[4] == b"$" else parse_id(args[4])
    if stream is not None and name in stream.groups:
        raise Refusal(b"BUSYGROUP Consumer Group name already exists")
    if stream is None:
        stream = ctx.db.data[key] = Stream()
        ctx.touch(key)
    stream.groups[name] = Group(last, read)
    ctx.regrouped(key, [b"XGROUP", b"CREATE", key, name, id_text(last), b"MKSTREAM", b"ENTRIESREAD", b"%d" % read])
    return OK


def _existing(ctx: Context, args: list[bytes]) -> tuple[Stream, Group]:
    """Return the stream and group of an XGROUP command. Raises Refusal."""
    stream = stream_of(ctx, args[2])
    if stream is None:
        raise Refusal(_NO_KEY)
    group = stream.groups.get(args[3])
    if group is None:
        raise Refusal(b"NOGROUP No such consumer group '%b' for key name '%b'" % (shown(args[3]), shown(args[2])))
    return stream, group


def xgroup_setid(ctx: Context, args: list[bytes]) -> Reply:
    _, read = _group_options(ctx, args, creating=False)
    stream, group = _existing(ctx, args)
    group.last = stream.last if args[4] == b"$" else parse_end(args[4], 0)
    group.read = read
    ctx.regrouped(args[2], [b"XGROUP", b"SETID", args[2], args[3], id_text(group.last), b"ENTRIESREAD", b"%d" % read])
    return OK


def xgroup_destroy(ctx: Context, args: list[bytes]) -> Reply:
    stream = stream_of(ctx, args[2])
    if stream is None:
        raise Refusal(_NO_KEY)
    if stream.groups.pop(args[3], None) is None:
        return 0
    ctx.regrouped(args[2], args)
    ctx.wake(args[2])  # sessions that wait for this group get an error
    return 1


def xgroup_createconsumer(ctx: Context, args: list[bytes]) -> Reply:
    _, group = _existing(ctx, args)
    if args[4] in group.consumers:
        return 0
    consumer_of(ctx, args[2], args[3], group, args[4])
    return 1


def xgroup_delconsumer(ctx: Context, args: list[bytes]) -> Reply:
    _, group = _existing(ctx, args)
    consumer = group.consumers.pop(args[4], None)
    if consumer is None:
        return 0
    for entry in consumer.pending:
        group.pending.drop(entry)
    ctx.regrouped(args[2], args)
    return len(consumer.pending)


def _group(ctx: Context, key: bytes, name: bytes) -> tuple[Stream, Group]:
    stream = stream_of(ctx, key)
    group = stream.groups.get(name) if stream is not None else None
    if stream is None or group is None:
        raise Refusal(b"NOGROUP No such key '%b' or consumer group '%b'" % (shown(key), shown(name)))
    return stream, group


def xack(ctx: Context, args: list[bytes]) -> Reply:
    stream = stream_of(ctx, args[1])
    group = stream.groups.get(args[2]) if stream is not None else None
    if group is None:
        return 0
    done = sum(group.acknowledge(entry) for entry in [parse_id(text) for text in args[3:]])
    if done:
        ctx.regrouped(args[1], args)
    return done


def xpending(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) == 3:
        return _summary(_group(ctx, args[1], args[2])[1])
    if not 6 <= len(args) <= 9:
        raise Refusal(SYNTAX)
    at = 3
    idle_ms = 0
    if args[3].upper() == b"IDLE":
        idle_ms = integer(args[4])
        if len(args) < 8:
            raise Refusal(SYNTAX)
        at = 5
    count = max(0, integer(args[at + 2]))
    low, high = parse_interval(args[at], args[at + 1])
    group = _group(ctx, args[1], args[2])[1]
    pending = group.pending
    if at + 3 < len(args):
        consumer = group.consumers.get(args[at + 3])
        if consumer is None:
            return []
        pending = consumer.pending
    found: list[object] = []
    for entry in pending.span(low, high):
        if len(found) >= count:
            break
        item = pending[entry]
        idle = max(0, ctx.now - item.delivered_ms)
        if idle >= idle_ms:
            found.append([id_text(entry), item.consumer.name, idle, item.count])
    return found


def _summary(group: Group) -> Reply:
    pending = group.pending
    if not pending:
        return [0, None, None, NULL_ARRAY]
    busy = [[name, b"%d" % len(consumer.pending)] for name, consumer in sorted(group.consumers.items()) if consumer.pending]
    return [len(pending), id_text(pending.first()), id_text(pending.last()), busy]


class _Claim(NamedTuple):
    """Options of XCLAIM after the ids.

    `delivered_ms` is the time of delivery to set; None means now. `times` is the number of
    deliveries to set; None adds one. `last` is a lower limit of the group's last id.
    """

    delivered_ms: int | None
    times: int | None
    last: int
    force: bool
    only_ids: bool


def _claim_options(ctx: Context, args: list[bytes], at: int) -> _Claim:
    """Parse the options of XCLAIM from `args[at]` on. Raises Refusal."""
    delivered_ms: int | None = None
    count: int | None = None
    last = 0
    force = only_ids = False
    while at < len(args):
        option = args[at].upper()
        more = at + 1 < len(args)
        if option == b"FORCE":
            force = True
        elif option == b"JUSTID":
            only_ids = True
        elif option in (b"IDLE", b"TIME", b"RETRYCOUNT") and more:
            number = counter(ctx, args[at + 1], Error(b"ERR Invalid %b option argument for XCLAIM" % option))
            if option == b"RETRYCOUNT":
                count = number
            else:
                delivered_ms = number if option == b"TIME" else ctx.now - number
            at += 1
        elif option == b"LASTID" and more:
            last = parse_id(args[at + 1])
            at += 1
        else:
            raise Refusal(b"ERR Unrecognized XCLAIM option '%b'" % shown(args[at]))
        at += 1
    return _Claim(delivered_ms, count, last, force, only_ids)


def xclaim(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    stream, group = _group(ctx, key, args[2])
    idle_ms = integer(args[4], Error(b"ERR Invalid min-idle-time argument for XCLAIM"))
    ids: list[int] = []
    for arg in args[5:]:
        try:
            ids.append(parse_id(arg))
        except Refusal:
            break
    delivered_ms, count, last, force, only_ids = _claim_options(ctx, args, 5 + len(ids))
    if last > group.last:
        group.last = last
        ctx.regrouped(key, [b"XGROUP", b"SETID", key, args[2], id_text(last), b"ENTRIESREAD", b"%d" % group.read])
    if delivered_ms is None or (ctx.now and not 0 <= delivered_ms <= ctx.now):
        delivered_ms = ctx.now
    found: list[object] = []
    taken: list[int] = []
    for entry in ids:
        pending = group.pending.get(entry)
        if entry not in stream.entries and ctx.now:  # in a snapshot, a deleted entry may be pending
            _drop_deleted(ctx, key, args[2], group, [entry])
            continue
        if pending is None:
            if not force:
                continue
        elif idle_ms > 0 and ctx.now - pending.delivered_ms < idle_ms:
            continue
        # The consumer is created only if it gets an entry.
        consumer = consumer_of(ctx, key, args[2], group, args[3])
        pending = pending or Pending(consumer, delivered_ms, 1)
        pending.delivered_ms = delivered_ms
        if count is not None and count >= 0:
            pending.count = count
        elif not only_ids:
            pending.count = min(pending.count + 1, MOST_COUNTED)
        group.assign(entry, pending, consumer)
        taken.append(entry)
        found.append(id_text(entry) if only_ids else entry_reply(entry, stream.entries[entry]))
    if taken:
        log_claims(ctx, key, args[2], group.consumers[args[3]], taken)
    return found


def _drop_deleted(ctx: Context, key: bytes, name: bytes, group: Group, entries: list[int]) -> None:
    """Acknowledge entries that were deleted from the stream."""
    gone = [id_text(entry) for entry in entries if group.acknowledge(entry)]
    if gone:
        ctx.regrouped(key, [b"XACK", key, name, *gone])


def xautoclaim(ctx: Context, args: list[bytes]) -> Reply:
    key = args[1]
    idle_ms = integer(args[4], Error(b"ERR Invalid min-idle-time argument for XAUTOCLAIM"))
    start = interval_start(args[5])
    count = 100
    only_ids = False
    at = 6
    while at < len(args):
        option = args[at].upper()
        if option == b"COUNT" and at + 1 < len(args):
            count = count_option(args[at + 1])
            at += 1
        elif option == b"JUSTID":
            only_ids = True
        else:
            raise Refusal(SYNTAX)
        at += 1
    stream, group = _group(ctx, key, args[2])
    taken, deleted, following = _claimable(ctx, stream, group, start, count, idle_ms)
    _drop_deleted(ctx, key, args[2], group, deleted)
    if taken:
        consumer = consumer_of(ctx, key, args[2], group, args[3])
        for entry in taken:
            pending = group.pending[entry]
            pending.delivered_ms = ctx.now
            pending.count = min(pending.count + (not only_ids), MOST_COUNTED)
            group.assign(entry, pending, consumer)
        log_claims(ctx, key, args[2], consumer, taken)
    replies: list[object] = [id_text(entry) if only_ids else entry_reply(entry, stream.entries[entry]) for entry in taken]
    return [id_text(following), replies, [id_text(entry) for entry in deleted]]


def _claimable(
    ctx: Context, stream: Stream, group: Group, start: int, count: int, idle_ms: int
) -> tuple[list[int], list[int], int]:
    """Return the pending entries that can be claimed, the pending entries that were deleted from
    the stream, and the id at which the next call continues (0: at the end). Visit at most ten times
    `count` entries."""
    taken: list[int] = []
    deleted: list[int] = []
    looks = 10 * count
    for entry in group.pending.span(start, MAX_ID):
        if not looks or len(taken) + len(deleted) == count:
            return taken, deleted, entry
        looks -= 1
        if entry not in stream.entries:
            deleted.append(entry)
        elif idle_ms <= 0 or ctx.now - group.pending[entry].delivered_ms >= idle_ms:
            taken.append(entry)
    return taken, deleted, 0


def own_consumers(group: Group) -> list[Consumer]:
    """Return the consumers of a group, sorted by name."""
    return [consumer for _, consumer in sorted(group.consumers.items())]
