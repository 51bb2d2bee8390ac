"""Project archives of random bytes. Nothing is written outside of the folder, and nothing is left
after a refusal."""

from __future__ import annotations

import io
import os
import random
import sys
import tarfile
import tempfile
from pathlib import Path

import zstandard

from fuzz.harness import Fuzzer, damaged, main
from titan.content.archive import unpack_archive
from titan.errors import InvalidGraph, LimitExceeded
from titan.host.remove_folder import remove_folder

MAX_BYTES, MAX_MEMBERS = 4 * 1024 * 1024, 200
NAMES = (
    *("a", "b/c", "b", "b/c/d", "../up", "/abs", "a/../b", ".", "..", "", "a/", "./a", "ü", "x" * 255, "x" * 256, "a/" * 2000),
    *("a\0b", "a\nb", "\x1b[2Ja", "\udcff", "CON", "a//b", "b/c/../../../e"),
)
TARGETS = ("a", "b", "..", "../..", "/etc/passwd", "/proc/self/environ", "b/c", ".", "", "a/../..", "x" * 5000, "\0")
KINDS = (
    *(tarfile.REGTYPE, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE),
    *(tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE, b"Z"),
)
PAX = ({"size": "99999999999"}, {"path": "../x"}, {"GNU.sparse.major": "1"}, {"mtime": "nan"})
SIZES = (0, 1, 511, 512, 513, 5000, 70_000)


def make(rng: random.Random) -> bytes:
    tar = _tar(rng)
    if rng.random() < 0.4:
        tar = damaged(rng, tar)
    packed = _pack(rng, tar)
    return damaged(rng, packed) if rng.random() < 0.3 else packed


def run(data: bytes) -> None:
    folder = Path(tempfile.mkdtemp(prefix="titan-fuzz-"))
    try:
        (folder / "archive").write_bytes(data)
        into = folder / "inner" / "into"
        into.parent.mkdir()
        try:
            unpack_archive(folder / "archive", into, max_bytes=MAX_BYTES, max_members=MAX_MEMBERS)
        except (InvalidGraph, LimitExceeded):
            assert not any(into.iterdir()), "a refused archive left something"
            raise
        finally:
            assert sorted(os.listdir(folder)) == ["archive", "inner"], "something was written outside"
            assert os.listdir(folder / "inner") == ["into"], "something was written outside"
        _check_inside(into)
    finally:
        remove_folder(folder)


def _check_inside(into: Path) -> None:
    root, total = os.path.realpath(into), 0
    for path in (Path(folder, name) for folder, folders, files in os.walk(into) for name in folders + files):
        status = path.lstat()
        if path.is_symlink():
            leads_to = os.path.realpath(path)
            assert leads_to == root or leads_to.startswith(root + "/"), f"{path} leads to {leads_to}"
        assert path.is_symlink() or path.is_dir() or path.is_file(), f"{path} is a special file"
        assert status.st_mode & 0o7000 == 0, f"{path} is setuid, setgid or sticky"
        total += 0 if path.is_dir() else status.st_size
    assert total <= MAX_BYTES + 4096 * MAX_MEMBERS


def _tar(rng: random.Random) -> bytes:
    out = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for _ in range(rng.choice((0, 1, 2, 5, 20, 250))):
            info = tarfile.TarInfo(rng.choice(NAMES))
            info.type = rng.choice(KINDS)
            info.linkname = rng.choice(TARGETS)
            info.mode = rng.choice((0o644, 0o755, 0o4755, 0o1777, 0))
            info.mtime = rng.choice((0, 1e9, -5, 2**40))
            size = rng.choice(SIZES) if info.isreg() else 0
            info.size = size
            if form == tarfile.PAX_FORMAT and rng.random() < 0.1:
                info.pax_headers = rng.choice(
                    ({"size": "99999999999"}, {"path": "../x"}, {"GNU.sparse.major": "1"}, {"mtime": "nan"})
                )
            try:
                tar.addfile(info, io.BytesIO(rng.randbytes(size)) if size else None)
            except (ValueError, UnicodeError):  # this format cannot hold such a name
                continue
    return out.getvalue()


def _pack(rng: random.Random, tar: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            return tar
        case 1:  # a bomb: zeros compress to almost nothing
            return zstandard.compress(tar + bytes(MAX_BYTES * 3))
        case 2:
            return zstandard.compress(tar) + zstandard.compress(tar)
        case _:
            return zstandard.ZstdCompressor(level=1, write_checksum=rng.random() < 0.5).compress(tar)


FUZZER = Fuzzer("archives", make, run, (InvalidGraph, LimitExceeded))

if __name__ == "__main__":
    sys.exit(main(FUZZER))
