"""Any split of the bytes of messages gives the same messages. Bytes that are no messages give an
error and have no other effect."""

from __future__ import annotations

import contextlib
import itertools
import types
import typing
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from titan.errors import PeerError
from titan.protocol.codec import MessageDecoder, Misfit, Received, encode
from titan.protocol.frames import encode_frame
from titan.protocol.messages import Message
from titan.protocol.opcodes import OPCODES

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(1 << 63), (1 << 64) - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=12),
    bytes: st.binary(max_size=12),
    bool: st.booleans(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for all values of a field's type, up to the ends of its range."""
    if kind is type(None):
        return st.none()
    if kind in SIMPLE:
        return SIMPLE[kind]
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        of, meta = args
        if of is int:
            return st.integers(meta.ge, meta.le)
        if of is float:
            return st.floats(meta.ge, meta.le)
        return values(of)
    if origin is list:
        return st.lists(values(args[0]), max_size=3)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, args))
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=3)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*map(values, args))
    assert issubclass(kind, msgspec.Struct), kind
    return st.builds(kind, **{name: values(hint) for name, hint in typing.get_type_hints(kind, include_extras=True).items()})


MESSAGES: st.SearchStrategy[Message] = st.sampled_from(list(OPCODES.values())).flatmap(values)
BLOBS = st.one_of(st.none(), st.binary(max_size=20))
BATCHES = st.lists(st.tuples(MESSAGES, BLOBS), min_size=1, max_size=4)


def in_pieces(decoder: MessageDecoder, data: bytes, cuts: list[int]) -> list[Received | Misfit]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [got for a, b in itertools.pairwise(edges) for got in decoder.receive_data(data[a:b])]


@settings(max_examples=200, deadline=None)
@given(BATCHES, st.lists(st.integers(0, 10_000), max_size=6))
def test_any_split_of_the_bytes_gives_the_same_messages(batch: list[tuple[Message, bytes | None]], cuts: list[int]) -> None:
    data = b"".join(encode(message, blob) for message, blob in batch)
    decoder = MessageDecoder()
    assert in_pieces(decoder, data, cuts) == [Received(message, blob or b"") for message, blob in batch]
    assert decoder.pending == 0


@settings(max_examples=20, deadline=None)
@given(BATCHES)
def test_a_stream_read_byte_by_byte_gives_its_messages(batch: list[tuple[Message, bytes | None]]) -> None:
    data = b"".join(encode(message, blob) for message, blob in batch)
    wanted = [Received(message, blob or b"") for message, blob in batch]
    assert in_pieces(MessageDecoder(), data, list(range(len(data)))) == wanted


@settings(max_examples=100, deadline=None)
@given(MESSAGES, st.binary(max_size=8).flatmap(lambda salt: st.just(salt * 8192)))
def test_compression_changes_no_message(message: Message, blob: bytes) -> None:
    assert MessageDecoder().receive_data(encode(message, blob, compress=True)) == [Received(message, blob)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_noise_is_a_fault_of_the_peer(noise: bytes, cuts: list[int]) -> None:
    with contextlib.suppress(PeerError):
        in_pieces(MessageDecoder(), noise, cuts)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*OPCODES, 0, 6, 255]), st.binary(max_size=60), st.integers(0, 255))
def test_noise_in_a_good_frame_is_a_misfit_or_a_message(opcode: int, noise: bytes, flags: int) -> None:
    with contextlib.suppress(PeerError):
        for got in MessageDecoder().receive_data(encode_frame(opcode, noise, flags)):
            assert isinstance(got, Received | Misfit)


@settings(max_examples=300, deadline=None)
@given(MESSAGES, BLOBS, st.data())
def test_a_message_with_a_changed_byte(message: Message, blob: bytes | None, data: st.DataObject) -> None:
    whole = bytearray(encode(message, blob))
    at = data.draw(st.integers(8, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    for got in MessageDecoder().receive_data(whole):
        assert isinstance(got, Received | Misfit)
