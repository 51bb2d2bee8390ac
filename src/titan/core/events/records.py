"""Division of the events of one turn into several records, if they are too large for one.

A journal record is read whole and holds at most 1 GiB. The events of one turn may be larger:
several connections of TitanStore can each have written hundreds of megabytes. The master sends no
answer before the last record of the turn is durable. If a crash leaves only the first of two
records, the result is therefore the same as after a crash before the second record was decided.
"""

from __future__ import annotations

from collections.abc import Iterator

from titan.core.events import events as ev
from titan.store.context import Change

RECORD_BYTES = 256 << 20
"""Size up to which events share a record."""
MOST_BYTES = 1 << 30
"""Maximum size of a record. Only a transaction, which is not split, may make a record this
large."""


def divided(events: list[ev.Event], most: int = RECORD_BYTES, limit: int = MOST_BYTES) -> Iterator[list[ev.Event]]:
    """Yield the events in order, in lists of about `most` encoded bytes.

    A StoreChanged is split between its changes, but not inside a transaction smaller than `limit`.
    """
    part: list[ev.Event] = []
    size = 0
    for event in events:
        for piece in _pieces(event, most, limit) if isinstance(event, ev.StoreChanged) else (event,):
            length = len(ev.encode([piece])[0])
            if part and size + length > most:
                yield part
                part, size = [], 0
            part.append(piece)
            size += length
    if part:
        yield part


def _pieces(event: ev.StoreChanged, most: int, limit: int) -> Iterator[ev.StoreChanged]:
    changes: list[Change] = []
    size = 0
    for unit in _units(event, limit):
        length = sum(map(size_of, unit))
        if changes and size + length > most:
            yield _changed(changes, event)
            changes, size = [], 0
        changes += unit
        size += length
    if changes:
        yield _changed(changes, event)


def _units(event: ev.StoreChanged, limit: int) -> Iterator[list[Change]]:
    """Yield groups of changes that stay together: a single change, or a transaction.

    A transaction larger than `limit` is split; its changes come without MULTI and EXEC.
    """
    changes = iter(zip(event.databases, event.commands, strict=True))
    for change in changes:
        if change[1] != [b"MULTI"]:
            yield [change]
            continue
        unit = [change]
        while unit[-1][1] != [b"EXEC"]:
            more = next(changes, None)
            if more is None:
                break
            unit.append(more)
        if sum(map(size_of, unit)) < limit:
            yield unit
        else:
            yield from ([inner] for inner in unit if inner[1] not in ([b"MULTI"], [b"EXEC"]))


def size_of(change: Change) -> int:
    """Return an upper estimate of the encoded size of a change, in bytes."""
    return 16 + sum(map(len, change[1])) + 5 * len(change[1])


def _changed(changes: list[Change], event: ev.StoreChanged) -> ev.StoreChanged:
    return ev.StoreChanged([database for database, _ in changes], [args for _, args in changes], event.at)


def chunks(changes: Iterator[Change], count: int, most: int) -> Iterator[list[Change]]:
    """Yield the changes in lists of at most `count` changes and about `most` bytes."""
    part: list[Change] = []
    size = 0
    for change in changes:
        part.append(change)
        size += size_of(change)
        if len(part) == count or size > most:
            yield part
            part, size = [], 0
    if part:
        yield part
