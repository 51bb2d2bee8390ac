"""Detection of a copied home, in which a master must not use old leases again.

A file in the home records the inode and the change time of another file. A copy by cp, rsync, tar
or a backup does not keep both. A snapshot of a whole file system keeps both. Such a copy is
detected by the leases of its workers (`core.handlers.fencing`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

MARK, ABOUT = "origin", "origin.json"


def why_copied(home: Path) -> str:
    """Return a warning if a home is a copy, or "" if it is the original or was never used."""
    try:
        about = json.loads((home / ABOUT).read_text())
        known = (about["inode"], about["changed_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if _seal(home / MARK) == known:
        return ""
    return (
        f"the home {home} is a copy, for example from a backup, or its owner was changed: attempts that workers still run for "
        "another copy are dropped. Submit the runs again that were submitted after the copy was made"
    )


def mark(home: Path) -> None:
    """Mark a home as the original."""
    if _seal(home / MARK) is not None and (home / ABOUT).exists() and not why_copied(home):
        return
    (home / MARK).unlink(missing_ok=True)
    (home / MARK).touch()
    seal = _seal(home / MARK)
    assert seal is not None
    part = home / f"{ABOUT}.part"
    with part.open("w") as file:
        file.write(json.dumps({"inode": seal[0], "changed_ns": seal[1]}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.rename(home / ABOUT)


def _seal(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_ctime_ns
