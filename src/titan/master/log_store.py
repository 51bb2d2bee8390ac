"""Store of the output of all attempts: one append-only file per run.

A file holds a whole run, because a run may have a hundred thousand jobs that print a few lines
each. A record is a small header (job, attempt, stream, offset, length) and the bytes. The index of
a run is built from the headers when its file is opened, and kept until the file is closed. A worker
may send output again after a lost connection. The store recognises duplicates by their offset.

Bytes are written to the kernel before the result of their attempt is recorded, so they survive the
death of the master. They are synced once a second.
"""

from __future__ import annotations

import asyncio
import errno
import os
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

from titan.model.names import is_name

_header = Struct(">HBIQI")  # name length, stream, attempt, offset, length
_MAX_OPEN = 32
SUFFIX = ".log"
"""Suffix of the file of a run."""
STDOUT, STDERR = 1, 2
RESTARTED = 0
"""Stream number of a record without bytes, which voids all earlier output of its attempt."""
GAP = 16
"""Added to the stream number of a record that counts dropped bytes (see `_count`).

The worker dropped the counted bytes before the offset of the record.
"""
_count = Struct(">Q")


class Extent(NamedTuple):
    """Piece of a stream: its offset in the stream, its position in the file, its length, and its
    place in the order of arrival."""

    offset: int
    at: int
    length: int
    order: int


