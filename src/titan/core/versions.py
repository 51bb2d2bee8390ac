"""Checks that refuse data of a later Titan, which this version could only read in part.

Events and snapshots are arrays to which fields are only added at the end. Decoding by type silently
drops extra fields, so a downgrade would lose data of the later Titan. These checks compare the raw
arrays with the types. A check costs more than the decoding itself, so only data that another
version wrote is checked: see `gateway.reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from titan.core.events.events import Event
from titan.core.state import snapshot
from titan.errors import JournalTooNew

Check = Callable[[Any], None]
_decode_raw = msgspec.msgpack.Decoder().decode


def check_events(payload: bytes) -> None:
    """Raise JournalTooNew if the payload of a record has fields or tags that this Titan does not
    know."""
    _checks()[0](_decode_raw(payload))


def check_chunk(chunk: bytes) -> None:
    """Raise JournalTooNew if a chunk of a snapshot has fields or tags that this Titan does not
    know."""
    _checks()[1](_decode_raw(chunk))


@cache
def _checks() -> tuple[Check, Check]:
    events, chunks = _check_of(inspect.type_info(list[Event]), {}), _check_of(inspect.type_info(snapshot.Chunk), {})
    assert events is not None and chunks is not None
    return events, chunks


def _check_of(kind: inspect.Type, known: dict[type, Check]) -> Check | None:
    """Return the check for a type; None if it contains no struct."""
    match kind:
        case inspect.StructType():
            return _struct(kind, known)
        case inspect.UnionType():
            return _union(kind, known)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return _each(_check_of(kind.item_type, known))
        case inspect.TupleType():
            return _positions([_check_of(item, known) for item in kind.item_types])
        case inspect.DictType():
            inner = _each(_check_of(kind.value_type, known))
            return None if inner is None else lambda raw: inner(raw.values())
    return None


def _struct(kind: inspect.StructType, known: dict[type, Check]) -> Check:
    if kind.cls not in known:
        made: list[Check] = []
        known[kind.cls] = lambda raw: made[0](raw)  # noqa: PLW0108  a recursive type reads `made` before it is filled
        made.append(_array(kind, known) if kind.array_like else _object(kind, known))
    return known[kind.cls]


def _array(kind: inspect.StructType, known: dict[type, Check]) -> Check:
    name, before = kind.cls.__name__, [None] if kind.tag is not None else []
    limit = len(kind.fields) + len(before)
    inner = _positions([*before, *(_check_of(field.type, known) for field in kind.fields)])

    def check(raw: Any) -> None:
        if len(raw) > limit:
            raise JournalTooNew(f"{name} has {len(raw) - limit} more fields than this Titan knows")
        if inner is not None:
            inner(raw)

    return check


def _object(kind: inspect.StructType, known: dict[type, Check]) -> Check:
    name, tag_field = kind.cls.__name__, kind.tag_field
    fields = {field.encode_name: _check_of(field.type, known) for field in kind.fields}

    def check(raw: Any) -> None:
        for key, value in raw.items():
            if key not in fields and key != tag_field:
                raise JournalTooNew(f"{name} has a field {key!r}, which this Titan does not know")
            within = fields.get(key)
            if within is not None:
                within(value)

    return check


def _union(kind: inspect.UnionType, known: dict[type, Check]) -> Check | None:
    structs = [each for each in kind.types if isinstance(each, inspect.StructType)]
    by_tag = {each.tag: _struct(each, known) for each in structs if each.tag is not None}
    others = [found for each in kind.types if each not in structs and (found := _check_of(each, known)) is not None]
    others += [_struct(each, known) for each in structs if each.tag is None]

    def check(raw: Any) -> None:
        if raw is None:
            return
        if by_tag:
            tag = raw[0] if isinstance(raw, list) else raw.get(structs[0].tag_field)
            if tag not in by_tag:
                raise JournalTooNew(f"this Titan does not know {tag!r}")
            by_tag[tag](raw)
        for other in others:
            if isinstance(raw, (list, dict)):
                other(raw)

    return check if by_tag or others else None


def _each(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(raw: Any) -> None:
        for item in raw:
            inner(item)

    return check


def _positions(checks: Sequence[Check | None]) -> Check | None:
    wanted = [(at, check) for at, check in enumerate(checks) if check is not None]
    if not wanted:
        return None

    def check(raw: Any) -> None:
        for at, inner in wanted:
            if at < len(raw):
                inner(raw[at])

    return check
