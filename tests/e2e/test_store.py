"""TitanStore for its users: redis-py, redis-cli, the SDK and the CLI, a SIGKILL, and hostile
clients."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from support.cluster import QUIET, cluster
from support.store_server import Redis, StoreServer
from support.waiting import until
from titan import DAG, AsyncClient, Client, Job
from titan.errors import StoreRefused


def test_changes_made_under_other_limits_survive_kill_9(store: StoreServer) -> None:
    c = store.client()
    c.config_set("proto-max-bulk-len", "1gb")
    assert c.setrange("k", 540_000_000, "x") == 540_000_001
    assert c.execute_command("sEt", "name in mixed case", "v") is True
    with pytest.raises(redis.ResponseError, match="must be between 1048576 and 1073741824"):
        c.config_set("proto-max-bulk-len", "2gb")
    store.kill()
    store.start()
    again = store.client()
    assert again.strlen("k") == 540_000_001
    assert again.getrange("k", -1, -1) == b"x"
    assert again.get("name in mixed case") == b"v"
    with pytest.raises(redis.ResponseError, match="proto-max-bulk-len"):
        again.append("k", "more")


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_reads_and_writes_all_types(store: StoreServer, protocol: int) -> None:
    c = store.client(protocol=protocol, decode_responses=True)
    assert c.set("a", "1", px=100_000) and c.get("a") == "1" and 0 < c.pttl("a") <= 100_000
    assert c.hset("h", mapping={"x": 1, "y": 2}) == 2 and c.hgetall("h") == {"x": "1", "y": "2"}
    assert c.zadd("z", {"b": 2, "a": 1.5}) == 2
    assert [tuple(pair) for pair in c.zrange("z", 0, -1, withscores=True)] == [("a", 1.5), ("b", 2.0)]
    assert c.sadd("s", "m", "n") == 2 and set(c.smembers("s")) == {"m", "n"}
    assert c.xadd("x", {"f": "v"}, id="1-1") == "1-1"
    assert sorted(c.scan_iter()) == ["a", "h", "s", "x", "z"]
    with c.pipeline(transaction=True) as p:
        p.incr("n").incr("n").lpush("l", "v").type("l")
        assert p.execute() == [1, 2, 1, "list"]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE Operation against a key"):
        c.lpush("a", "x")
    assert c.info("server")["redis_version"] and int(c.client_id()) > 0
    with c.pipeline() as p:
        p.watch("n")
        store.client().incr("n")
        p.multi()
        p.set("n", 100)
        with pytest.raises(redis.WatchError):
            p.execute()


def test_messages_and_elements_reach_the_waiting_clients(store: StoreServer) -> None:
    c, other = store.client(), store.client()
    channel = other.pubsub(ignore_subscribe_messages=True)
    channel.psubscribe("news.*")
    assert channel.get_message(timeout=0.01) is None
    until(lambda: c.publish("news.one", "hello") == 1, "the subscription is there")
    message = until(lambda: channel.get_message(timeout=1), "the message")
    assert message["data"] == b"hello" and message["channel"] == b"news.one"
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(store.client().blpop(["q1", "q2"], timeout=20)))
    waiting.start()
    until(lambda: c.info("clients")["blocked_clients"] == 1, "a client waits")
    c.rpush("q2", "v")
    waiting.join(20)
    assert [list(one) for one in got] == [[b"q2", b"v"]]
    began = time.monotonic()
    assert c.blpop("nothing", timeout=0.1) is None
    assert time.monotonic() - began < 5


def test_an_asyncio_client_of_redis_gathers_commands(store: StoreServer) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis(host="127.0.0.1", port=store.port, protocol=3) as c:
            assert await asyncio.gather(*(c.incr("n") for _ in range(50))) is not None
            assert await c.get("n") == b"50"

    asyncio.run(main())


def test_acknowledged_writes_survive_kill_9(store: StoreServer) -> None:
    """Every client counts the writes that were acknowledged to it. With --fsync always, each of
    these is there after the kill. Besides these, the store may have writes that were in flight."""
    clients, rounds = 8, 4
    told = [0] * clients

    def work(number: int, stop: threading.Event) -> None:
        c = Redis(host="127.0.0.1", port=store.port, retry=None)
        try:
            while not stop.is_set():
                with c.pipeline(transaction=False) as p:
                    p.incr(f"n{number}").rpush(f"l{number}", told[number])
                    p.execute()
                told[number] += 1
        except redis.ConnectionError:
            pass
        finally:
            c.close()

    for turn in range(rounds):
        stop = threading.Event()
        threads = [threading.Thread(target=work, args=(i, stop)) for i in range(clients)]
        for thread in threads:
            thread.start()
        before = sum(told)
        until(lambda before=before, turn=turn: sum(told) > before + 100 * (turn + 1), "work goes on")  # type: ignore[misc]
        store.kill()
        stop.set()
        for thread in threads:
            thread.join(20)
        store.start()
        c = store.client()
        for number in range(clients):
            there = int(c.get(f"n{number}") or 0)
            assert told[number] <= there <= told[number] + 1, (turn, number)
            assert told[number] <= c.llen(f"l{number}") <= there
            told[number] = there
            c.ltrim(f"l{number}", 1, 0)
            c.rpush(f"l{number}", *range(there))


def test_everysec_loses_a_second_at_most(tmp_path: Path) -> None:
    store = StoreServer(tmp_path, "--fsync", "everysec")
    try:
        store.start()
        told: list[float] = []

        def work() -> None:
            c = Redis(host="127.0.0.1", port=store.port, retry=None)
            try:
                while True:
                    c.incr("n")
                    told.append(time.monotonic())
            except redis.ConnectionError:
                pass
            finally:
                c.close()

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: len(told) > 1000, "work goes on")
        killed = time.monotonic()
        store.kill()
        thread.join(20)
        store.start()
        there = int(store.client().get("n") or 0)
        assert sum(at < killed - 1.0 for at in told) <= there <= len(told) + 1
    finally:
        store.close()


def test_bad_clients_affect_no_other_client_and_cost_no_memory(store: StoreServer) -> None:
    c = store.client()
    c.set("big", b"x" * 1_000_000)
    c.get("big")
    before = store.memory()
    rng = random.Random(1)
    bad: list[socket.socket] = []
    for sent in (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
        b"*1048576\r\n",
        b"*4000000000\r\n",
        b"*1\r\n" * 1_000_000,
        b"*1\r\n$4000000000\r\n",
        b'set "a\r\n',
        *(rng.randbytes(1000) for _ in range(50)),
    ):
        s = store.raw()
        try:
            s.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            pass
        bad.append(s)
    greedy = store.raw()
    greedy.setblocking(False)
    asked = 0
    try:
        while asked < 2_000_000:
            asked += greedy.send(b"GET big\r\n" * 1000)
    except BlockingIOError:
        pass
    slow = 0.0
    for _ in range(200):
        began = time.monotonic()
        assert c.ping()
        slow = max(slow, time.monotonic() - began)
    assert slow < 1.0
    assert store.memory() - before < 100 << 20
    for s in (*bad, greedy):
        s.close()
    until(lambda: c.info("clients")["connected_clients"] == 1, "the bad clients are disconnected")


def test_a_bad_request_is_answered_and_closed(store: StoreServer) -> None:
    with store.raw() as s:
        s.sendall(b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n:5\r\n")
        data = b""
        while part := s.recv(4096):
            data += part
    assert data == b"+PONG\r\n+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"


def test_jobs_and_data_recover_together(tmp_path: Path) -> None:
    with cluster(tmp_path, settings=QUIET, options=("--store-port", "0")) as c:
        c.start_workers("w1")
        store = c.client.store
        assert store.set("greeting", "hello") and store.get("greeting") == b"hello"
        assert [store.incr("n") for _ in range(3)] == [1, 2, 3]
        assert store.compare_and_set("n", 3, 10) and not store.compare_and_set("n", 3, 11)
        assert store.compare_and_set("new", None, "x") and not store.compare_and_set("new", None, "y")
        store.zadd("z", {"a": 1.5, "b": 0.5})
        store.hset("h", {"f": 1})
        store.expire("h", 1000)
        run = c.client.submit(DAG("d", [Job("a", command="true")]))
        assert run.wait(timeout=20).ok
        c.restart_master()
        assert store.get("n") == b"10" and store.zrange("z") == [(b"b", 0.5), (b"a", 1.5)]
        assert store.hgetall("h") == {b"f": b"1"} and 0 < (store.ttl("h") or 0) <= 1000
        assert c.client.status(run.id).state == "COMPLETED"
        with pytest.raises(StoreRefused, match="WRONGTYPE"):
            store.incr("h")
        with store.pipeline() as p:
            for i in range(1000):
                p.execute("RPUSH", "l", i)
        assert p.replies == list(range(1, 1001)) and store.llen("l") == 1000
        assert sorted(key for key in store.scan() if not key.startswith(b"titan:")) == [b"greeting", b"h", b"l", b"n", b"new", b"z"]
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(store.execute("BLPOP", "q", 20)))
        waiting.start()
        with Client(c.address) as other:
            until(lambda: other.store.execute("INFO", "clients").find(b"blocked_clients:1") >= 0, "a client waits")
            assert store.get("n") == b"10", "other commands of this client do not wait behind the blocking command"
            other.store.rpush("q", "v")
        waiting.join(20)
        assert got == [[b"q", b"v"]]


def test_a_session_that_is_killed_does_not_hold_up_its_client(tmp_path: Path) -> None:
    with cluster(tmp_path, settings=QUIET, options=("--store-port", "0")) as c:
        port = int(json.loads((c.home / "master.json").read_text())["store"].rpartition(":")[2])
        operator = Redis(host="127.0.0.1", port=port, socket_timeout=20)
        refused: list[str] = []

        def wait() -> None:
            try:
                c.client.store.execute("BLPOP", "q", 20)
            except StoreRefused as e:
                refused.append(str(e))

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: operator.info("clients")["blocked_clients"] == 1, "a client waits")
        killed = operator.client_kill_filter(_type="normal")
        assert killed >= 1
        operator.rpush("q", "v")
        waiting.join(20)
        assert len(refused) == 1 and "CLIENT KILL" in refused[0], refused
        assert c.client.store.execute("LPOP", "q") == b"v", "the killed client gets no element"
        operator.close()


def test_an_async_client_gathers_commands_in_order(tmp_path: Path) -> None:
    async def main(address: str) -> None:
        async with AsyncClient(address) as client:
            store = client.store
            assert await asyncio.gather(*(store.execute("INCR", "n") for _ in range(100))) == list(range(1, 101))
            assert await store.exchange([[b"MULTI"], [b"INCR", b"n"], [b"GET", b"n"], [b"EXEC"]]) == [
                b"OK",
                b"QUEUED",
                b"QUEUED",
                [101, b"101"],
            ]
            waiting = asyncio.ensure_future(store.execute("BLPOP", "q", 20))
            while b"blocked_clients:1" not in await store.execute("INFO", "clients"):
                await asyncio.sleep(0.01)
            await store.execute("RPUSH", "q", "v")
            assert await waiting == [b"q", b"v"]
            with pytest.raises(StoreRefused, match="unknown command 'NOPE'"):
                await store.execute("NOPE")

    with cluster(tmp_path) as c:
        asyncio.run(main(c.address))


@pytest.mark.parametrize(("policy", "refused"), [("noeviction", True), ("allkeys-lru", False)])
def test_the_memory_limit_is_kept(tmp_path: Path, policy: str, refused: bool) -> None:
    store = StoreServer(tmp_path, "--config", "maxmemory=1mb", "--config", f"maxmemory-policy={policy}")
    try:
        store.start()
        c = store.client()
        try:
            for i in range(200):
                c.set(f"k{i}", b"x" * 10_000)
                c.get("k0")
        except redis.ResponseError as e:
            assert refused and "command not allowed when used memory" in str(e)
        else:
            assert not refused
        assert 50 < c.dbsize() < 110 and c.exists("k0"), "the most recently used keys stay"
        store.kill()
        store.start()
        assert store.client().dbsize() == c.dbsize()
    finally:
        store.close()


def test_titan_store_executes_commands(tmp_path: Path) -> None:
    with cluster(tmp_path) as c:
        assert c.cli("store", "set", "k", "-5").stdout == "OK\n"
        assert c.cli("store", "incr", "k").stdout == "-4\n"
        assert c.cli("store", "--json", "hset", "h", "a", "1").stdout == "1\n"
        assert json.loads(c.cli("store", "--json", "hgetall", "h").stdout) == {"a": "1"}
        missing = c.cli("store", "get", "nothing")
        assert (missing.returncode, missing.stdout) == (1, "")
        wrong = c.cli("store", "lpush", "k", "v")
        assert wrong.returncode == 2 and "WRONGTYPE" in wrong.stderr
        assert "for connections to the store's port" in c.cli("store", "subscribe", "c").stderr


@pytest.mark.skipif(shutil.which("redis-benchmark") is None, reason="redis-tools are not installed")
def test_redis_cli_and_redis_benchmark(store: StoreServer) -> None:
    def tool(*command: str, send: str = "") -> str:
        done = subprocess.run(
            [*command], input=send, capture_output=True, text=True, timeout=120, check=True, env={**os.environ, "LC_ALL": "C"}
        )
        return done.stdout

    port = ("-p", str(store.port))
    assert tool("redis-cli", *port, "-3", "hset", "h", "a", "1", "b", "2") == "2\n"
    assert tool("redis-cli", *port, send="multi\nincr n\nincr n\nexec\n").split() == ["OK", "QUEUED", "QUEUED", "1", "2"]
    assert "redis_version" in tool("redis-cli", *port, "info")
    assert int(tool("redis-cli", *port, "command", "count")) > 150
    said = tool("redis-benchmark", *port, "-n", "2000", "-q", "-P", "16", "-t", "set,get,incr,lpush,sadd,hset,zadd")
    assert said.count("requests per second") == 7, said


COUNT = """
from titan import context
with context.store.pipeline() as p:
    for _ in range(100):
        p.execute("INCR", "mine")
