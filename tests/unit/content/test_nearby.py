"""Exchange of content on one machine: the proof that both ends share it, and files that do not
match their seal."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import mmap
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from support.content import Ends, content_of
from titan.content import directory, nearby
from titan.content.blobs import put
from titan.content.directory import DirectoryStore
from titan.content.nearby import Nearby, NearbyFile, Seal, is_proved, offer, prove, seal_of
from titan.content.transfer import SMALL_BYTES, DamagedCopy, fetch_content, fetch_data, send_file
from titan.errors import CallerError, EnvironmentFault
from titan.model.states import JobState
from titan.model.values import RETURNED_AT
from titan.protocol import messages as msg
from titan.sdk.functions import value_of

DATA = pickle.dumps(os.urandom(3 * SMALL_BYTES), 5)
HASH = hashlib.sha256(DATA).hexdigest()


def scenario(run: Callable[[Ends, Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Run a test with a finished file, which contains DATA."""

    def test(tmp_path: Path) -> None:
        async def whole() -> None:
            ends = Ends(tmp_path / "store")
            ends.share_machine()
            (tmp_path / "value").write_bytes(DATA)
            try:
                await run(ends, tmp_path / "value")
            finally:
                await ends.handler.close()
            assert not ends.handler._by_key and not ends.handler._backlog._all and not ends.store._open
            assert not [*ends.store.folder.glob("*.link"), *ends.store.folder.glob("*.part")]

        asyncio.run(whole())

    test.__name__ = run.__name__
    return test


def kinds(ends: Ends) -> list[str]:
    """Return the kinds of the messages that the client sent, without FileTaken."""
    return [kind for peer in [ends.client] if peer is not None for kind in peer.kinds() if kind != "FileTaken"]


async def in_pieces(ends: Ends, hash_: str, size: int) -> bytes:
    content = await fetch_content(ends, hash_, size)
    assert isinstance(content, bytearray)
    return bytes(content)


