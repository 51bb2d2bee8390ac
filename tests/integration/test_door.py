"""Unknown peers at a real master: many connections, frames that are announced but not sent, and
compressed payloads that grow."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

import support.cluster
from support.cluster import QUIET, TITAN, Cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.errors import LimitExceeded
from titan.master.server import HELLO_S
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Received, encode
from titan.protocol.frames import COMPRESSED, VERSION
from titan.protocol.handshake import hello
from titan.protocol.opcodes import OPCODE_OF

HEADER = struct.Struct(">BBBBI")
MIB = 1024
LOOKS = 20


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "c", settings=QUIET)
    try:
        yield made
    finally:
        made.close()


def dial(port: int, *, greet: bool = True) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=20)
    if greet:
        made.sendall(encode(hello("client", "test")))
        assert made.recv(65536)
    return made


def answer(raw: socket.socket) -> msg.Message | None:
    """Return the next message; None if the master has closed the connection."""
    decoder = MessageDecoder()
    while True:
        try:
            data = raw.recv(65536)
        except ConnectionResetError:
            return None
        if not data:
            return None
        for item in decoder.receive_data(data):
            assert isinstance(item, Received)
            return item.message


def memory_kib(pid: int, what: str = "VmRSS") -> int:
    line = next(it for it in Path(f"/proc/{pid}/status").read_text().splitlines() if it.startswith(what))
    return int(line.split()[1])


def master_of(c: Cluster) -> int:
    assert c.master is not None
    assert c.master.running, c.master.err
    return c.master.pid


def still_serves(c: Cluster) -> None:
    with Client(c.address) as client:
        run = client.submit(DAG("after", [Job("a", command="true", requirement="NOBODY")]))
        assert run.cancel() == 1
    master_of(c)


def test_a_lack_of_descriptors_never_ends_the_master(c: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(support.cluster, "TITAN", ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh", *TITAN))
        c.start_master("--store-port", "0")
    c.start_workers("w1")
    before = len(list(c.store.glob("*.snap")))
    began = time.monotonic()
    many = [socket.create_connection(("127.0.0.1", c.port), timeout=20) for _ in range(140)]
    counts = [0]

    def stands() -> bool:
        counts.append(len(os.listdir(f"/proc/{master_of(c)}/fd")))
        return len(counts) > LOOKS and len(set(counts[-LOOKS:])) == 1

    until(stands, "the connections use no further descriptors")
    assert c.client.store.execute("SET", "k", "v") == b"OK"
    c.client.store.execute("BGREWRITEAOF")

    def snapshot() -> bool:
        """Return whether a new snapshot exists. A snapshot can only begin with a record, so write
        one first."""
        c.client.store.execute("SET", "k", "v")
        return len(list(c.store.glob("*.snap"))) > before

    until(snapshot, "another process has made a snapshot")
    runs = [c.client.submit(DAG(f"d{n}", [Job("a", command="echo hello")])) for n in range(50)]
    assert all(run.wait(60).ok for run in runs)
    assert time.monotonic() - began < HELLO_S, "the work was done while the silent connections were open"
    for connection in many:
        connection.close()
    still_serves(c)
    assert c.master is not None
    assert "Too many open files" not in c.master.err
    assert "Traceback" not in c.master.err


def test_a_connection_above_the_limit_is_refused_with_the_reason(tmp_path: Path) -> None:
    c = Cluster(tmp_path / "c", settings={**QUIET, "connections": 5})
    try:
        c.start_master()
        inside = [dial(c.port) for _ in range(5)]
        refused = dial(c.port, greet=False)
        told = answer(refused)
        assert isinstance(told, msg.Error)
        assert told.code == LimitExceeded.code
        assert "5 connections are open, which is the limit: raise it with --set connections=N" in told.message
        assert answer(refused) is None
        inside.pop().close()
        until(lambda: _is_welcome(c.port), "room for one more")
        for connection in (*inside, refused):
            connection.close()
    finally:
        c.close()


def _is_welcome(port: int) -> bool:
    with contextlib.closing(dial(port, greet=False)) as raw, contextlib.suppress(OSError):
        raw.sendall(encode(hello("client", "test")))
        return isinstance(answer(raw), msg.Welcome)
    return False


def test_the_oldest_connection_without_a_handshake_is_closed_for_a_new_one(tmp_path: Path) -> None:
    c = Cluster(tmp_path / "c", settings={**QUIET, "connections_waiting": 3})
    try:
        c.start_master()
        silent = [dial(c.port, greet=False) for _ in range(4)]
        told = answer(silent[0])
        assert isinstance(told, msg.Error)
        assert "this one was the oldest" in told.message
        still_serves(c)
        for connection in silent:
            connection.close()
    finally:
        c.close()


@pytest.mark.parametrize("greeted", [False, True])
def test_announced_frames_take_no_memory(c: Cluster, *, greeted: bool) -> None:
    """Earlier, 100 connections that announced 60 MiB each made the master grow to 3 GB."""
    c.start_master()
    still_serves(c)
    before = memory_kib(master_of(c))
    raws = [dial(c.port, greet=greeted) for _ in range(100)]
    for raw in raws:
        raw.sendall(HEADER.pack(VERSION, OPCODE_OF[msg.Submit], 0, 0, 60 << 20) + b"x")
    still_serves(c)
    assert memory_kib(master_of(c), "VmHWM") < before + 100 * MIB
    for raw in raws:
        raw.close()


@pytest.mark.parametrize("greet", [False, True])
def test_closed_connections_use_no_memory(c: Cluster, *, greet: bool) -> None:
    """A connection has buffers of 128 KiB. A closed connection must free them at once, so 1,000
    connections in a row take no more memory."""
    c.start_master()
    still_serves(c)
    before = memory_kib(master_of(c))
    for _ in range(1000):
        dial(c.port, greet=greet).close()
    still_serves(c)
    assert memory_kib(master_of(c), "VmHWM") - before < 16 * MIB


def test_large_or_compressed_frames_before_the_handshake_are_refused(c: Cluster) -> None:
    c.start_master()
    bomb = zstandard.ZstdCompressor().compress(bytes(3000))
    for flags, payload, why in (
        (0, bytes(5000), "the limit is 4,096"),
        (COMPRESSED, bomb, "a compressed frame before a Hello"),
    ):
        raw = dial(c.port, greet=False)
        raw.sendall(HEADER.pack(VERSION, OPCODE_OF[msg.Hello], flags, 0, len(payload)) + payload)
        told = answer(raw)
        assert isinstance(told, msg.Error)
        assert why in told.message
        assert answer(raw) is None
        raw.close()
    still_serves(c)


def test_a_small_payload_does_not_become_a_huge_one(c: Cluster) -> None:
    c.start_master()
    still_serves(c)
    before = memory_kib(master_of(c))
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(400 << 20))
    raw = dial(c.port)
    raw.sendall(HEADER.pack(VERSION, OPCODE_OF[msg.Submit], COMPRESSED, 0, len(bomb)) + bomb)
    told = answer(raw)
    assert isinstance(told, msg.Error)
    assert "over 100 times as many" in told.message
    assert memory_kib(master_of(c), "VmHWM") < before + 50 * MIB
    raw.close()
    still_serves(c)


def test_the_memory_for_all_incoming_messages_is_limited_and_every_peer_is_served(c: Cluster) -> None:
    """Ten messages of 60 MiB are sent except for their last byte. Beyond the memory budget, the
    master reads only from the connection with the oldest message."""
    c.start_master()
    still_serves(c)
    before = memory_kib(master_of(c))
    size = 60 << 20
    body = memoryview(HEADER.pack(VERSION, 250, 0, 0, size) + bytes(size - 1))
    raws = [dial(c.port) for _ in range(10)]
    rest = dict.fromkeys(raws, body)
    for raw in raws:
        raw.setblocking(False)

    def push() -> None:
        for raw in raws:
            with contextlib.suppress(BlockingIOError):
                while rest[raw]:
                    rest[raw] = rest[raw][raw.send(rest[raw][: 1 << 20]) :]

    seen: list[int] = []

    def stuck() -> bool:
        """Return whether no byte was accepted in the last second."""
        push()
        seen.append(sum(map(len, rest.values())))
        return len(seen) > 100 and len(set(seen[-100:])) == 1

    until(stuck, "the master reads no more", 60)
    assert 0 < sum(bool(left) for left in rest.values()) < 10
    still_serves(c)
    assert memory_kib(master_of(c), "VmHWM") < before + 420 * MIB
    done: dict[socket.socket, None] = {}

    def finish() -> bool:
        push()
        for raw in raws:
            if not rest[raw] and raw not in done:
                with contextlib.suppress(BlockingIOError):
                    raw.send(b"x")
                    done[raw] = None
        return len(done) == 10

    until(finish, "each of them is read to its end", 60)
    for raw in raws:
        raw.setblocking(True)
        told = answer(raw)
        assert isinstance(told, msg.Error)
        assert "opcode 250 is unknown" in told.message
        raw.close()
