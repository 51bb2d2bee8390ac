"""The parser gives the same requests for any split of the bytes. An announced length takes no
memory for bytes that were not sent."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan.store.requests import INLINE_BYTES, MAX_REQUEST_BYTES, BadRequest, Requests, split_line

ARGS = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"*99999999\r\n", b"$12345678\r\nx", b"\r\n", b""])), min_size=1, max_size=5
)
WORDS = st.lists(st.text("abc*$", min_size=1, max_size=5).map(str.encode), min_size=1, max_size=4).filter(
    lambda w: w[0][:1] != b"*"
)


def packed(args: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


REQUEST: st.SearchStrategy[tuple[bytes, list[bytes]]] = st.one_of(
    ARGS.map(lambda args: (packed(args), args)),
    WORDS.map(lambda words: (b" ".join(words) + b"\r\n", words)),
    st.sampled_from([(b"\r\n", []), (b"*0\r\n", []), (b"*-1\r\n", [])]),
)


@given(st.lists(REQUEST, max_size=8), st.data())
def test_any_split_gives_the_same_requests(requests: list[tuple[bytes, list[bytes]]], data: st.DataObject) -> None:
    whole = b"".join(raw for raw, _ in requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    parser, found = Requests(), []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += parser.feed(whole[begin:end])
    assert found == [args for _, args in requests if args]
    assert parser.pending == 0


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_are_requests_or_refused(pieces: list[bytes]) -> None:
    parser = Requests()
    try:
        for piece in pieces:
            for request in parser.feed(piece):
                assert request and all(isinstance(arg, bytes) for arg in request)
    except BadRequest as error:
        assert str(error)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*4000000000\r\n", "invalid multibulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*" + b"9" * 100, "too big mbulk count string"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*2\r\n$1\r\na\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n" * 1_000_000, "expected '$', got '*'"),
        (b"x" * (INLINE_BYTES + 1), "too big inline request"),
        (b'set "a\r\n', "unbalanced quotes in request"),
    ],
)
def test_invalid_bytes_are_refused_with_the_problem(sent: bytes, problem: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Requests().feed(sent)
    assert str(caught.value) == problem
    parser = Requests()
    with pytest.raises(BadRequest) as caught:
        for at in range(0, min(len(sent), 200_000), 3):
            parser.feed(sent[at : at + 3])
    assert str(caught.value) == problem


@pytest.mark.parametrize("header", [b"*1048576\r\n", b"*2\r\n$3\r\nSET\r\n$536870912\r\n", b"*1048576\r\n$1\r\na\r\n"])
def test_a_length_that_is_announced_takes_no_memory(header: bytes) -> None:
    tracemalloc.start()
    try:
        parser = Requests()
        for at in range(len(header)):
            parser.feed(header[at : at + 1])
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert parser.pending == len(header)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"  get   k ", [b"get", b"k"]),
        (b'set k "a b\\n\\x41\\"" ', [b"set", b"k", b'a b\nA"']),
        (b"set k 'it\\'s \\n'", [b"set", b"k", b"it's \\n"]),
        (b'set k ""', [b"set", b"k", b""]),
        (b'k"a b"', [b"ka b"]),
        (b'"a"b', None),
        (b"'a", None),
        (b'"a\\', None),
    ],
)
def test_inline_commands_are_split_as_redis_does(line: bytes, words: list[bytes] | None) -> None:
    assert split_line(line) == words


def test_a_request_larger_than_one_record_of_the_journal_is_refused() -> None:
    parser = Requests(max_bulk_bytes=1 << 30)
    parser.feed(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n")
    with pytest.raises(BadRequest, match="too large request"):
        parser.feed(b"$%d\r\n" % MAX_REQUEST_BYTES)
