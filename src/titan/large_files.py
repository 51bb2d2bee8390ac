"""What the C library and the kernel are told where large files pass through: hints, which nothing depends on."""

from __future__ import annotations

import ctypes
from functools import cache

_KEEP_BYTES = 64 << 20
"""So much freed memory stays with the process."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SYNC_FILE_RANGE_WRITE = 2


@cache
def reuse_memory() -> None:
    """Buffers of a few MiB come from memory that was used before.

    As the C library has it by default each would be mapped anew, and a page that the kernel has to find costs more than to receive
    what goes into it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEEP_BYTES // 4)
        mallopt(_TRIM_THRESHOLD, _KEEP_BYTES)
    except (AttributeError, OSError):  # not glibc
        pass


def begin_writing(fd: int, start: int, size: int) -> None:
    """The kernel begins to write that part of a file to the disk, and nobody waits for it."""
    try:
        _library().sync_file_range(fd, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)
    except (AttributeError, OSError):
        pass


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)
