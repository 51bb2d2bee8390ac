"""A blob store in a directory: uploads and how they resume, room on the disk, removal of blobs, and
homes of older versions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.content import content_of, hash_of
from titan.content.blobs import BlobStore, Removed, put, put_from
from titan.content.directory import PART_S, DirectoryStore
from titan.content.files import FileReader
from titan.errors import CallerError, EnvironmentFault, NotFound

KEY = "0" * 32


def stored(store: BlobStore, data: bytes, *, aged: bool = False) -> str:
    hash_ = hash_of(data)
    put(store, hash_, data)
    if aged:
        assert isinstance(store, DirectoryStore)
        os.utime(store.folder / hash_, (1.0, 1.0))
    return hash_


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "files")


# -- parts -----------------------------------------------------------------------------------------
def test_a_part_becomes_a_blob_when_it_is_whole(store: DirectoryStore) -> None:
    part = store.open_part(KEY, 6)
    part.write([b"abc"])
    part.write([memoryview(b"de"), b"f"])
    assert (part.written, store.has(hash_of(b"abcdef"))) == (6, False)
    part.finish(hash_of(b"abcdef"))
    assert content_of(store, hash_of(b"abcdef")) == b"abcdef" and os.listdir(store.folder) == [hash_of(b"abcdef")]
    assert DirectoryStore(store.folder).has(hash_of(b"abcdef")), "a restart finds it"


@pytest.mark.parametrize(("data", "size"), [(b"abx", 3), (b"ab", 3), (b"", 3)])
def test_a_part_whose_content_does_not_match_its_hash_is_dropped(store: DirectoryStore, data: bytes, size: int) -> None:
    part = store.open_part(KEY, size)
    part.write([data])
    with pytest.raises(CallerError, match="send it again"):
        part.finish(hash_of(b"abc"))
    assert os.listdir(store.folder) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_parked_part_continues_at_its_offset(store: DirectoryStore, restarted: bool) -> None:
    part = store.open_part(KEY, 6)
    part.write([b"abc"])
    part.park()
    part.park()
    again = (DirectoryStore(store.folder) if restarted else store).open_part(KEY, 6)
    assert again.written == 3
    again.write([b"def"])
    again.finish(hash_of(b"abcdef"))
    assert store.has(hash_of(b"abcdef"))


def test_a_part_goes_on_with_no_more_than_its_size(store: DirectoryStore) -> None:
    """Another sender may have chosen the same key for a smaller upload."""
    part = store.open_part(KEY, 6)
    part.write([b"abcdef"])
    part.park()
    again = store.open_part(KEY, 3)
    assert again.written == 3
    again.finish(hash_of(b"abc"))
    assert content_of(store, hash_of(b"abc")) == b"abc"


def test_a_write_that_failed_half_way_is_read_again(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    part = store.open_part(KEY, 6)
    part.write([b"abc"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            part.write([b"def"])
    part.park()
    again = store.open_part(KEY, 6)
    assert again.written == 3
    again.write([b"def"])
    again.finish(hash_of(b"abcdef"))


def test_an_invalid_upload_key_is_refused(store: DirectoryStore) -> None:
    for key in ("../x", "", "0" * 15, "0" * 65, "G" * 32):
        with pytest.raises(CallerError, match="is not the key of an upload"):
            store.open_part(key, 1)


def test_parts_stay_for_a_day(store: DirectoryStore) -> None:
    for letter in "abc":
        store.open_part(letter * 32, 4).write([b"half"])
    opened = [store._open[letter * 32] for letter in "abc"]
    opened[0].park()
    opened[1].park()
    old, new, active = (store.folder / f"{letter * 32}.part" for letter in "abc")
    for part in (old, active):
        os.utime(part, (time.time() - PART_S - 1,) * 2)
    store.sweep_parts()
    assert (old.exists(), new.exists(), active.exists()) == (False, True, True)
    opened[2].park()
    os.utime(active, (time.time() - PART_S - 1,) * 2)
    DirectoryStore(store.folder)
    assert new.exists() and not active.exists(), "a start sweeps"


def test_a_full_disk_is_an_environment_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="is full"):
        DirectoryStore(tmp_path / "a", spare_bytes=1 << 62).open_part(KEY, 1)
    disk = os.statvfs(tmp_path)
    store = DirectoryStore(tmp_path / "b")
    most = disk.f_bavail * disk.f_frsize * 2 // 3
    first = store.open_part(KEY, most)
    with pytest.raises(EnvironmentFault, match="is full"):
        store.open_part("1" * 32, most)  # the first part has reserved the room
    first.discard()
    store.open_part("1" * 32, most).discard()
    assert os.listdir(store.folder) == []


# -- blobs -----------------------------------------------------------------------------------------
def test_content_that_is_not_stored_is_not_found(store: DirectoryStore) -> None:
    for hash_ in ("a" * 64, "../x", "", "A" * 64):
        assert not store.has(hash_) and not store.touch(hash_)
        with pytest.raises(NotFound, match="run the job that made it again"):
            store.open(hash_)


def test_content_is_stored_from_a_file(store: DirectoryStore, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "source").write_bytes(data)
    assert put_from(store, FileReader(tmp_path / "source")) == hash_of(data)
    assert content_of(store, hash_of(data)) == data and list(store.sizes()) == [(hash_of(data), len(data))]


def test_an_unreferenced_blob_is_removed_unless_it_was_touched_recently(store: DirectoryStore) -> None:
    a, b, c = (stored(store, data, aged=True) for data in (b"a", b"bb", b"ccc"))
    new = stored(store, b"new")
    assert store.touch(c)
    assert store.remove_unreferenced({b}, before=time.time() - 60) == Removed(1, 1)
    assert [store.has(hash_) for hash_ in (a, b, c, new)] == [False, True, True, True]
    assert store.remove_unreferenced(set(), before=time.time() + 60) == Removed(3, 8)
    assert os.listdir(store.folder) == []


def test_the_end_of_a_part_counts_and_not_when_its_last_piece_came(store: DirectoryStore) -> None:
    part = store.open_part(KEY, 3)
    part.write([b"abc"])
    os.utime(store.folder / f"{KEY}.part", (1.0, 1.0))
    part.finish(hash_of(b"abc"))
    assert store.remove_unreferenced(set(), before=time.time() - 60) == Removed(0, 0)


def test_a_touch_waits_while_a_blob_is_removed(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """`touch` waits while a blob is removed, and then returns that the blob is gone."""
    hash_ = stored(store, b"a", aged=True)
    real, answers = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        assert store._lock.locked(), "a touch would be lost"
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert store.remove_unreferenced(set(), before=time.time()) == Removed(1, 1)
    answers.append(store.touch(hash_))
    assert answers == [False]


def test_an_interrupted_removal_continues_at_the_next_start(store: DirectoryStore) -> None:
    (store.folder / f"{'a' * 64}.gone").write_bytes(b"x")
    DirectoryStore(store.folder)
    assert os.listdir(store.folder) == []


# -- older homes -----------------------------------------------------------------------------------
def older_home(home: Path) -> dict[str, bytes]:
    """Make a home of an older Titan, which stored content in two places. Some content is in both
    places, and one upload is incomplete."""
    objects, files = home / "perm_files" / ".objects", home / "files"
    objects.mkdir(parents=True)
    files.mkdir()
    datas = [b"script %d" % n for n in range(6)]
    for data in datas[:4]:
        (objects / hash_of(data)).write_bytes(data)
    for data in datas[3:]:
        (files / hash_of(data)).write_bytes(data)
    (objects / f"{hash_of(b'half')}.0011.part").write_bytes(b"ha")
    return {hash_of(data): data for data in datas}


def test_the_content_of_an_older_home_is_found(tmp_path: Path) -> None:
    datas = older_home(tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1.0, 1.0))
    store = DirectoryStore(tmp_path / "files")
    assert store.adopt(tmp_path / "perm_files" / ".objects") == 4
    assert {hash_: content_of(store, hash_) for hash_, _ in store.sizes()} == datas
    assert os.listdir(tmp_path / "perm_files") == []
    assert store.adopt(tmp_path / "perm_files" / ".objects") == 0
    assert store.remove_unreferenced(set(), before=time.time() - 60).blobs == 2, (
        "the grace period of adopted content begins with the adoption"
    )


KILLED = """
import os, sys
from pathlib import Path
from titan.content.directory import DirectoryStore
home, left = Path(sys.argv[1]), int(sys.argv[2])
def dying(real):
    def step(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*args, **kwargs)
    return step
