"""Transfer of content between the production code of both ends: small and large content, broken
connections, damage, refusals, and back-pressure."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from support.content import Ends, content_of, hash_of
from titan.content.blobs import PIECE_BYTES, put
from titan.content.directory import DirectoryStore
from titan.content.files import FileWriter
from titan.content.transfer import (
    SMALL_BYTES,
    TRIES,
    DamagedCopy,
    fetch_data,
    fetch_file,
    send_data,
    send_file,
)
from titan.errors import CallerError, EnvironmentFault, LimitExceeded, NotFound, ProtocolError, TitanError
from titan.master.handlers import files as file_desk
from titan.protocol import messages as msg

LARGE = os.urandom(3 * PIECE_BYTES + 17)
SIZES = [0, 1, SMALL_BYTES, SMALL_BYTES + 1, PIECE_BYTES, len(LARGE)]


def scenario(run: Callable[[Ends, Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    def test(tmp_path: Path) -> None:
        async def whole() -> None:
            ends = Ends(tmp_path / "store")
            try:
                await run(ends, tmp_path)
            finally:
                await ends.handler.close()
            assert not ends.handler._by_key and not ends.handler._backlog._all and not ends.store._open

        asyncio.run(whole())

    test.__name__ = run.__name__
    return test


def stored(ends: Ends, data: bytes) -> str:
    put(ends.store, hash_of(data), data)
    return hash_of(data)


# -- to the master ---------------------------------------------------------------------------------
@scenario
async def test_content_of_any_size_arrives(ends: Ends, tmp: Path) -> None:
    for size in SIZES:
        for known in (True, False):
            data = LARGE[:size]
            (tmp / "f").write_bytes(data)
            assert await send_file(ends, tmp / "f", hash_=hash_of(data) if known else "") == hash_of(data)
            assert content_of(ends.store, hash_of(data)) == data
            (ends.store.folder / hash_of(data)).unlink()
        await send_data(ends, hash_of(data), data)
        assert content_of(ends.store, hash_of(data)) == data


@scenario
async def test_small_content_takes_one_message_each_way(ends: Ends, tmp: Path) -> None:
    await send_data(ends, hash_of(b"small"), b"small")
    await send_data(ends, hash_of(b"small"), b"small")
    await send_data(ends, hash_of(b""), b"")
    assert ends.client is not None and ends.client.kinds() == ["SendFile"] * 3
    datas = (b"small", b"small", b"")
    assert [message for message, _ in ends.said()] == [msg.Stored(n + 1, hash_of(data)) for n, data in enumerate(datas)]


@scenario
async def test_stored_content_is_not_sent_again_and_its_age_is_reset(ends: Ends, tmp: Path) -> None:
    hash_ = stored(ends, LARGE)
    os.utime(ends.store.folder / hash_, (1.0, 1.0))
    await send_data(ends, hash_, LARGE)
    assert ends.client is not None and ends.client.kinds() == ["SendFile"]
    assert (ends.store.folder / hash_).stat().st_mtime > 1.0


def test_an_upload_continues_at_its_offset_after_a_disconnect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = os.urandom(msg.FILE_WINDOW * 2)
    real, cuts = FileWriter.write, list[int]()

    async def run() -> None:
        ends = Ends(tmp_path / "store")
        loop = asyncio.get_running_loop()

        def write(self: FileWriter, pieces: Any) -> None:
            """Write the pieces. Break each of the first two connections after its first write."""
            real(self, pieces)
            if len(cuts) < 2:
                cuts.append(self.written)
                done = threading.Event()
                loop.call_soon_threadsafe(ends.cut)
                loop.call_soon_threadsafe(done.set)
                assert done.wait(10)

        monkeypatch.setattr(FileWriter, "write", write)
        (tmp_path / "f").write_bytes(data)
        assert await send_file(ends, tmp_path / "f") == hash_of(data) and content_of(ends.store, hash_of(data)) == data
        offsets = [message.offset for message, _ in ends.said() if isinstance(message, msg.SendFrom)]
        assert offsets == [0, *cuts] and 0 < cuts[0] < cuts[1] < len(data)
        await ends.handler.close()

    asyncio.run(run())


@scenario
async def test_a_disconnect_before_the_answer_causes_no_second_upload(ends: Ends, tmp: Path) -> None:
    """The sender did not know the hash at first. It knows the hash after it has sent everything
    once."""
    (tmp / "f").write_bytes(LARGE)
    real = ends.open

    async def open_() -> Any:
        while ends.peers and not ends.store.has(hash_of(LARGE)):
            await asyncio.sleep(0.001)
        return await real()

    ends.open = open_  # type: ignore[method-assign]
    sending = asyncio.ensure_future(send_file(ends, tmp / "f"))
    while ends.client is None or "FileEnd" not in ends.client.kinds():
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # the FileEnd has arrived
    ends.cut()
    assert await sending == hash_of(LARGE)
    assert ends.client is not None and ends.client.kinds() == ["SendFile"]


@scenario
async def test_content_damaged_in_transit_is_refused(ends: Ends, tmp: Path) -> None:
    for data in (b"x" * 10, LARGE):
        with pytest.raises(CallerError, match="content that does not match its hash"):
            await send_data(ends, hash_of(b"y"), data)
        assert os.listdir(ends.store.folder) == []
    await send_data(ends, hash_of(LARGE), LARGE)


@scenario
async def test_invalid_messages_of_a_sender_are_refused(ends: Ends, tmp: Path) -> None:
    line = await ends.open()

    async def refused(*messages: tuple[msg.Message, bytes]) -> TitanError:
        for message, blob in messages:
            line.peer.send(message, blob)
            await asyncio.sleep(0.05)
        while not isinstance(answer := await line.answers.get(), TitanError):
            pass
        return answer

    key = "0" * 32
    assert isinstance(await refused((msg.SendFile(1, key, 1 << 31), b"")), LimitExceeded)
    for it in (msg.SendFile(1, key, 4, hash_of(b"abc")), msg.SendFile(1, key, 3)):
        assert "must be the whole file" in str(await refused((it, b"abc")))
    assert "is not the key of an upload" in str(await refused((msg.SendFile(1, "../x", 3), b"")))
    await refused((msg.SendFile(1, key, 3), b""), (msg.FilePiece(1, 1, 3), b"a"))
    assert "the announced 3 bytes" in str(await refused((msg.SendFile(1, key, 3), b""), (msg.FilePiece(1, 0, 3), b"abcd")))
    assert "arrived with 2 bytes" in str(
        await refused((msg.SendFile(1, key, 3), b""), (msg.FilePiece(1, 0, 3), b"ab"), (msg.FileEnd(1, hash_of(b"ab")), b""))
    )
    assert os.listdir(ends.store.folder) == []


@scenario
async def test_an_end_before_the_beginning_ends_nothing(ends: Ends, tmp: Path) -> None:
    """The master answers a SendFile only after it has opened the file."""
    line = await ends.open()
    line.peer.send(msg.SendFile(1, "0" * 32, 3))
    line.peer.send(msg.FileEnd(1, hash_of(b"abc")))
    answers = [await line.answers.get() for _ in range(2)]
    assert sum(isinstance(answer, CallerError) for answer in answers) == 1
    line.peer.send(msg.FilePiece(1, 0, 3), b"abc")
    line.peer.send(msg.FileEnd(1, hash_of(b"abc")))
    while not isinstance(answer := await line.answers.get(), TitanError) and not isinstance(answer[0], msg.Stored):
        pass
    assert content_of(ends.store, hash_of(b"abc")) == b"abc"


def test_a_sender_that_does_not_wait_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the window limits how much a sender may have in the master's memory."""
    gate = threading.Event()
    real = FileWriter.write

    def slow(self: FileWriter, pieces: Any) -> None:
        assert gate.wait(10)
        real(self, pieces)

    monkeypatch.setattr(FileWriter, "write", slow)

    async def run() -> None:
        ends = Ends(tmp_path / "store")
        line = await ends.open()
        size = msg.FILE_WINDOW + 2 * PIECE_BYTES
        line.peer.send(msg.SendFile(1, "0" * 32, size))
        assert isinstance((await line.answers.get())[0], msg.SendFrom)  # type: ignore[index]
        for at in range(0, size, PIECE_BYTES):
            line.peer.send(msg.FilePiece(1, at, size), bytes(PIECE_BYTES))
        await asyncio.sleep(0.05)
        assert ends.handler._backlog._all == msg.FILE_WINDOW, "pieces beyond the window are dropped"
        gate.set()
        while not isinstance(answer := await line.answers.get(), TitanError):
            pass
        assert isinstance(answer, ProtocolError) and "before a FileTaken" in str(answer)
        await ends.handler.close()
        assert os.listdir(ends.store.folder) == [] and not ends.handler._backlog._all

    asyncio.run(run())


