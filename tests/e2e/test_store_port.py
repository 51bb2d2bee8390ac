"""Unknown clients at the Redis port. Their bytes cost a bounded amount of memory, and do not delay
other clients."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.store_server import StoreServer
from support.waiting import until

SECRET = "a word of this test"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[StoreServer]:
    (tmp_path / "password").write_text(SECRET + "\n")
    made = StoreServer(tmp_path / "store", "--password-file", str(tmp_path / "password"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def everything(s: socket.socket) -> bytes:
    data = b""
    try:
        while part := s.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


@pytest.mark.parametrize(
    "sent",
    [
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nFLUSHALL\r\n",
        b"GET /key HTTP/1.1\r\nhOsT: 127.0.0.1\r\n\r\nFLUSHALL\r\n",
        b"PING\r\n*1\r\n$4\r\npOsT\r\nFLUSHALL\r\n",
        b"MULTI\r\nFLUSHALL\r\nHOST: x\r\nEXEC\r\n",
    ],
)
def test_a_web_page_reaches_nothing(store: StoreServer, sent: bytes) -> None:
    c = store.client()
    c.set("k", "v")
    with store.raw() as s:
        s.sendall(sent)
        assert b"+OK\r\n$" not in everything(s), "the connection ends before the commands that follow"
    assert c.get("k") == b"v"
    assert store.process is not None
    assert "a web page in a browser may have opened it" in store.process.err


def test_a_client_without_the_password_can_send_only_small_requests(guarded: StoreServer) -> None:
    for sent, told in (
        (b"*11\r\n", b"unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", b"unauthenticated bulk length"),
        (b"x" * 17_000, b"too big inline request"),
    ):
        with guarded.raw() as s:
            s.sendall(sent)
            assert told in everything(s)
    with guarded.raw() as s:  # the limits end after AUTH, even for requests that arrive together with it
        big = b"v" * 100_000
        s.sendall(
            b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%b\r\n" % (len(SECRET), SECRET.encode())
            + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(big), big)
            + b"*2\r\n$6\r\nSTRLEN\r\n$1\r\nk\r\nQUIT\r\n"
        )
        assert everything(s) == b"+OK\r\n+OK\r\n:100000\r\n+OK\r\n"
    with pytest.raises(redis.AuthenticationError):
        guarded.client().ping()


def test_the_memory_of_all_clients_without_the_password_is_limited(guarded: StoreServer) -> None:
    before = guarded.memory()
    begun = b"*10\r\n" + b"$16384\r\n%b\r\n" % (b"x" * 16384) * 9 + b"$16384\r\n" + b"x" * 16000
    many = [guarded.raw() for _ in range(400)]
    cut = 0
    for s in many:
        try:
            s.sendall(begun)
        except (BrokenPipeError, ConnectionResetError):
            cut += 1
    c = guarded.client(password=SECRET)
    assert c.ping()
    until(lambda: c.info("clients")["connected_clients"] < 300, "clients that send more are disconnected")
    assert guarded.memory() - before < 200 << 20
    for s in many:
        s.close()


def test_no_reply_log_or_file_contains_the_password(guarded: StoreServer) -> None:
    c = guarded.client(password=SECRET, decode_responses=True)
    c.set("k", "v")
    assert c.config_get("requirepass") == {"requirepass": "(hidden)"}
    c.config_set("requirepass", "another word")
    guarded.client(password="another word").ping()
    assert guarded.process is not None
    guarded.process.terminate()
    guarded.process.wait()
    for path in guarded.spawner.base.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert SECRET.encode() not in data and b"another word" not in data, path


def test_no_more_clients_than_maxclients(store: StoreServer) -> None:
    c = store.client()
    c.config_set("maxclients", 5)
    there = [store.raw() for _ in range(4)]
    for s in there:
        s.sendall(b"PING\r\n")
        assert s.recv(64) == b"+PONG\r\n"
    with store.raw() as more:
        assert everything(more) == b"-ERR max number of clients reached\r\n"
    there.pop().close()
    until(lambda: c.info("clients")["connected_clients"] == 4, "the closed client is gone")
    with store.raw() as more:
        more.sendall(b"PING\r\n")
        assert more.recv(64) == b"+PONG\r\n"
    for s in there:
        s.close()


def test_idle_clients_are_disconnected_after_the_timeout(store: StoreServer) -> None:
    c = store.client()
    c.config_set("timeout", 1)
    idle, listens, waits = store.raw(), store.raw(), store.raw()
    listens.sendall(b"SUBSCRIBE ch\r\n")
    waits.sendall(b"BLPOP q 0\r\n")
    assert idle.recv(64) == b""
    c.publish("ch", "still here")
    heard = b""
    while b"still here" not in heard:
        part = listens.recv(64)
        assert part, heard
        heard += part
    c.rpush("q", "v")
    assert b"q" in waits.recv(64)
    for s in (idle, listens, waits):
        s.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"*999999\r\n" * 9,
        b"*9999\r\n" * 2000,
        b"*2\r\n>99999999\r\n" * 9,
        b"*1\r\n%99999999\r\n",
        b"*1\r\n$-2\r\n",
        b"*4000000000\r\n",
    ],
)
def test_headers_that_announce_much_take_little_memory_and_delay_no_client(store: StoreServer, sent: bytes) -> None:
    c = store.client()
    before = store.memory()
    slow = 0.0
    for _ in range(20):
        with store.raw() as s:
            s.sendall(sent)
            assert b"ERR Protocol error" in everything(s)
        began = time.monotonic()
        c.ping()
        slow = max(slow, time.monotonic() - began)
    assert slow < 0.5
    assert store.memory() - before < 50 << 20


def test_commands_of_others_are_served_between_the_commands_of_a_slow_batch(store: StoreServer) -> None:
    c = store.client()
    c.sadd("s", *range(100_000))
    with c.pipeline(transaction=False) as p:
        for number in range(20):
            p.sadd("big", *range(number * 10_000, number * 10_000 + 10_000))
        p.execute()
    batch = 60
    with store.raw() as slow:
        slow.sendall(b"SUNIONSTORE t s big\r\nSTRLEN none\r\n" * batch + b"QUIT\r\n")
        until(lambda: c.scard("t") > 0, "the first command of the batch is done")
        served = 0
        while c.exists("t") and served < 10:  # each of these commands is served between two commands of the batch
            served += 1
        assert served == 10
        slow.setblocking(False)
        try:
            done = slow.recv(1 << 20).count(b":200000\r\n")
        except BlockingIOError:
            done = 0
        assert done < batch, "the whole batch was executed before the commands of others"
        slow.setblocking(True)
        rest = everything(slow)
        assert done + rest.count(b":200000\r\n") == batch
        assert (done + rest.count(b":0\r\n")) >= batch and rest.endswith(b"+OK\r\n"), "the replies come in order, to the end"


def test_a_command_with_too_much_work_is_refused(store: StoreServer) -> None:
    c = store.client()
    c.set("k", b"x" * 1_000_000)
    c.sadd("s", b"x" * 1_000_000)
    c.hset("h", "f", b"x" * 1_000_000)
    c.set("one", b"ab" * 10_000)
    c.set("two", b"ba" * 10_000)
    c.sadd("many", *range(50_000))
    before = store.memory()
    for command in (
        ("MGET", *["k"] * 10_000),
        ("HMGET", "h", *["f"] * 10_000),
        ("SRANDMEMBER", "s", -100_000),
        ("LCS", "k", "k"),
        ("LCS", "one", "two"),
        ("SUNION", *["many"] * 1_000),
        ("ZUNION", 1_000, *["many"] * 1_000),
        ("KEYS", "*a" * 10_000),
        ("PSUBSCRIBE", "*a" * 10_000),
    ):
        began = time.monotonic()
        with pytest.raises(redis.ResponseError):
            c.execute_command(*command)
        assert time.monotonic() - began < 2
    with c.pipeline(transaction=True) as p:
        for _ in range(1_000):
            p.get("k")
        with pytest.raises(redis.ResponseError, match="the reply would have more"):
            p.execute()
    assert store.memory() - before < 700 << 20
    assert c.lcs("one", "two", len=True) if c.set("one", b"ab" * 2_000) and c.set("two", b"ba" * 2_000) else False


def test_patterns_take_no_exponential_time(store: StoreServer) -> None:
    c = store.client()
    c.set("h" + "e" * 5_000 + "llo", "v")
    for pattern in ("h" + "*" * 200 + "o", "h*e*e*e*e*e*e*e*e*e*e*e*e*x", "*e" * 500 + "x", "[a-z]*" * 100 + "9"):
        began = time.monotonic()
        c.keys(pattern)
        assert time.monotonic() - began < 2


def test_replies_that_are_not_read_are_bounded_over_all_clients(store: StoreServer) -> None:
    c = store.client()
    c.set("k", b"x" * (30 << 20))
    before = store.memory()
    greedy = []
    for _ in range(12):
        s = store.raw()
        s.sendall(b"GET k\r\n" * 20)
        greedy.append(s)
    assert c.ping()
    assert store.memory() - before < 1_000 << 20
    for s in greedy:
        s.close()


def test_all_commands_of_clients_that_want_no_answers_are_executed(store: StoreServer) -> None:
    c = store.client()
    with store.raw() as s:
        s.sendall(b"CLIENT REPLY OFF\r\n" + b"INCR n\r\n" * 30_000 + b"CLIENT REPLY ON\r\nQUIT\r\n")
        assert everything(s) == b"+OK\r\n+OK\r\n"
    assert c.get("n") == b"30000"
