"""Random bytes in place of a Redis client's requests, in random pieces. They give requests, wait
for more bytes, or are refused.

Each request is executed in a session of a real store, and its reply is encoded. In the end another
store repeats the changes. The same bytes in other pieces give the same requests.
"""

from __future__ import annotations

import random
import re
import sys

from fuzz.harness import Fuzzer, damaged, main
from titan.store.replies import BLOCKED, NO_REPLY
from titan.store.requests import BadRequest, Requests
from titan.store.resp import encode
from titan.store.store import Store
from titan.store.table import COMMANDS

NAMES = [[name] for name in COMMANDS] + [[name, sub] for name, command in COMMANDS.items() for sub in command.sub]
WORDS = (
    *(b"k", b"l", b"m", b"0", b"1", b"-1", b"2", b"*", b"$", b">", b"1-1", b"inf", b"nan", b"9223372036854775807", b"", b"\r\n"),
    *(b"9223372036854775808", b"-9223372036854775808", b"1e4932", b"1" * 4500, b"0" * 5000, b"a*" * 30, b"[" * 50, b"?" * 5000),
    *(b"STREAMS", b"GROUP", b"COUNT", b"LIMIT", b"WITHSCORES", b"BYSCORE", b"BYLEX", b"REV", b"GET", b"BLOCK", b"NX", b"EX", b"PX"),
    *(
        b"u8",
        b"i64",
        b"#1",
        b"LEFT",
        b"MIN",
        b"-",
        b"+",
        b"(1",
        b"[a",
        b"1000000",
        b"8388607",
        b"STORE",
        b"BY",
        b"w_*",
        b"maxmemory",
    ),
    *(b"requirepass", b"timeout", b"maxclients", b"MKSTREAM", b"ENTRIESREAD", b"RETRYCOUNT", b"FORCE", b"x" * 20_000),
)
HEADERS = (
    *(b"*999999\r\n" * 9, b"*9999\r\n" * 9, b"*2\r\n>9999999\r\n", b"*2\r\n%9999999\r\n", b"*2\r\n~9999999\r\n", b"*-2\r\n"),
    *(
        b"*1\r\n$-2\r\n",
        b"*1\r\n$999999999999\r\n",
        b"*1048576\r\n$1\r\na\r\n",
        b"*4294967295\r\n",
        b"*1\r\n$+1\r\na\r\n",
        b"*1\r\n:1\r\n",
    ),
    *(
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"*1\r\n$4\r\nPoSt\r\n",
        b'set "a\r\n',
        b"\x00" * 99,
        b"*",
    ),
    *(b"*1\r\n|9999999\r\n", b"*1\r\n(1\r\n", b"*1\r\n=9\r\ntxt:hello\r\n", b"$5\r\nhello\r\n", b"+OK\r\n", b"*0\r\n", b"\r\n\r\n"),
)

_SIMPLE = re.compile(rb"\n[^$*\w]")
"""Matches an argument that is a simple string or a number. hiredis accepts such an argument in a
request that arrives whole; otherwise the request is refused."""


def make(rng: random.Random) -> tuple[bytes, int]:
    """Return bytes, and the seed of the positions at which they are split."""
    data = b""
    for _ in range(rng.randint(1, 40)):
        if rng.random() < 0.03:
            data += rng.choice(HEADERS)
            continue
        args = [*rng.choice(NAMES), *(rng.choice(WORDS) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 5, 8))))]
        if rng.random() < 0.3:
            args[0] = args[0].swapcase()
        data += b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
    return (damaged(rng, data) if rng.random() < 0.5 else data), rng.randrange(1 << 30)


def run(case: tuple[bytes, int]) -> None:
    data, seed = case
    rng = random.Random(seed)
    stranger = rng.random() < 0.3
    found, refused = _requests(data, rng, stranger=stranger)
    again, refused_again = _requests(data, rng, stranger=stranger)
    if not _SIMPLE.search(data):
        assert found == again, "the same bytes in other pieces are other requests"
        assert refused == refused_again, "the same bytes in other pieces are refused otherwise"
    _execute(found, rng, password="secret" if stranger else "")
    if refused:
        raise BadRequest(refused)


def _requests(data: bytes, rng: random.Random, *, stranger: bool) -> tuple[list[list[bytes]], str]:
    parser = Requests(max_bulk_bytes=1 << 20)
    parser.unauthenticated = stranger
    found: list[list[bytes]] = []
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 0, 1, 3, 10))))
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        try:
            if not stranger:
                found += parser.feed(data[begin:end])
                continue
            at = begin
            while at < end:
                more, used = parser.feed_one(data[begin:end], at - begin)
                found += more
                at = begin + used
        except BadRequest as error:
            return found + error.before, str(error)
        assert parser.pending <= end
    return found, ""


def _execute(requests: list[list[bytes]], rng: random.Random, *, password: str) -> None:
    store = Store(seed=1, settings={"proto-max-bulk-len": "1mb", "requirepass": password})
    session = store.open_session(1)
    if rng.random() < 0.2:
        store.bind_job(session, 1 << 33)
    changes = []
    for now, args in enumerate(requests, 1_000):
        if b"proto-max-bulk-len" in args:
            continue
        reply = store.execute(now, session, args)
        if reply is BLOCKED:
            store.time_out_blocked(1 << 63)
        elif reply is not NO_REPLY:
            encode(reply, session.resp, bytearray())
        changes += store.take_changes()
        for _, told in store.take_deliveries():
            encode(told, 3, bytearray())
        if session.closed:
            break
        session.halted = False
        store.begin_turn()
    copy = Store()
    for database, change in changes:
        copy.replay(database, change)
    assert copy.digest() == store.digest(), "a replay of the changes gives another store"


FUZZER = Fuzzer("resp", make, run, (BadRequest,), memory_mib=256)

if __name__ == "__main__":
    sys.exit(main(FUZZER))
