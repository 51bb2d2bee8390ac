"""The cache of files: into folders and out of them, its limit, and files that were changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from titan.model.files import FILE, FOLDER, PROGRAM, StoredFile
from titan.worker.file_cache import COPY_BELOW, FileCache, OutputMissing, cache_size

LARGE = bytes(COPY_BELOW + 1)


def entered(cache: FileCache, content: bytes) -> str:
    _, part = cache.new_part()
    part.write_bytes(content)
    hash_ = hashlib.sha256(content).hexdigest()
    cache.enter(part, hash_)
    return hash_


def test_large_files_are_shared_and_small_ones_copied(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    large, small = entered(cache, LARGE), entered(cache, b"small")
    files = (StoredFile("in/large", large, len(LARGE)), StoredFile("small", small, 5), StoredFile("bin/x", small, 5, PROGRAM))
    given = cache.give(files, str(folder))
    assert (folder / "in/large").stat().st_ino == cache.path(large).stat().st_ino or not given
    assert (folder / "small").stat().st_ino != cache.path(small).stat().st_ino
    assert [(folder / f.name).stat().st_mode & 0o777 for f in files] == [0o444, 0o444, 0o555]
    cache.take_back(given)
    assert not given or not (folder / "in/large").exists()
    assert (folder / "small").read_bytes() == b"small"


def test_what_lies_there_already_is_replaced(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    (folder / "a").mkdir(parents=True)
    hash_ = entered(cache, b"new")
    cache.give((StoredFile("a", hash_, 3),), str(folder))
    assert (folder / "a").read_bytes() == b"new"


def test_outputs_are_moved_unless_somebody_else_has_them(tmp_path: Path) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    (folder / "d/sub").mkdir(parents=True)
    (folder / "a").write_text("a")
    (folder / "linked").write_text("l")
    os.link(folder / "linked", tmp_path / "other")
    (folder / "run").write_text("#!/bin/sh")
    (folder / "run").chmod(0o755)
    (folder / "d/sub/.git").mkdir()
    (folder / "d/sub/f").write_text("f")
    paths = [("a", "a"), ("l", "linked"), ("r", "run"), ("d", "d")]
    left = cache.take_outputs(paths, str(folder))
    assert [(one.name, one.kind) for one in left] == [("a", FILE), ("l", FILE), ("r", PROGRAM), ("d", FOLDER)]
    assert not (folder / "a").exists() and (folder / "linked").exists()
    hash_ = hashlib.sha256(left[3].path.read_bytes()).hexdigest()
    cache.enter(left[3].path, hash_)
    cache.copy_to(hash_, str(tmp_path / "out"), FOLDER)
    assert (tmp_path / "out/sub/f").read_text() == "f" and (tmp_path / "out/sub/.git").is_dir()
    (again,) = cache.take_outputs([("d", "d")], str(folder))
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == hash_  # the same content, the same bytes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "was not written"),
        (lambda f: (f / "o").symlink_to("/etc/hostname"), "leads out"),
        (lambda f: (f / "o").symlink_to("gone"), "was not written"),
        (lambda f: os.mkfifo(f / "o"), "neither a file nor a folder"),
    ],
)
def test_outputs_that_cannot_be_taken(tmp_path: Path, make: object, words: str) -> None:
    cache, folder = FileCache(tmp_path / "files"), tmp_path / "job"
    folder.mkdir()
    (folder / "first").write_text("x")
    make(folder)  # type: ignore[operator]
    with pytest.raises(OutputMissing, match=words):
        cache.take_outputs([("first", "first"), ("o", "o")], str(folder))
    assert not list((tmp_path / "files").iterdir())


def test_the_limit(tmp_path: Path) -> None:
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


def test_a_file_that_was_changed_shows(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "files")
    hash_ = entered(cache, b"as it came")
    assert cache.is_intact(hash_) and not cache.is_intact("0" * 64)
    path = cache.path(hash_)
    path.chmod(0o644)
    path.write_bytes(b"something else")
    assert not cache.is_intact(hash_)
