"""Conversion of values to the commands that create them, for snapshots of the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from titan.store.context import Change
from titan.store.keyspace import Database
from titan.store.parsing import score_text
from titan.store.stream_log import Stream, id_text
from titan.store.values import SetValue, SortedSet, Value

ELEMENTS = 256
PART_BYTES = 16 << 20
"""Maximum number of elements, and of bytes, in one command. A command is never split between two
chunks of a snapshot."""


def changes_of(db: Database) -> Iterator[Change]:
    """Yield the changes that create all keys of a database."""
    for key in db.data:
        yield from changes_of_key(db, key)


def changes_of_key(db: Database, key: bytes) -> Iterator[Change]:
    """Yield the changes that create a key; none if it does not exist."""
    if key not in db.data:
        return
    for args in _commands(key, db.data[key]):
        yield db.index, args
    at = db.expires.get(key)
    if at is not None:
        yield db.index, [b"PEXPIREAT", key, b"%d" % at]


def described(value: Value) -> Any:
    """Return a canonical form of a value. Equal values have forms with the same `repr`."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, SetValue):
        return sorted(value)
    if isinstance(value, SortedSet):
        return sorted(value.scores.items())
    if isinstance(value, Stream):
        groups = [
            (
                name,
                group.last,
                group.read,
                sorted((entry, p.consumer.name, p.delivered_ms, p.count) for entry, p in group.pending.items()),
                sorted(group.consumers),
            )
            for name, group in sorted(value.groups.items())
        ]
        return list(value.entries.items()), value.last, value.added, value.max_deleted, groups
    return list(value)


def _commands(key: bytes, value: Value) -> Iterator[list[bytes]]:
    if isinstance(value, bytes | bytearray):
        yield [b"SET", key, bytes(value[:PART_BYTES])]
        for at in range(PART_BYTES, len(value), PART_BYTES):
            yield [b"APPEND", key, bytes(value[at : at + PART_BYTES])]
    elif isinstance(value, dict):
        for part in _parts(value.items(), _pair_size):
            yield [b"HSET", key, *(half for pair in part for half in pair)]
    elif isinstance(value, SetValue):
        for part in _parts(value):
            yield [b"SADD", key, *part]
    elif isinstance(value, SortedSet):
        for part in _parts(value.scores.items(), _scored_size):
            yield [b"ZADD", key, *(half for member, score in part for half in (score_text(score), member))]
    elif isinstance(value, Stream):
        yield from _stream_commands(key, value)
    else:
        for part in _parts(value):
            yield [b"RPUSH", key, *part]


def _stream_commands(key: bytes, stream: Stream) -> Iterator[list[bytes]]:
    if stream.entries:
        for entry, fields in stream.entries.items():
            yield [b"XADD", key, id_text(entry), *fields]
    else:  # XADD creates the stream with an entry, and trims the entry at once
        made = id_text(max(1, stream.last))
        yield [b"XADD", key, b"MAXLEN", b"=", b"0", made, b"f", b"v"]
    yield [
        *(b"XSETID", key, id_text(stream.last)),
        *(b"ENTRIESADDED", b"%d" % stream.added, b"MAXDELETEDID", id_text(stream.max_deleted)),
    ]
    for name, group in stream.groups.items():
        yield [b"XGROUP", b"CREATE", key, name, id_text(group.last), b"ENTRIESREAD", b"%d" % group.read]
        for consumer in group.consumers.values():
            yield [b"XGROUP", b"CREATECONSUMER", key, name, consumer.name]
        for entry, pending in group.pending.items():
            yield [
                *(b"XCLAIM", key, name, pending.consumer.name, b"0", id_text(entry), b"TIME", b"%d" % pending.delivered_ms),
                *(b"RETRYCOUNT", b"%d" % pending.count, b"FORCE", b"JUSTID"),
            ]


def _parts(values: Iterable[Any], size: Callable[[Any], int] = len) -> Iterator[list[Any]]:
    part: list[Any] = []
    room = PART_BYTES
    for value in values:
        part.append(value)
        room -= size(value)
        if len(part) == ELEMENTS or room < 0:
            yield part
            part, room = [], PART_BYTES
    if part:
        yield part


def _pair_size(pair: tuple[bytes, bytes]) -> int:
    return len(pair[0]) + len(pair[1])


def _scored_size(pair: tuple[bytes, float]) -> int:
    return len(pair[0])