class RunLog:
    """File of a run, and its index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("a+b")
        self._end = 0
        self._order = 0
        self.extents: dict[tuple[str, int, int], list[Extent]] = {}
        self._arrivals: list[tuple[int, str, int, int, Extent]] | None = None
        """(order, job, attempt, stream, piece) of all pieces, sorted by order.

        None until the output of the whole run is first read.
        """
        self.gaps: dict[tuple[str, int, int, int], int] = {}
        """(job, attempt, stream, offset) -> number of bytes that the worker dropped before the
        offset."""
        self.dirty = False
        self.unsynced: set[tuple[str, int]] = set()
        """(job, attempt) of attempts whose output was written since the last sync."""
        self._index()

    def _index(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        at = 0
        while at + _header.size <= size:
            name_bytes, stream, attempt, offset, length = _header.unpack(os.pread(self._file.fileno(), _header.size, at))
            data = at + _header.size + name_bytes
            if data + length > size:
                break
            name = os.pread(self._file.fileno(), name_bytes, at + _header.size).decode(errors="replace")
            if stream & GAP and length == _count.size:
                self.gaps[name, attempt, stream & ~GAP, offset] = _count.unpack(os.pread(self._file.fileno(), length, data))[0]
            else:
                self._note(name, attempt, stream, Extent(offset, data, length, self._order))
            at = data + length
        if at != size:  # the master died while it wrote the last record
            os.ftruncate(self._file.fileno(), at)
        self._end = at

    def _note(self, job: str, attempt: int, stream: int, extent: Extent) -> None:
        if stream == RESTARTED:
            for real in (STDOUT, STDERR):
                self.extents.pop((job, attempt, real), None)
            self._arrivals = None
            self.gaps = {key: size for key, size in self.gaps.items() if key[:2] != (job, attempt)}
        else:
            self.extents.setdefault((job, attempt, stream), []).append(extent)
            if self._arrivals is not None:
                self._arrivals.append((extent.order, job, attempt, stream, extent))
        self._order += 1

    def arrivals(self) -> list[tuple[int, str, int, int, Extent]]:
        """Return (order, job, attempt, stream, piece) of all pieces in the order of arrival."""
        if self._arrivals is None:
            found = [(extent.order, *key, extent) for key, extents in self.extents.items() for extent in extents]
            self._arrivals = sorted(found)
        return self._arrivals

    def received(self, job: str, attempt: int, stream: int) -> int:
        """Return the offset behind the last stored byte of a stream."""
        extents = self.extents.get((job, attempt, stream))
        return extents[-1].offset + extents[-1].length if extents else 0

    def append(self, job: str, attempt: int, stream: int, offset: int, data: bytes | memoryview, skipped: int = 0) -> int:
        """Append the part of a piece that is not stored yet, and return the length of this part.

        The worker dropped `skipped` bytes before the piece. Raises OSError if the disk fails. The
        file is then unchanged.
        """
        gap = (job, attempt, stream, offset) if skipped else None
        known = self.received(job, attempt, stream)
        if offset < known:
            data, offset = data[known - offset :], known
        if not len(data):
            return 0
        name = job.encode()
        lead = b""
        if gap is not None and gap not in self.gaps:
            lead = _header.pack(len(name), stream | GAP, attempt, gap[3], _count.size) + name + _count.pack(skipped)
        record = b"".join((lead, _header.pack(len(name), stream, attempt, offset, len(data)), name, data))
        written = os.write(self._file.fileno(), record)
        if written < len(record):
            os.ftruncate(self._file.fileno(), self._end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        if lead and gap is not None:
            self.gaps[gap] = skipped
        at = self._end + len(lead) + _header.size + len(name)
        self._note(job, attempt, stream, Extent(offset, at, len(data), self._order))
        self._end += len(record)
        self.dirty = True
        self.unsynced.add((job, attempt))
        return len(data)

    def begin(self, job: str, attempt: int) -> None:
        """Void the stored output of an earlier attempt with this number (see `LogStore.begin`)."""
        if not any(self.received(job, attempt, stream) for stream in (STDOUT, STDERR)):
            return
        name = job.encode()
        record = _header.pack(len(name), RESTARTED, attempt, 0, 0) + name
        os.write(self._file.fileno(), record)
        self._note(job, attempt, RESTARTED, Extent(0, self._end, 0, self._order))
        self._end += len(record)
        self.dirty = True

    def read(self, extent: Extent) -> bytes:
        return os.pread(self._file.fileno(), extent.length, extent.at)

    def sync(self) -> None:
        """Sync the file.

        After an OSError, the output of the attempts in `unsynced` may be lost. The kernel may have
        dropped this output, and reports the error only once.
        """
        if self.dirty and not self._file.closed:
            self.dirty = False
            os.fdatasync(self._file.fileno())
            self.unsynced.clear()

    def close(self) -> None:
        self._file.close()


class LogStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._open: OrderedDict[str, RunLog] = OrderedDict()
        self.written = asyncio.Event()
        """Set when output is written. The owner then syncs the store."""

    def append(self, run: str, job: str, attempt: int, stream: int, offset: int, data: bytes | memoryview, skipped: int = 0) -> int:
        """Append output as `RunLog.append` does.

        Output with an impossible name, stream or offset is ignored.
        """
        if not (is_name(run) and is_name(job) and stream in (STDOUT, STDERR) and 0 <= attempt < 1 << 32 and 0 <= offset < 1 << 64):
            return 0
        self.written.set()
        return self._of(run).append(job, attempt, stream, offset, data, min(skipped, (1 << 64) - 1))

    def begin(self, run: str, job: str, attempt: int) -> None:
        """Prepare for an attempt that is dispatched.

        A home that was restored from a copy may have output of an earlier attempt with the same
        number, which ran after the copy was made. That output is voided.
        """
        if self._exists(run):
            self._of(run).begin(job, attempt)

    def received(self, run: str, job: str, attempt: int) -> tuple[int, int]:
        """Return the offsets behind the last stored bytes of (stdout, stderr)."""
        if not self._exists(run):
            return 0, 0
        log = self._of(run)
        return log.received(job, attempt, STDOUT), log.received(job, attempt, STDERR)

    def pieces(self, run: str, job: str, attempt: int, offsets: dict[int, int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (stream, offset, bytes) of an attempt in the order of arrival.

        `offsets` maps a stream to the offset at which reading begins. It is advanced with each
        piece.
        """
        if not self._exists(run):
            return
        log = self._of(run)
        found = [(e.order, stream, e) for stream in (STDOUT, STDERR) for e in log.extents.get((job, attempt, stream), ())]
        for _, stream, extent in sorted(found):
            if extent.offset >= offsets.get(stream, 0):
                offsets[stream] = extent.offset + extent.length
                # the file may have been closed since the last piece
                yield stream, extent.offset, self._of(run).read(extent)

    def run_pieces(self, run: str, begin: int) -> Iterator[tuple[int, str, int, int, int, bytes]]:
        """Yield (order, job, attempt, stream, offset, bytes) of all jobs of a run.

        The pieces come in the order of arrival, from the order `begin` on.
        """
        if not self._exists(run):
            return
        pieces = self._of(run).arrivals()
        for order, job, attempt, stream, extent in pieces[bisect_left(pieces, (begin,)) :]:
            # the file may have been closed since the last piece
            yield order, job, attempt, stream, extent.offset, self._of(run).read(extent)

    def skipped(self, run: str, job: str, attempt: int, stream: int, offset: int) -> int:
        """Return the number of bytes that the worker dropped right before a piece."""
        return self._of(run).gaps.get((job, attempt, stream, offset), 0)

    def size(self, run: str) -> int:
        """Return the bytes of a run's output on disk."""
        try:
            return (self.folder / f"{run}{SUFFIX}").stat().st_size
        except OSError:
            return 0

    def has(self, run: str) -> bool:
        return self._exists(run)

    def remove(self, run: str) -> None:
        log = self._open.pop(run, None)
        if log is not None:
            log.close()
        (self.folder / f"{run}{SUFFIX}").unlink(missing_ok=True)

    def sync(self) -> list[tuple[str, set[tuple[str, int]], OSError]]:
        """Sync all open files. Return the failures as (run, affected attempts, error)."""
        failed = []
        for run, log in list(self._open.items()):
            try:
                log.sync()
            except OSError as error:
                failed.append((run, set(log.unsynced), error))
        return failed

    def close(self) -> None:
        for log in self._open.values():
            log.sync()
            log.close()
        self._open.clear()

    def _exists(self, run: str) -> bool:
        return run in self._open or (is_name(run) and (self.folder / f"{run}{SUFFIX}").exists())

    def _of(self, run: str) -> RunLog:
        log = self._open.get(run)
        if log is None:
            log = self._open[run] = RunLog(self.folder / f"{run}{SUFFIX}")
            while len(self._open) > _MAX_OPEN:
                _, oldest = self._open.popitem(last=False)
                oldest.sync()
                oldest.close()
        self._open.move_to_end(run)
        return log
