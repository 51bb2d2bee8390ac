"""The cache of files: placing files into folders, collecting outputs, the limit, and changed
files."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from titan.errors import LimitExceeded, PeerError
from titan.model.dag import JobTemplate
from titan.model.files import FILE, FOLDER, PROGRAM, StoredFile
from titan.worker.files.cache import LEND_FROM, TAKE_BACK_FROM, FileCache, cache_size
from titan.worker.files.left_files import OutputMissing

LARGE = bytes(TAKE_BACK_FROM + 1)


def leaves(*paths: str) -> JobTemplate:
    """Return the template of a job whose outputs are named by their paths."""
    return JobTemplate(command="x", outputs=tuple((path, path) for path in paths))


def entered(cache: FileCache, content: bytes) -> str:
    _, part = cache.new_part()
    part.write_bytes(content)
    hash_ = hashlib.sha256(content).hexdigest()
    cache.enter(part, hash_)
    return hash_


def test_a_job_gets_private_copies_of_its_files(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    large, small = entered(cache, LARGE), entered(cache, b"small")
    files = (StoredFile("in/large", large, len(LARGE)), StoredFile("small", small, 5), StoredFile("bin/x", small, 5, PROGRAM))
    given = cache.give(files, str(folder))
    assert [(folder / f.name).stat().st_mode & 0o777 for f in files] == [0o444, 0o444, 0o555]
    for file in files:
        path = folder / file.name
        path.chmod(0o644)
        path.write_bytes(b"changed")
    assert cache.is_intact(large) and cache.is_intact(small)
    assert cache.path(large).read_bytes() == LARGE and cache.path(small).read_bytes() == b"small"
    cache.take_back(given)
    assert not (folder / "in/large").exists() and (folder / "small").exists()


def test_on_a_full_disk_a_job_gets_the_cached_file_itself_and_a_change_is_found(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small disk is needed, and so the right to mount one")
    try:
        cache, folder = FileCache(disk / "files"), disk / "job"
        folder.mkdir()
        content = os.urandom(2 << 20)
        hash_ = entered(cache, content)
        for changed in (False, True):
            given = cache.give((StoredFile("a", hash_, len(content)),), str(folder))
            assert (folder / "a").samefile(cache.path(hash_))
            about = (folder / "a").stat()
            if changed:
                (folder / "a").chmod(0o644)
                with (folder / "a").open("r+b") as file:
                    file.write(b"changed")
                (folder / "a").chmod(0o444)
                os.utime(folder / "a", ns=(about.st_atime_ns, about.st_mtime_ns))
            cache.take_back(given)
            assert not (folder / "a").exists()
            assert not cache.is_intact(hash_) and cache.is_unsure(hash_)
            assert cache.verify(hash_) is not changed
            assert cache.is_intact(hash_) is not changed
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_very_large_file_is_lent_to_one_job_at_a_time_and_checked_on_return(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "files")
    content = os.urandom(LEND_FROM)
    hash_ = entered(cache, content)
    files = (StoredFile("a", hash_, len(content)),)
    folders = [tmp_path / str(n) for n in range(3)]
    for folder in folders:
        folder.mkdir()
    lent, copied, after = [cache.give(files, str(folder), {hash_} if n != 1 else ()) for n, folder in enumerate(folders)]
    assert [(folder / "a").samefile(cache.path(hash_)) for folder in folders] == [True, False, False]
    assert cache.is_lent(hash_) and not cache.is_intact(hash_) and not cache.verify(hash_), "somebody has it"
    cache.take_back((*copied, *after, *lent))
    assert not cache.is_lent(hash_) and not any((folder / "a").exists() for folder in folders)
    assert cache.verify(hash_) and cache.is_intact(hash_)
    (lent,) = [cache.give(files, str(folders[0]), {hash_})]
    (folders[0] / "a").chmod(0o644)
    with (folders[0] / "a").open("r+b") as file:
        file.write(b"changed")
        file.flush()
        with pytest.raises(PeerError, match="was changed by a job that has it"):
            cache.give(files, str(folders[1]), ())
    assert not (folders[1] / "a").exists() and not cache.path(hash_).exists()


def test_a_lent_file_that_can_still_be_changed_is_not_taken_back(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    hash_ = entered(cache, bytes(LEND_FROM))
    given = cache.give((StoredFile("a", hash_, LEND_FROM),), str(folder), {hash_})
    os.rename(folder / "a", folder / "b")
    cache.take_back(given)
    assert not cache.verify(hash_), "it has another name"
    (folder / "b").chmod(0o644)
    with (folder / "b").open("r+b"):
        (folder / "b").unlink()
        assert not cache.verify(hash_), "it is open for writing"
    assert cache.verify(hash_)


def test_a_change_between_two_processes_is_found(tmp_path: Path) -> None:
    hash_ = entered(FileCache(tmp_path / "files"), b"as it came")
    again = FileCache(tmp_path / "files")
    assert again.is_unsure(hash_) and again.verify(hash_) and again.is_intact(hash_)
    path = again.path(hash_)
    about = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"as it Came")
    path.chmod(0o444)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert not again.is_intact(hash_), "a process cannot set back the time of change"
    third = FileCache(tmp_path / "files")
    assert third.is_unsure(hash_) and not third.verify(hash_) and not third.is_intact(hash_)


def test_an_output_that_is_still_open_for_writing_is_copied(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    for name in ("open", "mapped", "read"):
        (folder / name).write_bytes(b"written")
    with (folder / "open").open("r+b") as writer, (folder / "read").open("rb") as _, (folder / "mapped").open("r+b") as file:
        pages = mmap.mmap(file.fileno(), 7)
        file.close()
        before = (folder / "read").stat().st_ino
        left = cache.take_outputs(leaves("open", "mapped", "read"), str(folder))
        writer.write(b"changed")
        writer.flush()
        pages[:] = b"changed"
        assert [one.path.read_bytes() for one in left] == [b"written"] * 3
        assert left[2].path.stat().st_ino == before, "this one was moved"
        pages.close()


def test_an_existing_file_or_folder_is_replaced(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    (folder / "a").mkdir(parents=True)
    hash_ = entered(cache, b"new")
    cache.give((StoredFile("a", hash_, 3),), str(folder))
    assert (folder / "a").read_bytes() == b"new"


def test_outputs_are_moved_unless_they_are_shared(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    (folder / "d/sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "linked").write_text("l")
    os.link(folder / "linked", tmp_path / "other")
    (folder / "run").write_text("#!/bin/sh")
    (folder / "run").chmod(0o755)
    (folder / "d/sub/.git").mkdir()
    (folder / "d/sub/f").write_text("f")
    left = cache.take_outputs(
        JobTemplate(command="x", outputs=(("a", "a"), ("l", "linked"), ("r", "run"), ("d", "d"))), str(folder)
    )
    assert [(one.name, one.kind) for one in left] == [("a", FILE), ("l", FILE), ("r", PROGRAM), ("d", FOLDER)]
    assert not (folder / "a").exists() and (folder / "linked").exists()
    hash_ = hashlib.sha256(left[3].path.read_bytes()).hexdigest()
    cache.enter(left[3].path, hash_)
    cache.copy_to(hash_, str(tmp_path / "out"), FOLDER)
    assert (tmp_path / "out/sub/f").read_text() == "f" and (tmp_path / "out/sub/.git").is_dir()
    (again,) = cache.take_outputs(leaves("d"), str(folder))
    # the same content has the same bytes
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == hash_


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "was not written"),
        (lambda f: (f / "o").symlink_to("/etc/hostname"), "leads out"),
        (lambda f: (f / "o").symlink_to("gone"), "was not written"),
        (lambda f: (f / "o").symlink_to("/proc/self/fd/0"), "leads out"),
        (lambda f: (f / "o").symlink_to("../files"), "leads out"),
        (lambda f: os.mkfifo(f / "o"), "neither a file nor a folder"),
    ],
)
def test_invalid_outputs_are_refused(tmp_path: Path, make: object, words: str) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    (folder / "first").write_text("x")
    make(folder)  # type: ignore[operator]
    with pytest.raises(OutputMissing, match=words):
        cache.take_outputs(leaves("first", "o"), str(folder))
    assert not list((tmp_path / "files").iterdir())


def test_files_that_match_are_taken_in_order(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    (folder / "p/deep").mkdir(parents=True)
    for name in ("p/b.csv", "p/a.csv", "p/.hidden.csv", "p/x.txt", "p/deep/c.csv"):
        (folder / name).write_text(name)
    (folder / "p/out").symlink_to("/etc")
    job = JobTemplate(command="x", outputs=(("one", "p/a.csv"), ("parts", "p/*.csv"), ("deep", "**/*.csv"), ("none", "*.z")))
    with pytest.raises(OutputMissing, match=r"'none' \(\*\.z\): no file matches: write one, or make the output optional"):
        cache.take_outputs(job, str(folder))
    left = cache.take_outputs(replace(job, optional_outputs=("none",)), str(folder))
    assert [(one.name, one.of) for one in left] == [
        ("one", ""),
        *((f"parts/{name}", "parts") for name in ("a.csv", "b.csv")),
        *((f"deep/p/{name}", "deep") for name in ("a.csv", "b.csv", "deep/c.csv")),
    ]
    assert [one.path.read_text()[-5:] for one in left[:3]] == ["a.csv", "a.csv", "b.csv"]
    with pytest.raises(OutputMissing, match="leads out"):
        cache.take_outputs(leaves("p/out*"), str(folder))


def test_too_many_files_that_match_are_refused(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    for i in range(1001):
        (folder / f"{i}.x").touch()
    with pytest.raises(LimitExceeded, match="1,001 files match; the limit for the outputs of a job is 1,000: use a folder"):
        cache.take_outputs(leaves("*.x"), str(folder))
    (folder / "bad\n.y").touch()
    with pytest.raises(OutputMissing, match="an output's name is 1 to 256 printable characters"):
        cache.take_outputs(leaves("*.y"), str(folder))


def test_above_the_limit_the_oldest_files_are_removed_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "files", most_bytes=25)
    hashes = [entered(cache, bytes([n]) * 10) for n in range(3)]
    cache.use(hashes[0])
    assert cache.make_room(lambda: [hashes[1]]) == [hashes[2]]
    assert cache.bytes == 20 and set(cache.all()) == {hashes[0], hashes[1]}
    again = FileCache(tmp_path / "files", most_bytes=25)
    assert again.bytes == 20 and set(again.all()) == {hashes[0], hashes[1]}
    assert FileCache(tmp_path / "files", distrusted=True).all() == []
    assert cache_size("2GiB") == 2 << 30
    with pytest.raises(ValueError, match="at least"):
        cache_size("1")


def test_a_changed_file_is_detected(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "files")
    hash_ = entered(cache, b"as it came")
    assert cache.is_intact(hash_) and not cache.is_intact("0" * 64)
    path = cache.path(hash_)
    path.chmod(0o644)
    path.write_bytes(b"something else")
    assert not cache.is_intact(hash_)
