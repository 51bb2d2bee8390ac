"""Every field of every message has a range, and the decoder refuses values outside of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import StoredFile
from titan.model.timing import Timing
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Misfit, encode
from titan.protocol.opcodes import OPCODES

CHECKED_BY_THE_MODEL = (DagSpec, JobTemplate, Timing, StoredFile)
"""Structs that are also journaled. Journals must stay readable when limits change."""


def unbounded(of: Any, where: str) -> Iterator[str]:
    """Yield the parts of a type that have no range."""
    match of:
        case inspect.IntType(ge=low, le=high) | inspect.FloatType(ge=low, le=high):
            if low is None or high is None:
                yield where
        case inspect.StrType(max_length=most) | inspect.BytesType(max_length=most):
            if most is None:
                yield where
        case inspect.ListType(max_length=most, item_type=item) | inspect.VarTupleType(max_length=most, item_type=item):
            if most is None:
                yield where
            yield from unbounded(item, f"{where}[]")
        case inspect.DictType(max_length=most, key_type=key, value_type=value):
            if most is None:
                yield where
            yield from unbounded(key, f"{where}{{key}}")
            yield from unbounded(value, f"{where}{{value}}")
        case inspect.TupleType(item_types=items) | inspect.UnionType(types=items):
            for item in items:
                yield from unbounded(item, where)
        case inspect.StructType(cls=cls, fields=fields):
            for field in fields if cls not in CHECKED_BY_THE_MODEL else ():
                yield from unbounded(field.type, f"{where}.{field.name}")
        case inspect.BoolType() | inspect.NoneType():
            pass
        case _:
            raise AssertionError(f"{where}: no rule for {of}")


@pytest.mark.parametrize("kind", OPCODES.values(), ids=lambda kind: kind.__name__)
def test_every_field_of_every_message_states_its_range(kind: type[msg.Message]) -> None:
    assert list(unbounded(inspect.type_info(kind), kind.__name__)) == []


def test_the_rule_finds_a_field_without_a_range() -> None:
    kind = msgspec.defstruct("Bare", [("a", int), ("b", list[str]), ("c", dict[str, float | None])], array_like=True)
    found = list(unbounded(inspect.type_info(kind), "Bare"))
    assert found == ["Bare.a", "Bare.b", "Bare.b[]", "Bare.c", "Bare.c{key}", "Bare.c{value}"]


def result(**changed: Any) -> msg.Results:
    good = msg.Results(0, [1], [0], [0], [""], [1.0], [2.0], [0.5], [1])
    return msgspec.structs.replace(good, **changed)


@pytest.mark.parametrize(
    "message",
    [
        result(finished=[math.nan]),
        result(finished=[math.inf]),
        result(finished=[1e18]),
        result(started=[-1.0]),
        result(cpu_s=[-math.inf]),
        result(peak_bytes=[-1]),
        result(peak_bytes=[2**63]),
        result(leases=[2**64 - 1]),
        result(exit_codes=[2**31]),
        result(reasons=["x" * (2 << 20)]),
        msg.Heartbeat(0, [0] * 1_000_001, []),
        msg.Register(1, "w", "1", "c", ("GENERAL",), 1, {"cpus": math.nan}, [], []),
        msg.Register(1, "w", "1", "c", ("GENERAL",), 1, {str(i): 1 for i in range(1000)}, [], []),
        msg.Progress(0, [1], [1.5], [""]),
        msg.OpenRun(1, "k", "n", "v", [], 1, deadline_s=math.nan),
        msg.ListRuns(1, limit=-1),
        msg.ServiceStates(0, [1], [1], [1.0], [1.0], [65_536], [0], [""], [0.0]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_value_out_of_its_range_is_refused_by_the_decoder(message: msg.Message) -> None:
    (answer,) = MessageDecoder().receive_data(encode(message))
    assert isinstance(answer, Misfit)
    assert answer.error.request == message.request
    assert answer.error.code == "protocol"


def test_the_answer_to_an_unreadable_request_id_has_the_id_0() -> None:
    (answer,) = MessageDecoder().receive_data(encode(msg.Ping(2**64 - 1)))
    assert isinstance(answer, Misfit)
    assert answer.error.request == 0