def test_a_sender_of_much_small_content_is_not_read_until_the_content_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    real = FileWriter.write

    def slow(self: FileWriter, pieces: Any) -> None:
        assert gate.wait(10)
        real(self, pieces)

    monkeypatch.setattr(FileWriter, "write", slow)
    monkeypatch.setattr(file_desk, "PEER_BYTES", 5_000)

    async def run() -> None:
        ends = Ends(tmp_path / "store")
        sends = [asyncio.ensure_future(send_data(ends, hash_of(bytes([n]) * 1000), bytes([n]) * 1000)) for n in range(8)]
        await asyncio.sleep(0.1)
        assert ends.peers[0].paused == [True]
        gate.set()
        await asyncio.gather(*sends)
        await asyncio.sleep(0)
        assert ends.peers[0].paused == [True, False] and len(list(ends.store.sizes())) == 8
        await ends.handler.close()

    asyncio.run(run())


def test_a_write_error_of_the_disk_is_reported_to_the_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FileWriter, pieces: Any) -> None:
        raise OSError(28, "No space left on device")

    async def run() -> None:
        ends = Ends(tmp_path / "store")
        with monkeypatch.context() as patch:
            patch.setattr(FileWriter, "write", full)
            for data in (b"small", LARGE):
                with pytest.raises(EnvironmentFault, match="No space left"):
                    await send_data(ends, hash_of(data), data)
        assert os.listdir(ends.store.folder) == []
        await send_data(ends, hash_of(LARGE), LARGE)
        await ends.handler.close()

    asyncio.run(run())


