"""Standard input of `titan run`, handed on to the job.

A job on this machine reads a file that stdin is redirected from by its own path, and reads a pipe
through a fifo that a thread fills. Any other job gets a copy, which is read to its end before the
run begins.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titan.host.temporary_folder import temporary_folder

CHUNK = 1 << 16
MAX_BYTES = 2 << 30
SLOW_S = 2.0
"""A read of stdin that takes longer is announced on stderr."""


def is_piped() -> bool:
    """Return whether stdin is a pipe, a socket or a file. A terminal and /dev/null are not."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


@contextmanager
def handed_on(*, in_place: bool, repeatable: bool) -> Iterator[str]:
    """Yield the path of a file with this process's stdin.

    `in_place`: the job opens the path itself, on this machine. `repeatable`: it may do so several
    times, for a retry.
    """
    path = _path_of_file() if in_place else ""
    if path:
        yield path
        return
    with temporary_folder() as folder:
        target = folder / "stdin"
        if in_place and not repeatable:
            os.mkfifo(target, 0o600)
            threading.Thread(target=_fill, args=(str(target),), daemon=True, name="stdin").start()
        else:
            _copy(target)
        yield str(target)


def _path_of_file() -> str:
    """Return the path of the file that stdin is redirected from, "" if there is none or some of it
    was read already."""
    try:
        if not stat.S_ISREG(os.fstat(0).st_mode) or os.lseek(0, 0, os.SEEK_CUR):
            return ""
        path = os.readlink("/proc/self/fd/0")
        return path if os.path.samestat(os.stat(path), os.fstat(0)) and path.isprintable() else ""
    except OSError:
        return ""


def _fill(fifo: str) -> None:
    """Copy stdin into a fifo until either ends."""
    with contextlib.suppress(OSError), open(fifo, "wb", buffering=0) as out:
        while data := os.read(0, CHUNK):
            view = memoryview(data)
            while view:
                view = view[out.write(view) :]


def _copy(target: Path) -> None:
    """Copy stdin to a file. Raises CallerError if it exceeds 2 GiB."""
    from titan.errors import CallerError

    notice = threading.Timer(
        SLOW_S,
        lambda: print("titan: reading standard input to its end before the run begins (--no-stdin: no input)", file=sys.stderr),
    )
    notice.daemon = True
    notice.start()
    size = 0
    try:
        with target.open("wb") as out:
            while data := os.read(0, CHUNK):
                size += len(data)
                if size > MAX_BYTES:
                    raise CallerError(f"standard input exceeds {MAX_BYTES >> 30} GiB: put it into a file that the workers can read")
                out.write(data)
    finally:
        notice.cancel()