for name in ("rename", "unlink", "utime", "rmdir", "fsync"):
    setattr(os, name, dying(getattr(os, name)))
DirectoryStore(home / "files").adopt(home / "perm_files" / ".objects")
"""


def test_a_master_that_is_killed_while_it_takes_over_an_older_home_loses_nothing(tmp_path: Path) -> None:
    ends = []
    for step in range(40):
        home = tmp_path / str(step)
        datas = older_home(home)
        ends.append(subprocess.run([sys.executable, "-c", KILLED, home, str(step)], timeout=60, check=False).returncode)
        store = DirectoryStore(home / "files")
        store.adopt(home / "perm_files" / ".objects")
        assert {hash_: content_of(store, hash_) for hash_, _ in store.sizes()} == datas, step
        assert not (home / "perm_files" / ".objects").exists()
        if not ends[-1]:
            break
    assert ends[-1] == 0 and ends[:-1] == [9] * (len(ends) - 1) and len(ends) > 10, ends


def test_an_older_home_whose_content_lies_on_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datas = older_home(tmp_path)
    store = DirectoryStore(tmp_path / "files")
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(18, "Invalid cross-device link")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert store.adopt(tmp_path / "perm_files" / ".objects") == 4
    assert {hash_: content_of(store, hash_) for hash_, _ in store.sizes()} == datas
