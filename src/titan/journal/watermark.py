"""Watermark: a small file, apart from the journal, that records how far the journal was synced.

Owns that file. Must not know records.

    magic `TITANSYN` | format version u16 | synced_seq u64 | segment u64 | term u64
    | CRC32 u32 of all fields before

`synced_seq` is the last sequence that was known to be durable in the segments when the watermark
was written. `segment` is the first sequence of the current segment at that time. A journal has lost
data if it ends before `synced_seq`, or if its last segment is older than `segment`.

The watermark is written and synced when a segment begins and when the journal is closed. Otherwise
it is written without a sync, at most once a second, even while nothing is appended. With the sync
policy `always` it therefore proves, after kill -9, which records had been acknowledged until about
a second before the kill. After a power failure it proves which records had been acknowledged before
the kernel last wrote the watermark to disk. With the other policies it proves which records had
been synced by then, not which had been acknowledged. The watermark never claims more than is true.
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
    """Return the watermark. Return NOTHING, which proves nothing, if the file is damaged or missing
    (old journals have none)."""
    return _decode(_bytes_of(directory)) or NOTHING


def watermark_is_damaged(directory: Path) -> bool:
    """Return True if the file exists but is not a valid watermark."""
    return (directory / NAME).exists() and _decode(_bytes_of(directory)) is None


class WatermarkFile:
    """File of the watermark, written in place. Writing in place is safe: the file is far smaller
    than a disk sector, and a torn watermark fails its CRC and proves nothing."""

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
        """Close the file. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_watermark(directory: Path, mark: Watermark) -> None:
    """Write a watermark, durable when this returns."""
    file = WatermarkFile(directory)
    try:
        file.write(mark, sync=True)
    finally:
        file.close()
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
