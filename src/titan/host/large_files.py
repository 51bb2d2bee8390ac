"""What the C library and the kernel are told where large files pass through: hints, which nothing
depends on."""

from __future__ import annotations

import ctypes
import os
import time
from functools import cache

_KEEP_BYTES = 64 << 20
"""So much freed memory stays with the process."""
STEP_BYTES = 8 << 20
BEHIND_BYTES = 48 << 20
"""So much stays in the cache behind what passes."""
COLD_S = 0.0008
"""CPU time for 1 MiB read or written; above, it is cold memory that costs."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SYNC_FILE_RANGE_WRITE = 2


@cache
def reuse_memory() -> None:
    """Buffers of a few MiB come from memory that was used before.

    As the C library has it by default each would be mapped anew, and a page that the kernel has to
    find costs more than to receive what goes into it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEEP_BYTES // 4)
        mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    except (AttributeError, OSError):  # not glibc
        pass


class Memory:
    """Whether the memory that the kernel finds for the page cache is cold, by the CPU time of reads
    and writes.

    On a virtual machine that gives free pages back to its host, a page of the cache costs ten times
    what writing it costs else.
    """

    def __init__(self) -> None:
        self.is_cold = False
        self._spent_s = 0.0
        self._bytes = 0

    def cost(self, spent_s: float, size: int) -> bool:
        """Count what `size` bytes took; return whether a step of STEP_BYTES is complete, by which
        `is_cold` is decided anew."""
        self._spent_s += spent_s
        self._bytes += size
        if self._bytes < STEP_BYTES:
            return False
        cost_s = self._spent_s / self._bytes * (1 << 20)
        self.is_cold = cost_s > COLD_S or (self.is_cold and cost_s > COLD_S / 4)
        self._spent_s, self._bytes = 0.0, 0
        return True


class Passing:
    """A large file that passes through the page cache, in order.

    Where memory is cold, what is on the disk already leaves the cache again behind the file, so
    that the same memory is used over and over; elsewhere it stays there for whoever reads it next.
    Waiting for the disk does not count.
    """

    def __init__(self, fd: int, at: int, *, written: bool, writeback: bool = False) -> None:
        """`written`: it is written, not read; `writeback`: the kernel is to begin with writing in
        any case."""
        self._fd = fd
        self._written = written
        self._writeback = writeback
        self._from = self._at = self._dropped = at
        self._began = 0.0
        self._memory = Memory()

    def begin(self) -> None:
        """Of a read or a write, in the thread that does it."""
        self._began = time.thread_time()

    def end(self, size: int) -> None:
        self._at += size
        if not self._memory.cost(time.thread_time() - self._began, size):
            return
        cold = self._memory.is_cold
        if self._written and (self._writeback or cold):
            begin_writing(self._fd, self._from, self._at - self._from)
        if cold and self._at - BEHIND_BYTES > self._dropped:
            end = self._at - BEHIND_BYTES
            os.posix_fadvise(self._fd, self._dropped, end - self._dropped, os.POSIX_FADV_DONTNEED)
            # what was not on the disk yet may be the next time
            self._dropped = max(self._dropped, end - BEHIND_BYTES)
        self._from = self._at


def leave_cache(path: str) -> None:
    """What is on the disk of a file leaves the page cache, so that the kernel has warm memory for
    what is written next."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def begin_writing(fd: int, start: int, size: int) -> None:
    """The kernel begins to write that part of a file to the disk, and nobody waits for it."""
    try:
        _library().sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)
    except (AttributeError, OSError):
        pass


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
