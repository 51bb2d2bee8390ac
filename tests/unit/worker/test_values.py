"""Large values on their way to the master: the order of uploads, broken connections and refusals,
and the values that stay in the cache."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from support.content import Ends, content_of
from support.waiting import until_async
from titan.content.files import FileWriter
from titan.content.nearby import seal_of
from titan.content.transfer import SMALL_BYTES
from titan.host.large_files import STEP_BYTES
from titan.model import values as model
from titan.protocol import messages as msg
from titan.worker import value_uploads as values
from titan.worker.value_uploads import Values

A = "a" * 64
ONE, TWO = (hashlib.sha256(data).hexdigest() for data in (b"one", b"two"))


class Bench:
    """Values of a worker, and the master that stores them. They are not connected until
    `connect`."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.cache.mkdir()
        self.ends = Ends(folder / "store")
        self.connected = asyncio.Event()
        self.stored: list[int] = []
        self.dropped: list[str] = []
        self.in_use: list[str] = []
        self.it = Values(
            self.cache, lines=self, on_stored=self.stored.append, in_use=lambda: self.in_use, on_dropped=self.dropped.append
        )

    async def open(self) -> Any:
        await self.connected.wait()
        return await self.ends.open()

    def close(self, line: Any) -> None:
        self.ends.close(line)

    def connect(self) -> None:
        self.connected.set()

    def cut(self) -> None:
        self.connected.clear()
        self.ends.cut()

    def hold(self, lease: int, hash_: str, data: bytes, *, hashed: bool = False) -> None:
        (self.cache / hash_).write_bytes(data)
        self.it.hold(lease, hash_, len(data), seal_of(self.it.path(hash_)) if hashed else None)

    def content(self, hash_: str) -> bytes:
        return content_of(self.ends.store, hash_)

    def sent(self) -> list[str]:
        """Return the hashes that were announced on the present connection."""
        said = self.ends.client.said if self.ends.client is not None else []
        return [message.hash for message, _ in said if isinstance(message, msg.SendFile)]

    async def until(self, done: Callable[[], object]) -> None:
        await until_async(done, "each value is stored or dropped")


def scenario(run: Callable[[Bench, pytest.MonkeyPatch], Coroutine[Any, Any, None]]) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async def whole() -> None:
            bench = Bench(tmp_path)
            task = asyncio.ensure_future(bench.it.run())
            try:
                await run(bench, monkeypatch)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await bench.ends.handler.close()
            assert not bench.it._tasks

        asyncio.run(whole())

    test.__name__ = run.__name__
    return test


