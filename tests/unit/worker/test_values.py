"""Large values on their way: what is sent when, what follows a cut or a refusal, and what stays in the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from titan.model import values as model
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.worker import values
from titan.worker.values import Values

A, B = "a" * 64, "b" * 64


class FakePeer:
    def __init__(self) -> None:
        self.sent: list[tuple[msg.Put, bytes]] = []
        self.broken = False
        self.on_drain: Callable[[], Any] = lambda: None

    def send(self, message: msg.Put, blob: bytes) -> None:
        self.sent.append((message, blob))

    async def drain(self) -> None:
        self.on_drain()
        if self.broken:
            raise ConnectionError


class Bench:
    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.peer: FakePeer | None = None
        self.stored: list[int] = []
        self.dropped: list[str] = []
        self.in_use: list[str] = []
        self.request = 100
        self.it = Values(
            cache,
            peer=lambda: cast(Peer, self.peer),
            next_request=self.next,
            on_stored=self.stored.append,
            in_use=lambda: self.in_use,
            on_dropped=self.dropped.append,
        )

    def next(self) -> int:
        self.request += 1
        return self.request

    def hold(self, lease: int, hash_: str, data: bytes) -> None:
        (self.cache / hash_).write_bytes(data)
        self.it.hold(lease, hash_, len(data))

    def connect(self) -> FakePeer:
        self.peer = FakePeer()
        self.it.heard(msg.Registered(1, 1, "c", 1, 5.0, 30.0, 5.0))
        return self.peer

    async def turn(self) -> None:
        """Lets what waits be sent."""
        task = asyncio.ensure_future(self.it.run())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_value_goes_in_pieces_and_its_leases_are_held_until_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PIECE_BYTES", 4)

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"0123456789")
        bench.hold(2, A, b"0123456789")
        peer = bench.connect()
        await bench.turn()
        assert peer.sent == [(msg.Put(101, A, 10, at), b"0123456789"[at : at + 4]) for at in (0, 4, 8)]
        assert bench.it.holds(1) and bench.stored == []
        assert bench.it.heard(msg.Stored(101, A))
        assert bench.stored == [1, 2] and not bench.it.holds(1)

    asyncio.run(run())


def test_after_a_cut_it_is_sent_again(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"one")
        bench.hold(2, B, b"two")
        first = bench.connect()
        await bench.turn()
        bench.it.heard(msg.Stored(101, A))
        bench.it.on_disconnected()
        second = bench.connect()
        await bench.turn()
        assert [put.hash for put, _ in first.sent] == [A, B] and [put.hash for put, _ in second.sent] == [B]

    asyncio.run(run())


def test_a_break_in_the_middle_and_a_master_that_has_it_end_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "PIECE_BYTES", 1)

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"0123456789")
        peer = bench.connect()
        peer.broken = True
        await bench.turn()
        assert len(peer.sent) == 1
        bench.it.on_disconnected()
        peer = bench.connect()
        peer.on_drain = lambda: bench.it.heard(msg.Stored(102, A))
        await bench.turn()
        assert len(peer.sent) == 1 and bench.stored == [1]

    asyncio.run(run())


def test_a_refusal_is_followed_by_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "AGAIN_S", 0.0)

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"one")
        peer = bench.connect()
        await bench.turn()
        assert not bench.it.heard(msg.Error(99, "environment", "of something else"))
        assert bench.it.heard(msg.Error(101, "environment", "the disk is full"))
        await bench.turn()
        assert [put.request for put, _ in peer.sent] == [101, 102]

    asyncio.run(run())


def test_what_is_forgotten_is_not_sent(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"one")
        bench.it.forget(1)
        peer = bench.connect()
        await bench.turn()
        assert peer.sent == [] and not bench.it.holds(1)

    asyncio.run(run())


def test_only_so_much_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "UNCONFIRMED_BYTES", 3)

    async def run() -> None:
        bench = Bench(tmp_path)
        bench.hold(1, A, b"one")
        bench.hold(2, B, b"two")
        peer = bench.connect()
        await bench.turn()
        assert [put.hash for put, _ in peer.sent] == [A]
        bench.it.heard(msg.Stored(101, A))
        await bench.turn()
        assert [put.hash for put, _ in peer.sent] == [A, B]

    asyncio.run(run())


def test_the_cache_keeps_what_was_used_last_and_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "KEEP_BYTES", 10)

    async def run() -> None:
        bench = Bench(tmp_path)
        names = [f"{n:064x}" for n in range(5)]
        for name in names:
            (tmp_path / name).write_bytes(b"1234")
        bench.it.keep(names[0], 4)
        bench.it.keep(names[1], 4)
        bench.it.keep(names[0], 4)
        bench.it.keep(names[2], 4)
        assert bench.dropped == [names[1]] and not (tmp_path / names[1]).exists()
        bench.in_use = [names[0]]
        bench.it.keep(names[3], 4)
        assert bench.dropped == [names[1], names[2]]
        bench.hold(1, names[4], b"1234")
        bench.it.keep(names[1], 4)
        assert bench.dropped[2:] == [names[3]], "what is not stored yet stays"

    asyncio.run(run())


def test_how_a_value_by_content_is_written() -> None:
    value = model.by_content(model.RETURNED_AT, bytes.fromhex(A), 1 << 40)
    assert (model.artifact_of(value), model.size_of(value)) == (A, 1 << 40)
    assert [model.artifact_of(other) for other in (b"", b"i" + value[1:], value + b"x", b"h")] == [None] * 4
