"""Artifacts that leave: whole, in pieces, and a few at a time however many were asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from titan.master import outlet
from titan.master.outlet import PIECE_BYTES, Outlet
from titan.master.registry import Registry
from titan.peer import Peer
from titan.protocol import messages as msg


class SlowPeer:
    """Reads nothing until it is let."""

    closed = False
    role = "client"

    def __init__(self) -> None:
        self.said: list[tuple[msg.Message, bytes]] = []
        self.gate = asyncio.Event()
        self.waiting = 0

    def send(self, message: msg.Message, blob: bytes = b"") -> None:
        self.said.append((message, blob))

    async def drain(self) -> None:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if self.closed:
            raise ConnectionError


def stage(registry: Registry, content: bytes) -> str:
    (registry.folder / "name").write_bytes(content)
    return registry.resolve("name")[0]


def test_in_pieces_and_from_an_offset(tmp_path: Path) -> None:
    async def run() -> None:
        registry = Registry(tmp_path)
        content = bytes(PIECE_BYTES) + b"end"
        hash_ = stage(registry, content)
        sender, peer = Outlet(registry), SlowPeer()
        peer.gate.set()
        sender.send(cast(Peer, peer), msg.Fetch(1, hash_))
        sender.send(cast(Peer, peer), msg.Fetch(2, hash_, PIECE_BYTES + 1))
        sender.send(cast(Peer, peer), msg.Fetch(3, "0" * 64))
        while len(peer.said) < 4:
            await asyncio.sleep(0)
        by_request = {n: [said for said in peer.said if said[0].request == n] for n in (1, 2, 3)}
        assert by_request[1] == [
            (msg.Piece(1, hash_, len(content), 0), content[:PIECE_BYTES]),
            (msg.Piece(1, hash_, len(content), PIECE_BYTES), b"end"),
        ]
        assert by_request[2] == [(msg.Piece(2, hash_, len(content), PIECE_BYTES + 1), b"nd")]
        assert isinstance(by_request[3][0][0], msg.Error)
        await sender.close()

    asyncio.run(run())


def test_a_peer_that_asks_for_much_and_reads_nothing_costs_little(tmp_path: Path) -> None:
    async def run() -> None:
        registry = Registry(tmp_path)
        hash_ = stage(registry, b"x")
        sender, peer = Outlet(registry), SlowPeer()
        for n in range(100):
            sender.send(cast(Peer, peer), msg.Fetch(n + 1, hash_))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (peer.waiting, peer.said) == (outlet.AT_ONCE, [])
        peer.closed = True
        peer.gate.set()
        for _ in range(500):
            await asyncio.sleep(0)
        assert (peer.waiting, peer.said) == (0, [])
        await sender.close()

    asyncio.run(run())
