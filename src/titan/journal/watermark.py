"""The watermark: a small file that says how far the journal had been synced, apart from the journal
itself.

Owns that file. It must not know records.

    magic `TITANSYN` | format version u16 | synced_seq u64 | segment u64 | term u64 | CRC32 u32 of
    all before

`synced_seq` is a sequence that was durable in the segments when this was written, `segment` the
first sequence of the one that was current. So a journal that ends before `synced_seq`, or whose
last segment is older than `segment`, has lost something.

It is written when a segment is begun and when the journal is closed, and synced then; else at most
once a second, also while nothing is appended, without a sync of its own. So under `always` it
proves after kill -9 what was acknowledged up to a second before, and after a loss of power what was
acknowledged before the kernel last wrote it back. Under the other policies it proves the same of
what was synced. It never says more than is true.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

from titan.journal import files

NAME = "synced"
MAGIC = b"TITANSYN"
FORMAT_VERSION = 1

_BODY = struct.Struct(">8sHQQQ")
_CRC = struct.Struct(">I")
BYTES = _BODY.size + _CRC.size


class Watermark(NamedTuple):
    synced_seq: int
    segment: int
    term: int


NOTHING = Watermark(0, 0, 0)


def read_watermark(directory: Path) -> Watermark:
    """NOTHING if there is none, as in journals of old, or if it is damaged: then it proves nothing."""
    return _decode(_bytes_of(directory)) or NOTHING


def watermark_is_damaged(directory: Path) -> bool:
    """There is a file, and it is no watermark."""
    return (directory / NAME).exists() and _decode(_bytes_of(directory)) is None


class WatermarkFile:
    """Written in place: it is far smaller than what a disk writes at once, and a torn one would
    prove nothing."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(directory / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._written: Watermark | None = None

    def write(self, mark: Watermark, *, sync: bool = False) -> None:
        if mark != self._written:
            body = _BODY.pack(MAGIC, FORMAT_VERSION, *mark)
            os.pwrite(self._fd, body + _CRC.pack(zlib.crc32(body)), 0)
            self._written = mark
        if sync:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_watermark(directory: Path, mark: Watermark) -> None:
    """Durable when it returns."""
    made = WatermarkFile(directory)
    try:
        made.write(mark, sync=True)
    finally:
        made.close()
    files.sync_directory(directory)


def _bytes_of(directory: Path) -> bytes:
    try:
        with (directory / NAME).open("rb") as stream:
            return stream.read(BYTES + 1)
    except FileNotFoundError:
        return b""


def _decode(data: bytes) -> Watermark | None:
    if len(data) != BYTES or zlib.crc32(data[: _BODY.size]) != _CRC.unpack_from(data, _BODY.size)[0]:
        return None
    magic, version, *rest = _BODY.unpack_from(data)
    return Watermark(*rest) if magic == MAGIC and version == FORMAT_VERSION else None
