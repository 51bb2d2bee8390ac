"""Copies of files. A clone shares its blocks with the source until one of them is written
(copy-on-write). Btrfs and XFS make clones, ext4 does not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FICLONE = 0x40049409


def clone(source: Path | int, target: Path, mode: int) -> bool:
    """Make a clone. Return False if the file system cannot do that. `source` is a path or a
    descriptor."""
    from_ = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.ioctl(to, _FICLONE, from_)
            os.fchmod(to, mode)
        except OSError:
            os.unlink(target)
            return False
        finally:
            os.close(to)
    finally:
        os.close(from_)
    return True


def copy(source: Path | int, target: Path, mode: int) -> None:
    """Make a copy. `source` is a path or a descriptor. Raises OSError."""
    from_ = os.dup(source) if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            remaining = os.fstat(from_).st_size
            while remaining and (count := os.copy_file_range(from_, to, min(remaining, 1 << 30))):
                remaining -= count
            os.fchmod(to, mode)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(to)
    finally:
        os.close(from_)


def can_clone(folder: Path) -> bool:
    """Return whether the file system of a folder makes clones. Raises OSError."""
    source, target = folder / "probe", folder / "probe.clone"
    source.write_bytes(b"x")
    try:
        return clone(source, target, 0o600)
    finally:
        source.unlink()
        target.unlink(missing_ok=True)