@scenario
async def test_leases_are_held_until_their_value_is_stored(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.hold(1, ONE, b"one")
    bench.hold(2, ONE, b"one")
    await asyncio.sleep(0.01)
    assert bench.it.holds(1) and bench.stored == []
    bench.connect()
    await bench.until(lambda: bench.stored)
    assert bench.stored == [1, 2] and not bench.it.holds(1) and bench.content(ONE) == b"one" and bench.sent() == [ONE]


@scenario
async def test_after_a_disconnect_unconfirmed_values_are_sent_again(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.hold(1, ONE, b"one")
    bench.connect()
    await bench.until(lambda: bench.stored)
    with patch.context() as slow:
        slow.setattr(FileWriter, "write", lambda self, pieces: (_ for _ in ()).throw(OSError(5, "nothing is written")))
        bench.hold(2, TWO, b"two")
        await bench.until(lambda: TWO in bench.sent())
        bench.cut()
        await asyncio.sleep(0.05)
    bench.connect()
    await bench.until(lambda: len(bench.stored) == 2)
    assert bench.stored == [1, 2] and bench.sent() == [TWO]


@scenario
async def test_a_refused_upload_is_tried_again(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(values, "AGAIN_S", 0.0)
    real, refused = FileWriter.write, list[int]()

    def write(self: FileWriter, pieces: Any) -> None:
        if not refused:
            refused.append(1)
            raise OSError(28, "No space left on device")
        real(self, pieces)

    patch.setattr(FileWriter, "write", write)
    bench.hold(1, ONE, b"one")
    bench.connect()
    await bench.until(lambda: bench.stored)
    assert bench.sent() == [ONE, ONE] and bench.stored == [1]


@scenario
async def test_the_value_of_a_forgotten_lease_is_not_sent(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    bench.hold(1, ONE, b"one")
    bench.it.forget(1)
    bench.connect()
    await asyncio.sleep(0.05)
    assert bench.sent() == [] and not bench.it.holds(1)


@scenario
async def test_the_bytes_in_flight_are_limited(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(values, "UNCONFIRMED_BYTES", 3)
    bench.hold(1, ONE, b"one")
    bench.hold(2, TWO, b"two")
    await asyncio.sleep(0.01)
    assert len(bench.it._tasks) == 1
    bench.connect()
    await bench.until(lambda: len(bench.stored) == 2)
    assert bench.sent() == [ONE, TWO]


@scenario
async def test_the_cache_keeps_the_last_used_and_the_needed_values(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(values, "KEEP_BYTES", 10)
    names = [f"{n:064x}" for n in range(5)]
    for name in names:
        (bench.cache / name).write_bytes(b"1234")
    bench.it.keep(names[0], 4)
    bench.it.keep(names[1], 4)
    bench.it.keep(names[0], 4)
    bench.it.keep(names[2], 4)
    assert bench.dropped == [names[1]] and not (bench.cache / names[1]).exists()
    bench.in_use = [names[0]]
    bench.it.keep(names[3], 4)
    assert bench.dropped == [names[1], names[2]]
    bench.hold(1, names[4], b"1234")
    bench.it.keep(names[1], 4)
    assert bench.dropped[2:] == [names[3]], "values that are not stored yet stay"


def test_a_value_by_content_has_a_fixed_encoding() -> None:
    value = model.by_content(model.RETURNED_AT, bytes.fromhex(A), 1 << 40)
    assert (model.artifact_of(value), model.size_of(value)) == (A, 1 << 40)
    assert [model.artifact_of(other) for other in (b"", b"i" + value[1:], value + b"x", b"h")] == [None] * 4


@scenario
async def test_the_seal_of_a_value_goes_with_its_file_to_a_master_of_this_machine_alone(
    bench: Bench, patch: pytest.MonkeyPatch
) -> None:
    near, far, plain = (os.urandom(SMALL_BYTES + 1) for _ in range(3))
    near_hash, far_hash, plain_hash = (hashlib.sha256(data).hexdigest() for data in (near, far, plain))
    bench.ends.role = "worker"
    bench.connect()
    bench.hold(1, far_hash, far, hashed=True)
    await bench.until(lambda: bench.stored == [1])
    bench.ends.share_machine()
    bench.hold(2, near_hash, near, hashed=True)
    seal = seal_of(bench.it.path(near_hash))
    await bench.until(lambda: bench.stored == [1, 2])
    bench.hold(3, plain_hash, plain)
    await bench.until(lambda: bench.stored == [1, 2, 3])
    assert bench.ends.client is not None
    sent = [m for m, _ in bench.ends.client.said if isinstance(m, msg.SendFile)]
    assert [(m.inode, m.mtime_ns) for m in sent] == [(0, 0), (seal.inode, seal.mtime_ns), (0, 0)]
    assert bench.content(near_hash) == near and not bench.it._seals


@scenario
async def test_an_evicted_value_also_leaves_the_page_cache_if_memory_is_cold(bench: Bench, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(values, "KEEP_BYTES", 6)
    left: list[str] = []
    patch.setattr(values, "leave_cache", left.append)
    for lease, cost_s in enumerate((0.0003, 0.001, 0.0003, 0.0001)):
        data = b"%d234" % lease
        hash_ = hashlib.sha256(data).hexdigest()
        (bench.cache / hash_).write_bytes(data)
        bench.it._memory.cost(cost_s * STEP_BYTES / (1 << 20), STEP_BYTES)
        bench.it.forget(lease - 1)
        bench.it._waiting.clear()
        bench.it.hold(lease, hash_, len(data), writing_s=0.0)
    assert len(bench.dropped) == 3 and left == [bench.it.path(hash_) for hash_ in bench.dropped[:2]]
    assert not any((bench.cache / hash_).exists() for hash_ in bench.dropped)
