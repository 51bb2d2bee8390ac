"""Capture of a job's output: the transfer from a pipe into a log, within a size limit. Part of the
warden. Like the warden it imports nothing of Titan."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from typing import Any

KIB = 1024
READ_BYTES = 64 * KIB
TAIL_BYTES = 256 * KIB
LEAST_TAIL_BYTES = 128
SPLICE_F_NONBLOCK = 2


class Capture:
    """Transfer of one output stream of one job from its pipe into its log. The log is created with
    the first byte, and never grows over `limit`.

    The last quarter of the limit (at most 256 KiB) is reserved for the tail, which is the end of
    the output. The rest of the limit is the head. Output after the head goes into a ring buffer of
    the reserved size. When the job ends, the content of the ring is appended to the log as the
    tail. The report of the tail says how many bytes between head and tail were dropped. The log
    holds only bytes that the job wrote.

    splice(2) moves the head into the log, so at any moment every byte is in the pipe or in the log.
    No output of the head is lost if this process is killed. Where splice does not work (Python
    before 3.10, some file systems), output is read and written.

    With `at` the capture continues a log of this size, which another process began and cannot
    finish. The tail that the other process had in memory is lost.
    """

    __slots__ = (
        *("_at", "_excess", "_failed", "_file", "_head", "_key", "_lost", "_path", "_ring", "_room", "_size", "_splices"),
        *("_stream", "dropped", "pipe", "polled_by"),
    )

    def __init__(self, key: int, stream: int, pipe: int, path: str, limit: int, at: int = 0) -> None:
        reserve = min(TAIL_BYTES, limit // 4)
        self.pipe = pipe  # -1 once closed
        # epoll from which the pipe is unregistered before it is closed. Closing alone is not enough
        # if other processes hold the pipe.
        self.polled_by: select.epoll | None = None
        self.dropped = 0
        self._key, self._stream, self._path = key, stream, path
        room = min(reserve, limit - at)
        self._room = room if room >= LEAST_TAIL_BYTES else 0
        # If the limit is too small for a tail, the whole limit is used for the head.
        self._head = limit - reserve if self._room else limit
        self._lost = (
            self._room > 0 and at == self._head
        )  # the log ends exactly where the head ends: the other process may have had a tail in memory
        self._file = -1
        self._size = at
        self._failed = False
        self._splices = hasattr(os, "splice")
        self._ring = bytearray()
        self._at = 0  # position of the next byte in the ring
        self._excess = 0  # number of bytes of output after the head

    def pump(self, reports: list[tuple[Any, ...]], budget: int) -> None:
        """Transfer up to about `budget` bytes. Close the pipe at the end of the output."""
        while budget > 0 and self.pipe >= 0:
            in_head = self._size < self._head and not self._failed
            try:
                if in_head and self._splices and (self._file >= 0 or _holds_bytes(self.pipe)):
                    moved = self._move(min(READ_BYTES, self._head - self._size), reports)
                    budget -= moved
                    if moved:
                        continue
                data = os.read(self.pipe, min(READ_BYTES, self._head - self._size) if in_head else READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._close_pipe()
            elif in_head:
                self.dropped += len(data) - self._write(data, reports)
            else:
                self._keep_last(data)
            budget -= len(data)

    def finish(self, reports: list[tuple[Any, ...]]) -> None:
        """Append the tail to the log, and close pipe and log. `dropped` is final afterwards."""
        if self.pipe >= 0:
            self._close_pipe()
        kept = min(self._excess, self._room)
        lost = self._excess - kept
        tail = bytes(self._ring[:kept]) if self._excess <= self._room else bytes(self._ring[self._at :] + self._ring[: self._at])
        if self._lost:
            text = f"{self._path}: output may be missing: the process that kept it was killed"
            reports.append(("log_failed", self._key, self._stream, errno.EOWNERDEAD, text))
        written = self._write(tail, reports, skipped=lost) if tail else 0
        self.dropped += self._excess - written
        self._ring = bytearray()
        self._excess = 0
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _close_pipe(self) -> None:
        if self.polled_by is not None:
            self.polled_by.unregister(self.pipe)
        os.close(self.pipe)
        self.pipe = -1

    def _keep_last(self, data: bytes) -> None:
        room, count = self._room, len(data)
        if self._failed:
            self.dropped += count
            return
        self._excess += count
        if not room:
            return
        if not self._ring:
            self._ring = bytearray(room)
        if count >= room:
            self._ring[:] = data[count - room :]
            self._at = 0
            return
        first = min(count, room - self._at)
        self._ring[self._at : self._at + first] = data[:first]
        self._ring[: count - first] = data[first:]
        self._at = (self._at + count) % room

    def _move(self, most: int, reports: list[tuple[Any, ...]]) -> int:
        """Move bytes from the pipe into the log by splice. Return their number, 0 if the caller has
        to read the pipe instead: it may be at its end, or splice may not work. Raises
        BlockingIOError."""
        moved = 0
        try:
            self._open()
            if not self._splices:
                return 0
            moved = os.splice(self.pipe, self._file, most, offset_dst=self._size, flags=SPLICE_F_NONBLOCK)
            data = os.pread(self._file, moved, self._size) if moved else b""
            if len(data) < moved:  # the job truncated its own log
                raise OSError(errno.EIO, "")
        except BlockingIOError:
            raise
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EINVAL, errno.ENOSYS) and self._file >= 0:
                self._splices = False
                return 0
            self._fail(error, reports)
            self.dropped += moved
            return moved
        if data:
            reports.append(("output", self._key, self._stream, self._size, 0, data))
            self._size += moved
        return moved

    def _write(self, data: bytes, reports: list[tuple[Any, ...]], skipped: int = 0) -> int:
        """Write to the log. Return the number of bytes written. After the first error nothing more
        is written to the log. `skipped` bytes before the data were dropped."""
        done = 0
        try:
            if self._failed:
                return 0
            self._open()
            while done < len(data):
                done += os.pwrite(self._file, data[done:] if done else data, self._size + done)
        except (OSError, ValueError) as error:
            self._fail(error, reports)
        if done:
            reports.append(("output", self._key, self._stream, self._size, skipped, data[:done]))
            self._size += done
        return done

    def _open(self) -> None:
        if self._file >= 0:
            return
        # Do not follow a link, or block on a fifo, that the job has put at the path of the log.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if self._size else os.O_TRUNC)
        file = os.open(self._path.encode("utf-8", "surrogateescape"), flags, 0o600)
        mode = os.fstat(file).st_mode
        if stat.S_ISFIFO(mode):
            os.close(file)
            raise OSError(errno.ENXIO, "")
        # Output to /dev/null cannot be read back.
        self._splices = self._splices and stat.S_ISREG(mode)
        self._file = file

    def _fail(self, error: OSError | ValueError, reports: list[tuple[Any, ...]]) -> None:
        self._failed = True
        code = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
        message = f"{self._path}: cannot write this log: {os.strerror(code)}"
        reports.append(("log_failed", self._key, self._stream, code, message))


def _holds_bytes(pipe: int) -> bool:
    """Return whether the pipe has bytes to read. epoll also reports the end of a pipe as readable,
    and without bytes no log must be created."""
    return fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0"