assert p.replies[-1] >= 100
context.shared_store.incr("everyone", 1)
context.store.hset("who", {context.job: context.attempt})
"""


def test_jobs_have_keys_of_their_run_and_shared_keys_that_survive_the_master(tmp_path: Path) -> None:
    """Each run has keys of its own, and there are keys that all runs share. Both survive a restart
    of the master."""
    script = tmp_path / "count.py"
    script.write_text(COUNT)
    with cluster(tmp_path / "c", settings={**QUIET, "keep_runs": 1}, options=("--store-port", "0")) as c:
        c.start_workers("w1", "w2")
        jobs = [Job(f"j{i}", file=script) for i in range(4)]
        check = Job("check", command="true", parents=jobs)
        runs = [c.client.submit(DAG("d", [*jobs, check])) for _ in range(2)]
        for run in runs:
            assert run.wait(timeout=60).ok, c.client.logs(f"{run.id}/j0")
        assert c.client.store.get("everyone") == b"8"
        assert c.client.store.get("mine") is None
        c.restart_master()
        assert c.client.store.get("everyone") == b"8"


def test_the_cluster_can_be_read_as_keys(tmp_path: Path) -> None:
    with cluster(tmp_path, settings=QUIET, options=("--store-port", "0")) as c:
        c.start_workers("w1")
        port = int(json.loads((c.home / "master.json").read_text())["store"].rpartition(":")[2])
        r = Redis(host="127.0.0.1", port=port, decode_responses=True, socket_timeout=20)
        run = c.client.submit(
            DAG("d", [Job("a", command="true"), Job("b", command="exit 3", retries=0), Job("g", command="true", requirement="GPU")])
        )
        until(lambda: r.hget(f"titan:run:{run.id}", "dead") == "1", "b is dead")
        assert r.hgetall("titan:workers") == {"w1": "ALIVE"}
        assert r.hget(f"titan:job:{run.id}/b", "exit_code") == "3" and r.hget(f"titan:job:{run.id}/b", "state") == "DEAD"
        assert r.lrange("titan:queue:GPU", 0, -1) == [f"{run.id}/g"]
        assert list(r.hgetall("titan:dlq")) == [f"{run.id}/b"]
        assert f"titan:job:{run.id}/a" in list(r.scan_iter("titan:*")) and r.type("titan:events") == "stream"
        with pytest.raises(redis.ResponseError, match="belongs to the cluster"):
            r.hset(f"titan:run:{run.id}", "state", "COMPLETED")
        last = r.xrevrange("titan:events", count=1)[0][0]
        seen: list[str] = []

        def follow() -> None:
            mine, at = Redis(host="127.0.0.1", port=port, decode_responses=True, socket_timeout=20), last
            while "run_finished" not in seen:
                for _, entries in mine.xread({"titan:events": at}, block=20_000):
                    at = entries[-1][0]
                    seen.extend(fields["event"] for _, fields in entries)
            mine.close()

        thread = threading.Thread(target=follow)
        thread.start()
        run.cancel()
        thread.join(30)
        assert "jobs_cancelled" in seen and "run_finished" in seen
        r.close()