def change(path: Path) -> None:
    """Change one byte in place. The time of change also differs, however coarse the kernel's clock
    is."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes([DATA[1000] ^ 1]))
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))


# -- proof -----------------------------------------------------------------------------------------
def test_a_process_that_can_read_the_token_has_the_proof(tmp_path: Path) -> None:
    offered = offer(tmp_path)
    proved = prove(str(tmp_path))
    assert proved == offered and is_proved(offered, offered.proof)
    assert (tmp_path / nearby.TOKEN).stat().st_mode & 0o777 == 0o600
    assert not is_proved(None, "") and not is_proved(offered, "") and not is_proved(offered, "\udcff")


def test_a_new_offer_voids_the_older_proof(tmp_path: Path) -> None:
    older = offer(tmp_path)
    assert not is_proved(offer(tmp_path), older.proof)


def test_a_machine_that_shares_the_folder_alone_has_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = offer(tmp_path)
    monkeypatch.setattr(nearby, "_boot_id", lambda: b"another machine")
    other = prove(str(tmp_path))
    assert other is not None and not is_proved(offered, other.proof)


def test_no_proof_without_a_token_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prove(str(tmp_path)) is None and prove("") is None and prove("files") is None
    offer(tmp_path)
    with monkeypatch.context() as another:
        another.setattr(os, "geteuid", lambda: 4321)
        assert prove(str(tmp_path)) is None, "the token belongs to another user"
    token = tmp_path / nearby.TOKEN
    token.rename(tmp_path / "moved")
    token.symlink_to(tmp_path / "moved")
    assert prove(str(tmp_path)) is None, "a link may lead anywhere"
    token.unlink()
    token.write_bytes(b"a secret of another length")
    assert prove(str(tmp_path)) is None


# -- to the master ---------------------------------------------------------------------------------
@scenario
async def test_the_file_itself_becomes_the_blob(ends: Ends, value: Path) -> None:
    assert await send_file(ends, value, hash_=HASH, finished=True) == HASH
    assert kinds(ends) == ["SendFile"] and content_of(ends.store, HASH) == DATA
    assert os.path.samefile(value, ends.store.folder / HASH) and value.stat().st_mode & 0o777 == 0o400
    value.unlink()
    assert content_of(DirectoryStore(ends.store.folder), HASH) == DATA, (
        "the master keeps the content after the sender removed its file, and after a restart"
    )


@scenario
async def test_a_file_that_a_job_may_change_is_sent(ends: Ends, value: Path) -> None:
    await send_file(ends, value, hash_=HASH)
    assert "FilePiece" in kinds(ends) and not os.path.samefile(value, ends.store.folder / HASH)


@scenario
async def test_a_sender_without_proof_is_not_believed(ends: Ends, value: Path) -> None:
    assert ends.nearby is not None
    ends.nearby = Nearby(ends.nearby.folder, "0" * 64)
    await send_file(ends, value, hash_=HASH, finished=True)
    assert "FilePiece" in kinds(ends) and not os.path.samefile(value, ends.store.folder / HASH)
    assert isinstance(await fetch_content(ends, HASH, len(DATA)), bytearray)


@scenario
async def test_a_file_that_is_open_for_writing_is_sent(ends: Ends, value: Path) -> None:
    with value.open("r+b"):
        await send_file(ends, value, hash_=HASH, finished=True)
    assert "FilePiece" in kinds(ends) and not os.path.samefile(value, ends.store.folder / HASH)


@scenario
async def test_a_file_that_is_mapped_for_writing_is_sent(ends: Ends, value: Path) -> None:
    with value.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    await send_file(ends, value, hash_=HASH, finished=True)
    mapped.close()
    assert not os.path.samefile(value, ends.store.folder / HASH)


@scenario
async def test_the_master_does_not_hash_what_a_worker_has_hashed(ends: Ends, value: Path) -> None:
    ends.role = "worker"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory, "_hash_of", lambda fd: "it was hashed")
        assert await send_file(ends, value, hash_=HASH, finished=True, hashed=seal_of(str(value))) == HASH
    assert os.path.samefile(value, ends.store.folder / HASH) and content_of(ends.store, HASH) == DATA
    opened = await fetch_content(ends, HASH, len(DATA))
    assert isinstance(opened, NearbyFile) and opened.read() == DATA and opened.is_intact()
    opened.close()


@scenario
async def test_a_file_that_was_changed_after_its_worker_hashed_it_is_refused(ends: Ends, value: Path) -> None:
    ends.role, hashed = "worker", seal_of(str(value))
    change(value)
    with pytest.raises(CallerError, match="content that does not match its hash"):
        await send_file(ends, value, hash_=HASH, finished=True, hashed=hashed)
    assert not ends.store.has(HASH)


@scenario
async def test_the_master_hashes_what_a_client_has_hashed(ends: Ends, value: Path) -> None:
    change(value)
    with pytest.raises(CallerError, match="content that does not match its hash"):
        await send_file(ends, value, hash_=HASH, finished=True, hashed=seal_of(str(value)))
    assert not ends.store.has(HASH)


@scenario
async def test_a_file_whose_worker_was_cut_off_is_hashed_when_it_is_sent_again(ends: Ends, value: Path) -> None:
    """A master that took the file before the disconnect has made it read-only and changed its time
    of change. So the seal no longer matches."""
    ends.role, hashed = "worker", seal_of(str(value))
    value.chmod(0o400)
    os.utime(value, ns=(0, hashed.mtime_ns + 1))
    assert await send_file(ends, value, hash_=HASH, finished=True, hashed=hashed) == HASH
    assert os.path.samefile(value, ends.store.folder / HASH) and content_of(ends.store, HASH) == DATA


@scenario
async def test_a_file_with_another_content_is_refused(ends: Ends, value: Path) -> None:
    change(value)
    with pytest.raises(CallerError, match="content that does not match its hash"):
        await send_file(ends, value, hash_=HASH, finished=True)
    assert not ends.store.has(HASH)


def test_a_link_or_an_irregular_file_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, value = DirectoryStore(tmp_path / "store", spare_bytes=0), tmp_path / "value"
    value.write_bytes(DATA)
    link = tmp_path / "link"
    link.symlink_to(value)
    os.mkfifo(tmp_path / "fifo")
    for path in (link, tmp_path / "fifo", tmp_path, tmp_path / "gone"):
        assert not store.take(str(path), len(DATA), HASH), path
    assert not store.take(str(value), len(DATA) - 1, HASH) and not store.take(str(value), len(DATA), "../value")
    assert not store.take(os.path.relpath(value), len(DATA), HASH)
    with monkeypatch.context() as another:
        another.setattr(os, "geteuid", lambda: 4321)
        assert not store.take(str(value), len(DATA), HASH), "a file of another user"
    with monkeypatch.context() as mounted:
        mounted.setattr(os, "link", _refusing(errno.EXDEV))
        assert not store.take(str(value), len(DATA), HASH), "on another file system"
    assert os.listdir(store.folder) == []


def test_a_full_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = tmp_path / "value"
    value.write_bytes(DATA)
    with pytest.raises(EnvironmentFault, match="full"):
        DirectoryStore(tmp_path / "spare", spare_bytes=1 << 60).take(str(value), len(DATA), HASH)
    store = DirectoryStore(tmp_path / "store", spare_bytes=0)
    monkeypatch.setattr(os, "link", _refusing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        store.take(str(value), len(DATA), HASH)
    assert os.listdir(store.folder) == [] and value.read_bytes() == DATA


def _refusing(code: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("at", ["link", "rename"])
def test_a_master_that_is_killed_at_the_hand_over_has_a_whole_blob_or_none(tmp_path: Path, at: str) -> None:
    """The process kills itself when the call `at` has returned."""
    value = tmp_path / "value"
    value.write_bytes(DATA)
    program = f"""if True:
        import os, signal
        from pathlib import Path
        from titan.content.directory import DirectoryStore
        place = os if {at!r} == "link" else Path
        real = getattr(place, {at!r})
        def last(*args, **options):
            real(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(place, {at!r}, last)
        DirectoryStore(Path({str(tmp_path / "store")!r}), spare_bytes=0).take({str(value)!r}, {len(DATA)}, {HASH!r})
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    store = DirectoryStore(tmp_path / "store", spare_bytes=0)
    assert os.listdir(store.folder) == ([HASH] if at == "rename" else [])
    assert store.touch(HASH) or store.take(str(value), len(DATA), HASH), "its sender sends it again"
    assert content_of(store, HASH) == DATA and os.listdir(store.folder) == [HASH]


# -- from the master -------------------------------------------------------------------------------
@scenario
async def test_the_client_opens_the_blob_in_the_masters_home(ends: Ends, value: Path) -> None:
    put(ends.store, HASH, DATA)
    file = await fetch_content(ends, HASH, len(DATA))
    assert isinstance(file, NearbyFile) and [type(m) for m, _ in ends.said()] == [msg.FileHere]
    (ends.store.folder / HASH).unlink()
    assert value_of(JobState.COMPLETED, RETURNED_AT, "", file) == pickle.loads(DATA), "removed meanwhile, and readable"
    assert file.file.closed


@scenario
async def test_small_content_and_downloads_into_a_file_come_over_the_connection(ends: Ends, value: Path) -> None:
    put(ends.store, HASH, DATA)
    small = DATA[:SMALL_BYTES]
    put(ends.store, hashlib.sha256(small).hexdigest(), small)
    assert await in_pieces(ends, hashlib.sha256(small).hexdigest(), len(small)) == small
    assert await fetch_data(ends, HASH, len(DATA)) == DATA


@scenario
async def test_a_changed_blob_is_not_handed_over(ends: Ends, value: Path) -> None:
    await send_file(ends, value, hash_=HASH, finished=True)
    change(value)
    with pytest.raises(DamagedCopy):
        await fetch_content(ends, HASH, len(DATA))


@scenario
async def test_a_touch_does_not_hide_a_change(ends: Ends, value: Path) -> None:
    put(ends.store, HASH, DATA)
    assert ends.store.touch(HASH) and ends.store.seal(HASH) is not None
    change(ends.store.folder / HASH)
    assert ends.store.touch(HASH) and ends.store.seal(HASH) is None


@scenario
async def test_a_blob_that_the_client_finds_changed_is_fetched_and_hashed(ends: Ends, value: Path) -> None:
    put(ends.store, HASH, DATA)
    sealed = ends.store.seal(HASH)
    assert sealed is not None
    ends.store.seal = lambda hash_: Seal(sealed.inode, sealed.size, 1)  # type: ignore[method-assign]
    assert await in_pieces(ends, HASH, len(DATA)) == DATA
    assert kinds(ends) == ["FetchFile", "FetchFile"]


@scenario
async def test_a_blob_of_an_earlier_process_comes_over_the_connection(ends: Ends, value: Path) -> None:
    put(DirectoryStore(ends.store.folder), HASH, DATA)
    assert await in_pieces(ends, HASH, len(DATA)) == DATA


@scenario
async def test_a_value_that_changes_while_it_is_read_is_noticed(ends: Ends, value: Path) -> None:
    put(ends.store, HASH, DATA)
    for harmless in (True, False):
        file = await fetch_content(ends, HASH, len(DATA))
        assert isinstance(file, NearbyFile)
        if harmless:
            os.utime(ends.store.folder / HASH, (1.0, 1.0))
            assert value_of(JobState.COMPLETED, RETURNED_AT, "", file) == pickle.loads(DATA)
            assert ends.store.touch(HASH)
            (ends.store.folder / HASH).unlink()
            put(ends.store, HASH, DATA)
        else:
            change(ends.store.folder / HASH)
            with pytest.raises(DamagedCopy):
                value_of(JobState.COMPLETED, RETURNED_AT, "", file)


def test_only_the_newest_seals_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "SEALS", 2)
    store = DirectoryStore(tmp_path, spare_bytes=0)
    hashes = [hashlib.sha256(data).hexdigest() for data in (b"1", b"2", b"3")]
    for hash_, data in zip(hashes, (b"1", b"2", b"3"), strict=True):
        put(store, hash_, data)
    assert [store.seal(hash_) is not None for hash_ in hashes] == [False, True, True]