# -- from the master -------------------------------------------------------------------------------
@scenario
async def test_content_of_any_size_is_fetched(ends: Ends, tmp: Path) -> None:
    for size in SIZES:
        hash_ = stored(ends, LARGE[:size])
        assert await fetch_file(ends, hash_, tmp / "part") == size
        assert (tmp / "part").read_bytes() == LARGE[:size]
        assert await fetch_data(ends, hash_, size) == LARGE[:size]


@scenario
async def test_a_fetch_continues_at_its_offset_after_a_disconnect(ends: Ends, tmp: Path) -> None:
    hash_ = stored(ends, LARGE)
    for fetch in (fetch_file(ends, hash_, tmp / "part"), fetch_data(ends, hash_, len(LARGE))):
        work = asyncio.ensure_future(fetch)
        while not ends.client or "FilePiece" not in ends.peers[-1].kinds():
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the message has arrived
        ends.cut()
        await work
        offsets = [message.offset for message, _ in ends.peers[-1].said if isinstance(message, msg.FilePiece)]
        assert offsets and offsets[0] > 0
        ends.cut()
    assert (tmp / "part").read_bytes() == LARGE


@scenario
async def test_a_damaged_copy_is_fetched_a_few_times(ends: Ends, tmp: Path) -> None:
    hash_ = stored(ends, b"abc")
    (ends.store.folder / hash_).write_bytes(b"abx")
    for fetch in (fetch_file(ends, hash_, tmp / "part"), fetch_data(ends, hash_, 3)):
        with pytest.raises(DamagedCopy, match=f"{TRIES} times"):
            await fetch
    with pytest.raises(ProtocolError):
        await fetch_data(ends, hash_, 2)
    with pytest.raises(ProtocolError, match="another size"):
        await fetch_data(ends, hash_, 4)
    with pytest.raises(NotFound):
        await fetch_data(ends, "0" * 64, 4)


@scenario
async def test_a_client_that_requests_much_and_reads_nothing_uses_little_memory(ends: Ends, tmp: Path) -> None:
    hash_ = stored(ends, LARGE)
    line = await ends.open()
    gate = asyncio.Event()
    waiting = []

    async def drain() -> None:
        waiting.append(1)
        await gate.wait()

    ends.peers[0].drain = drain  # type: ignore[method-assign]
    for n in range(100):
        line.peer.send(msg.FetchFile(n + 10, hash_))
    for _ in range(50):
        await asyncio.sleep(0.01)
    assert len(waiting) == file_desk.AT_ONCE
    for n in range(100):
        line.peer.send(msg.StopSending(0, n + 10))
    await asyncio.sleep(0.05)
    ends.cut()
    gate.set()


def test_the_store_is_found_again(tmp_path: Path) -> None:
    async def run() -> str:
        ends = Ends(tmp_path)
        await send_data(ends, hash_of(LARGE), LARGE)
        await ends.handler.close()
        return hash_of(LARGE)

    assert DirectoryStore(tmp_path).has(asyncio.run(run()))
