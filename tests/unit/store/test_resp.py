"""Encoding of replies in both versions of the protocol."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.store import Talk
from titan.store.replies import (
    NO_REPLY,
    NULL_ARRAY,
    OK,
    Error,
    Keyed,
    Pairs,
    Push,
    Reply,
    SetReply,
    Several,
    Status,
    Verbatim,
)
from titan.store.resp import encode


def wire(reply: Reply, resp: int) -> bytes:
    out = bytearray()
    encode(reply, resp, out)
    return bytes(out)


@pytest.mark.parametrize(
    ("reply", "two", "three"),
    [
        (b"a\r\nb", b"$4\r\na\r\nb\r\n", b"$4\r\na\r\nb\r\n"),
        (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (-5, b":-5\r\n", b":-5\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (3.0, b"$1\r\n3\r\n", b",3\r\n"),
        (float("-inf"), b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (OK, b"+OK\r\n", b"+OK\r\n"),
        (Error(b"ERR one\r\ntwo"), b"-ERR one  two\r\n", b"-ERR one  two\r\n"),
        (Verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
        ([1, [b"x"]], b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        (SetReply([b"x"]), b"*1\r\n$1\r\nx\r\n", b"~1\r\n$1\r\nx\r\n"),
        ({b"k": 1}, b"*2\r\n$1\r\nk\r\n:1\r\n", b"%1\r\n$1\r\nk\r\n:1\r\n"),
        (Pairs([(b"m", 1.0)]), b"*2\r\n$1\r\nm\r\n$1\r\n1\r\n", b"*1\r\n*2\r\n$1\r\nm\r\n,1\r\n"),
        (Keyed([(b"k", [])]), b"*1\r\n*2\r\n$1\r\nk\r\n*0\r\n", b"%1\r\n$1\r\nk\r\n*0\r\n"),
        (
            Push([b"message", b"c", b"x"]),
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        ),
        (Several([Push([b"a"]), 1]), b"*1\r\n$1\r\na\r\n:1\r\n", b">1\r\n$1\r\na\r\n:1\r\n"),
        (NO_REPLY, b"", b""),
    ],
    ids=repr,
)
def test_replies_are_encoded_in_both_versions(reply: Reply, two: bytes, three: bytes) -> None:
    assert wire(reply, 2) == two
    assert wire(reply, 3) == three


LEAVES = st.one_of(
    st.binary(max_size=20),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.none(),
    st.floats(allow_nan=False),
    st.binary(max_size=10).filter(lambda text: b"\r" not in text and b"\n" not in text).map(Status),
)
REPLIES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4)
)


@given(st.lists(REPLIES, min_size=1, max_size=5))
def test_any_reply_is_read_back_by_a_client_library(replies: list[Reply]) -> None:
    reader = hiredis.Reader()
    reader.feed(b"".join(wire(reply, 3) for reply in replies))
    assert [reader.gets() for _ in replies] == replies
    assert reader.gets() is False


def test_a_session_chooses_its_version() -> None:
    talk = Talk()
    assert talk.wire("HGETALL none") == b"*0\r\n"
    assert talk.wire("HELLO 3").startswith(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
    assert talk.wire("HGETALL none") == b"%0\r\n"
    assert talk.wire("GET none") == b"_\r\n"
    talk("ZADD z 1.5 m")
    assert talk.wire("ZRANGE z 0 -1 WITHSCORES") == b"*1\r\n*2\r\n$1\r\nm\r\n,1.5\r\n"
    assert talk.wire("ZRANGE z 0 -1 WITHSCORES", 2) == b"*2\r\n$1\r\nm\r\n$3\r\n1.5\r\n"
    assert talk.wire("SUBSCRIBE c") == b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
    assert talk.wire("GET none") == b"_\r\n", "which RESP3 allows a listener"
    assert talk.wire("RESET") == b"+RESET\r\n"
    assert talk.wire("GET none") == b"$-1\r\n"
    assert talk.wire("HELLO 4") == b"-NOPROTO unsupported protocol version\r\n"
