"""Optional hints to the C library and the kernel for the transfer of large files."""

from __future__ import annotations

import ctypes
import os
import time
from functools import cache

_KEEP_BYTES = 64 << 20
"""Freed memory that the C library keeps, in bytes."""
STEP_BYTES = 8 << 20
"""Bytes between two decisions whether memory is cold."""
BEHIND_BYTES = 48 << 20
"""Bytes behind the current position that stay in the page cache."""
COLD_S = 0.0008
"""CPU seconds per MiB read or written. Above this limit the memory counts as cold."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SYNC_FILE_RANGE_WRITE = 2


@cache
def reuse_memory() -> None:
    """Make the C library take buffers of a few MiB from memory that was freed before.

    By default the C library maps each such buffer anew. The kernel then has to find every page,
    which takes longer than receiving the data that fills the page.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEEP_BYTES // 4)
        mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    except (AttributeError, OSError):  # not glibc
        pass


class MemoryProbe:
    """Detector of cold memory, by the CPU time of reads and writes through the page cache.

    Memory is cold where a virtual machine has given its free pages back to the host. A write to a
    new page of the cache then costs ten times as much CPU time as usual.
    """

    def __init__(self) -> None:
        self.is_cold = False
        self._spent_s = 0.0
        self._bytes = 0

    def cost(self, spent_s: float, size: int) -> bool:
        """Count the CPU time for `size` bytes. Return True if this completes STEP_BYTES and
        `is_cold` was decided again."""
        self._spent_s += spent_s
        self._bytes += size
        if self._bytes < STEP_BYTES:
            return False
        cost_s = self._spent_s / self._bytes * (1 << 20)
        self.is_cold = cost_s > COLD_S or (self.is_cold and cost_s > COLD_S / 4)
        self._spent_s, self._bytes = 0.0, 0
        return True


class PageCacheHints:
    """Hints to the kernel about a large file that is read or written in order.

    If memory is cold, the page cache drops pages behind the current position that are already on
    the disk, so that the kernel reuses their memory. Otherwise these pages stay cached for the next
    reader. Only CPU time is measured, not time spent waiting for the disk.
    """

    def __init__(self, fd: int, at: int, *, written: bool, writeback: bool = False) -> None:
        """`written`: the file is written, not read. `writeback`: start the kernel's writeback even
        if memory is not cold."""
        self._fd = fd
        self._written = written
        self._writeback = writeback
        self._from = self._at = self._dropped = at
        self._began = 0.0
        self._memory = MemoryProbe()

    def begin(self) -> None:
        """Begin a read or a write. Call this method in the thread that does the read or write."""
        self._began = time.thread_time()

    def end(self, size: int) -> None:
        """End the read or write, of `size` bytes."""
        self._at += size
        if not self._memory.cost(time.thread_time() - self._began, size):
            return
        cold = self._memory.is_cold
        if self._written and (self._writeback or cold):
            begin_writing(self._fd, self._from, self._at - self._from)
        if cold and self._at - BEHIND_BYTES > self._dropped:
            end = self._at - BEHIND_BYTES
            os.posix_fadvise(self._fd, self._dropped, end - self._dropped, os.POSIX_FADV_DONTNEED)
            # The kernel keeps pages that are not on the disk yet, so the next call drops the last
            # BEHIND_BYTES again.
            self._dropped = max(self._dropped, end - BEHIND_BYTES)
        self._from = self._at


def leave_cache(path: str) -> None:
    """Drop the pages of a file from the page cache if they are already on the disk. The kernel then
    has warm memory for the next writes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def begin_writing(fd: int, start: int, size: int) -> None:
    """Make the kernel start to write a part of a file to the disk. Does not wait for it."""
    try:
        _library().sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)
    except (AttributeError, OSError):
        pass


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
