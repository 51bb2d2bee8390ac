"""Snapshot files. A snapshot has the whole state at a sequence, so older segments can be deleted.

Owns the snapshot file. Must not know the meaning of a chunk, or which snapshots and segments are
still needed.

    header   magic `TITANSNP` | format version u16 | seq u64 | term u64 | follows u64
             | origin, 32 bytes | CRC32 u32 of all fields before
    chunk    length u32 | CRC32 u32 over the chunk's number (u64) and its bytes | the bytes
    footer   0xFFFFFFFF | CRC32 u32 of the next field | number of chunks u64

`follows` is the first sequence of the segment in which the log continued after the snapshot: the
newest segment that begins at `seq + 1` or before. A journal that has only older segments has lost
its end. `origin` names the writer. Version 1 had neither field. Format versions are shared with
segments.

A cut file has no footer, and swapped chunks have wrong checksums. Both are damage, like a flipped
bit. A snapshot is written to a temporary file, synced and renamed. A file without `.tmp` in its
name was therefore complete when it got that name.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from titan.errors import EnvironmentFault
from titan.journal import files
from titan.journal.engine import Snapshot
from titan.journal.files import JournalFile
from titan.journal.reader import corrupt
from titan.journal.records import FORMAT_VERSION, ORIGIN_BYTES, of_later_format
from titan.journal.scan import FileState, Verdict

MAGIC = b"TITANSNP"
MAX_CHUNK_BYTES = 1 << 30

_HEADER_1 = struct.Struct(">8sHQQ")
_HEADER = struct.Struct(f">8sHQQQ{ORIGIN_BYTES}s")
_CRC = struct.Struct(">I")
_CHUNK = struct.Struct(">II")
_NUMBER = struct.Struct(">Q")
_FOOTER_MARK = 0xFFFFFFFF


class SnapshotScan(NamedTuple):
    """Result of reading a whole snapshot file. `seq` comes from the name of the file."""

    path: Path
    seq: int
    term: int
    chunks: int
    verdict: Verdict
    follows: int = 0

    @property
    def is_good(self) -> bool:
        return self.verdict.state is FileState.OK


class _Header(NamedTuple):
    seq: int
    term: int
    follows: int
    origin: bytes


class _Damage(Exception):
    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason


def write_snapshot(directory: Path, *, seq: int, term: int, chunks: Iterable[bytes], origin: bytes = b"") -> Path:
    """Write the state as of `seq`, which must be the end of a record and synced in the journal.
    Return the path of the durable file.

    Each chunk is at most 1 GiB. `origin`: the name of the writer, at most 32 bytes. Raises
    EnvironmentFault if a write fails; the journal is complete without the snapshot.
    """
    path = directory / files.snapshot_name(seq)
    temporary = path.with_name(path.name + files.TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as stream:
            stream.write(_encode_header(seq, term, _follows(directory, seq), origin))
            _write(stream, chunks)
            stream.flush()
            os.fsync(stream.fileno())
        files.rename(temporary, path)
    except OSError as error:
        reason = f"no snapshot was written to {path} ({error}): the journal is complete without it; free space there"
        raise EnvironmentFault(reason) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read_snapshot(path: Path) -> Snapshot:
    """Return a snapshot. Raises JournalCorrupt for a damaged header here, and for a damaged chunk
    when that chunk is read."""
    with path.open("rb") as stream:
        try:
            header = _read_header(path, stream)
        except _Damage as damage:
            raise corrupt(path, damage.offset, damage.reason) from None
    return Snapshot(header.seq, header.term, _reported(path), header.origin)


def scan_snapshot(file: JournalFile) -> SnapshotScan:
    """Read the whole file and return its verdict. Never raises for damage."""
    path, seq = file
    term = chunks = follows = 0
    with path.open("rb") as stream:
        try:
            _, term, follows, _ = _read_header(path, stream)
            for _ in _read_chunks(stream):
                chunks += 1
            if stream.read(1):
                raise _Damage(stream.tell() - 1, "data after the footer")
            verdict = Verdict(FileState.OK, stream.tell())
        except _Damage as damage:
            verdict = Verdict(FileState.CORRUPT, damage.offset, damage.reason)
    return SnapshotScan(path, seq, term, chunks, verdict, follows)


def _reported(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        try:
            _read_header(path, stream)
            yield from _read_chunks(stream)
        except _Damage as damage:
            raise corrupt(path, damage.offset, damage.reason) from None


def _follows(directory: Path, seq: int) -> int:
    """Return the first sequence of the newest segment that begins at `seq + 1` or before; 0 if
    there is no such segment."""
    return max((file.seq for file in files.list_segments(directory) if file.seq <= seq + 1), default=0)


def _encode_header(seq: int, term: int, follows: int, origin: bytes) -> bytes:
    header = _HEADER.pack(MAGIC, FORMAT_VERSION, seq, term, follows, origin)
    return header + _CRC.pack(zlib.crc32(header))


def _write(stream: BinaryIO, chunks: Iterable[bytes]) -> None:
    number = 0
    for chunk in chunks:
        if len(chunk) > MAX_CHUNK_BYTES:
            raise ValueError(f"a snapshot chunk of {len(chunk)} bytes is over the limit of {MAX_CHUNK_BYTES} bytes")
        stream.write(_CHUNK.pack(len(chunk), zlib.crc32(chunk, zlib.crc32(_NUMBER.pack(number)))))
        stream.write(chunk)
        number += 1
    count = _NUMBER.pack(number)
    stream.write(_CHUNK.pack(_FOOTER_MARK, zlib.crc32(count)) + count)


def _read_header(path: Path, stream: BinaryIO) -> _Header:
    start = stream.read(_HEADER_1.size + _CRC.size)
    if len(start) < _HEADER_1.size + _CRC.size or start[: len(MAGIC)] != MAGIC:
        raise _Damage(0, "bad snapshot header")
    _, version, seq, term = _HEADER_1.unpack_from(start)
    if version > FORMAT_VERSION:
        raise _Damage(0, of_later_format(version))
    follows, origin, size = 0, b"", _HEADER_1.size
    if version > 1:
        size = _HEADER.size
        start += stream.read(_HEADER.size - _HEADER_1.size)
    if len(start) < size + _CRC.size or zlib.crc32(start[:size]) != _CRC.unpack_from(start, size)[0]:
        raise _Damage(0, "bad snapshot header")
    if version > 1:
        *_, follows, origin = _HEADER.unpack_from(start)
    if path.name != files.snapshot_name(seq):
        raise _Damage(0, f"the header says sequence {seq}, but the name says another")
    return _Header(seq, term, follows, origin.rstrip(b"\0"))


def _read_chunks(stream: BinaryIO) -> Iterator[bytes]:
    number = 0
    while True:
        offset = stream.tell()
        head = stream.read(_CHUNK.size)
        if len(head) < _CHUNK.size:
            raise _Damage(offset, "cut: the footer is missing")
        length, crc = _CHUNK.unpack(head)
        if length == _FOOTER_MARK:
            count = stream.read(_NUMBER.size + 1)
            if count != _NUMBER.pack(number) or zlib.crc32(count) != crc:
                raise _Damage(offset, "bad snapshot footer")
            return
        chunk = stream.read(length) if length <= MAX_CHUNK_BYTES else b""
        if len(chunk) != length or zlib.crc32(chunk, zlib.crc32(_NUMBER.pack(number))) != crc:
            raise _Damage(offset, "bad snapshot chunk")
        yield chunk
        number += 1
