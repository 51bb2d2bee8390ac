"""Artifacts that arrive: order, answers, errors, and what happens to a sender that is faster than the disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from titan.errors import CallerError
from titan.master import intake
from titan.master.intake import Intake
from titan.master.registry import Registry, Upload
from titan.peer import Peer
from titan.protocol import messages as msg

DATA = os.urandom(10_000)
HASH = hashlib.sha256(DATA).hexdigest()


class FakePeer:
    def __init__(self) -> None:
        self.said: list[msg.Message] = []
        self.paused: list[bool] = []

    def send(self, message: msg.Message) -> None:
        self.said.append(message)

    def pause_reading(self, why: str) -> None:
        self.paused.append(True)

    def resume_reading(self, why: str) -> None:
        self.paused.append(False)

    async def heard(self, count: int = 1) -> list[msg.Message]:
        for _ in range(10_000):
            if len(self.said) >= count:
                return self.said
            await asyncio.sleep(0.001)
        raise AssertionError(f"only {self.said} was said")


def put(taker: Intake, peer: FakePeer, at: int, data: bytes, *, hash_: str = HASH, size: int = len(DATA), request: int = 5) -> None:
    taker.put(cast(Peer, peer), msg.Put(request, hash_, size, at), data)


def scenario(run: Callable[[Intake, Registry, FakePeer], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def test(tmp_path: Path) -> None:
        async def whole() -> None:
            registry = Registry(tmp_path / "perm_files")
            taker = Intake(registry)
            try:
                await run(taker, registry, FakePeer())
            finally:
                await taker.close()
            assert [p.name for p in (tmp_path / "perm_files" / ".objects").glob("*.part")] == []

        asyncio.run(whole())

    test.__name__ = run.__name__
    return test


@scenario
async def test_pieces_become_an_artifact(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    for at in range(0, len(DATA), 1000):
        put(taker, peer, at, DATA[at : at + 1000])
    assert await peer.heard() == [msg.Stored(5, HASH)]
    assert registry.path(HASH).read_bytes() == DATA


@scenario
async def test_what_is_here_is_answered_at_once_and_the_rest_of_it_ignored(
    taker: Intake, registry: Registry, peer: FakePeer
) -> None:
    put(taker, peer, 0, DATA)
    await peer.heard()
    put(taker, peer, 0, DATA[:100], request=6)
    put(taker, peer, 100, DATA[100:], request=6)
    assert peer.said == [msg.Stored(5, HASH), msg.Stored(6, HASH)]


@scenario
async def test_other_content_than_the_hash_says_is_refused_once(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    put(taker, peer, 0, DATA[:-1])
    put(taker, peer, len(DATA) - 1, b"?")
    (error,) = await peer.heard()
    assert isinstance(error, msg.Error) and "another content" in error.message and not registry.has(HASH)
    put(taker, peer, 0, DATA, request=7)
    assert (await peer.heard(2))[1:] == [msg.Stored(7, HASH)]


@scenario
async def test_a_piece_out_of_order_is_an_error_and_a_new_start_is_none(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    put(taker, peer, 0, DATA[:100])
    put(taker, peer, 200, DATA[200:300])
    (error,) = await peer.heard()
    assert isinstance(error, msg.Error) and "send it from the start" in error.message
    put(taker, peer, 0, DATA[:100])
    put(taker, peer, 0, DATA)
    assert (await peer.heard(2))[1:] == [msg.Stored(5, HASH)]


@scenario
async def test_two_senders_of_one_artifact(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    other = FakePeer()
    for at in range(0, len(DATA), 2500):
        for one in (peer, other):
            put(taker, one, at, DATA[at : at + 2500])
    assert await peer.heard() == await other.heard() == [msg.Stored(5, HASH)]


@scenario
async def test_uploads_have_a_limit_and_go_with_their_connection(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    for n in range(intake.MAX_UPLOADS):
        put(taker, peer, 0, b"x", hash_=f"{n:064x}")
    with pytest.raises(CallerError, match="finish one"):
        put(taker, peer, 0, b"x", hash_="f" * 64)
    taker.forget(cast(Peer, peer))
    put(taker, peer, 0, DATA)
    assert await peer.heard() == [msg.Stored(5, HASH)]


@scenario
async def test_a_sender_that_is_ahead_of_the_disk_is_not_read_from(taker: Intake, registry: Registry, peer: FakePeer) -> None:
    gate, real = threading.Event(), Upload.write

    def slow(self: Upload, offset: int, piece: bytes | memoryview) -> None:
        assert gate.wait(10)
        real(self, offset, piece)

    Upload.write = slow  # type: ignore[method-assign]
    try:
        piece = bytes(1 << 20)
        count = intake.PEER_BYTES // len(piece) + 2
        whole = hashlib.sha256(piece * count).hexdigest()
        for n in range(count):
            assert peer.paused == ([True] if n * len(piece) > intake.PEER_BYTES else [])
            put(taker, peer, n * len(piece), piece, hash_=whole, size=count * len(piece))
        gate.set()
        assert await peer.heard() == [msg.Stored(5, whole)]
        assert peer.paused == [True, False]
    finally:
        Upload.write = real  # type: ignore[method-assign]
