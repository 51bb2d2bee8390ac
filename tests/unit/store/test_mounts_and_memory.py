"""Derived keys can be read like stored keys, but not written. The memory limit is enforced."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from support.store import Talk, check, replayed
from titan.store.context import SPACES
from titan.store.replies import BLOCKED, NULL_ARRAY, OK, OUT_OF_MEMORY, Error, Status
from titan.store.stream_log import Stream
from titan.store.values import Value


class Cluster:
    def __init__(self) -> None:
        self.events = Stream()
        self.values: dict[bytes, Value] = {b"titan:run:r": {b"state": b"RUNNING"}, b"titan:events": self.events}

    def owns(self, key: bytes) -> bool:
        return not key.startswith(b"titan:free:")

    def find(self, key: bytes) -> Value | None:
        return self.values.get(key)

    def keys(self) -> Iterable[bytes]:
        return self.values


def mounted() -> tuple[Talk, Cluster]:
    talk, cluster = Talk(), Cluster()
    talk.store.mount(b"titan:", cluster)
    talk("SET own 1")
    return talk, cluster


def test_derived_keys_are_read() -> None:
    talk, _ = mounted()
    assert talk("HGET titan:run:r state") == b"RUNNING"
    assert talk("TYPE titan:run:r") == Status(b"hash")
    assert talk("EXISTS titan:run:r titan:run:none own") == 2
    assert talk("KEYS titan:r*") == [b"titan:run:r"]
    assert talk("SCAN 0") == [b"0", [b"own", b"titan:run:r", b"titan:events"]]
    assert talk("TTL titan:run:r") == -1
    assert talk("GET titan:run:r") == Error(b"WRONGTYPE Operation against a key holding the wrong kind of value")


def test_keys_below_the_prefix_that_are_not_derived_are_ordinary() -> None:
    talk, _ = mounted()
    assert talk("SET titan:free:a 1") == OK and talk("COPY titan:free:a titan:free:b") == 1
    assert talk("SADD titan:free:s m") == 1 and talk("GET titan:free:b") == b"1"
    listed = talk("KEYS titan:free:*")
    assert isinstance(listed, list) and sorted(listed) == [b"titan:free:a", b"titan:free:b", b"titan:free:s"]
    refused = Error(b"ERR 'titan:x' belongs to the cluster and can only be read")
    assert talk("MSET titan:free:a 2 titan:x 2") == refused
    assert talk("SELECT 1") == OK and talk("SET titan:free:a 3") == OK
    assert talk("SET titan:x 3") == refused
    assert talk("SELECT 0") == OK and talk("GET titan:free:a") == b"1"
    check(talk.store)
    assert list(replayed(talk.store.take_changes()).rewrite()) == list(talk.store.rewrite())


@pytest.mark.parametrize(
    "line",
    [
        *(
            "SET titan:x 1",
            "DEL titan:run:r",
            "HSET titan:run:r f v",
            "RENAME own titan:x",
            "COPY titan:run:r mine",
            "EXPIRE titan:run:r 9",
        ),
        *(
            "MSET a 1 titan:x 2",
            "SUNIONSTORE d a titan:x",
            "ZUNIONSTORE d 2 a titan:x",
            "LMPOP 1 titan:x LEFT",
            "SORT own STORE titan:x",
        ),
        *("XADD titan:events * f v", "XGROUP CREATE titan:events g $", "XREADGROUP GROUP g c STREAMS titan:events >"),
        *("BITOP NOT d titan:x", "LPOP titan:x", "BLPOP a titan:x 0", "BLMOVE titan:x a LEFT LEFT 0"),
    ],
)
def test_derived_keys_are_not_written(line: str) -> None:
    talk, _ = mounted()
    talk.changes()
    reply = talk(line)
    assert isinstance(reply, Error)
    assert reply.startswith(b"ERR 'titan:")
    for queued in ("MULTI", line):
        talk(queued)
    assert isinstance(talk("EXEC"), Error)
    assert talk.changes() == []


def test_a_derived_stream_is_followed() -> None:
    talk, cluster = mounted()
    assert talk("XREAD BLOCK 0 STREAMS titan:events $", 2) is BLOCKED
    cluster.events.append(5 << 64, (b"job", b"done"))
    assert talk.store.notice(talk.now, b"titan:events")
    assert talk.heard() == [(2, [(b"titan:events", [[b"5-0", [b"job", b"done"]]])])]


def test_when_memory_is_full_commands_that_add_data_are_refused() -> None:
    talk = Talk(maxmemory="20kb")
    for i in range(1_000):
        if talk(f"SET k{i} v") == OUT_OF_MEMORY:
            break
    assert 50 < i < 150
    assert talk("GET k0") == b"v"
    assert talk("DEL k0 k1") == 2
    assert talk("SET k0 v") == OK
    talk("MULTI")
    talk("FLUSHALL")
    assert talk("EXEC") == [OK]
    assert talk("SET k0 v") == OK


def test_the_least_recently_used_key_is_evicted() -> None:
    talk = Talk(maxmemory="20kb", maxmemory_policy="allkeys-lru")
    for i in range(1_000):
        assert talk(f"SET k{i} v") == OK
        talk("GET k0")
    assert talk("GET k0") == b"v"
    assert talk("GET k1") is None
    assert talk("GET k999") == b"v"
    meter = talk.store._ctx.meter
    assert meter is not None
    total = meter.total
    assert total < 21 * 1024
    meter.measure(list(talk.store._ctx.databases.values()))
    assert meter.total == total
    changes = talk.store.take_changes()
    assert replayed(changes).digest() == talk.store.digest()


def test_a_limit_can_be_set_later_and_lifted() -> None:
    talk = Talk()
    talk("HSET h f v")
    assert talk("CONFIG SET maxmemory 1") == OK
    assert talk("HSET h g v") == OUT_OF_MEMORY
    assert talk("CONFIG SET maxmemory 0") == OK
    assert talk("HSET h g v") == 1


def test_a_transaction_cannot_write_a_derived_key_after_select() -> None:
    talk, _ = mounted()
    talk("SELECT 1")
    talk.changes()
    for line in ("MULTI", "SELECT 0", "SET x 1"):
        talk(line)
    reply = talk("EXEC")
    assert reply == [OK, OK]
    for line in ("SELECT 1", "MULTI", "SELECT 0", "SET titan:run:r 1"):
        reply = talk(line)
    assert isinstance(reply, Error), "in any database: SWAPDB could bring it before the derived one"
    assert talk("EXEC") == Error(b"EXECABORT Transaction discarded because of previous errors.")
    assert isinstance(talk("MOVE titan:run:r 0"), Error)
    assert talk("SWAPDB 0 1") == OK
    assert talk("HGET titan:run:r state", 2) == b"RUNNING"


def test_a_space_of_a_run_may_have_keys_of_any_name() -> None:
    talk, _ = mounted()
    talk.store.choose(talk.session(2), SPACES + 1)
    assert talk("SET titan:run:r 1", 2) == OK
    assert talk("GET titan:run:r", 2) == b"1"
    assert isinstance(talk("COPY titan:run:r titan:x DB 0", 2), Error)
    assert isinstance(talk("MOVE titan:run:r 0", 2), Error)


def test_when_memory_is_full_a_transaction_is_refused() -> None:
    talk = Talk()
    talk("SET a x")
    for line in ("MULTI", "SET b y"):
        talk(line)
    talk("CONFIG SET maxmemory 1", 2)
    assert talk("EXEC") == Error(b"EXECABORT Transaction discarded because of: " + OUT_OF_MEMORY)
    talk("MULTI")
    assert talk("GET a") == OUT_OF_MEMORY, "the queue takes memory as well"
    assert talk("EXEC") == Error(b"EXECABORT Transaction discarded because of previous errors.")
    talk("WATCH a")
    talk("MULTI")
    assert talk("EXEC") == []
    assert talk("GET a") == b"x"


def test_recently_used_keys_are_not_evicted() -> None:
    talk = Talk(maxmemory="12kb", maxmemory_policy="allkeys-lru")
    for i in range(12):
        talk(f"RPUSH l{i} x")
    for i in range(100):
        talk("LLEN l5")
        talk(f"SET k{i} v")
    assert talk("EXISTS l5") == 1
    assert talk("EXISTS l4") == 0
    assert b"evicted_keys:" in talk("INFO stats")  # type: ignore[operator]
    check(talk.store)


def test_an_evicted_key_fails_the_transactions_that_watch_it() -> None:
    talk = Talk(maxmemory="3kb", maxmemory_policy="allkeys-lru")
    talk("SET k v")
    talk("WATCH k", 2)
    for i in range(100):
        talk(f"SET k{i} v")
    talk("MULTI", 2)
    assert talk("EXEC", 2) is NULL_ARRAY


def test_the_estimate_follows_each_change() -> None:
    talk = Talk(maxmemory="100mb")
    meter = talk.store._ctx.meter
    assert meter is not None
    for line in (
        *("SET s xxxx", "APPEND s yyyy", "SETBIT s 1000 1", "HSET h f v g w", "HDEL h f", "RPUSH l a b c", "LPOP l", "SADD t a b"),
        *(
            "SMOVE t u a",
            "ZADD z 1 a 2 b",
            "ZPOPMIN z",
            "XADD x 1-1 f v",
            "XGROUP CREATE x g 0",
            "XREADGROUP GROUP g c STREAMS x >",
        ),
        *("XACK x g 1-1", "XTRIM x MAXLEN 0", "EXPIRE s 100", "PERSIST s", "RENAME s r", "COPY r q", "MOVE q 1", "SWAPDB 0 1"),
        *("SELECT 1", "GETEX r EX 5", "SUNIONSTORE d t u", "SORT l ALPHA STORE m", "GETDEL r", "FLUSHDB"),
    ):
        assert not isinstance(talk(line), Error), line
        before = meter.total
        meter.measure(list(talk.store._ctx.databases.values()))
        assert meter.total == before, line
