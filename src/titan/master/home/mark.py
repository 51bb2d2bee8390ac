"""Whether a home is the one that the last master left, or a copy of it that was put in its place.

A file in the home remembers the inode and the time of change of another. No copy has both: not cp,
rsync, tar, nor a backup. A snapshot of a whole file system has them; that one is noticed by what
its workers hold (`core.fencing`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

MARK, ABOUT = "origin", "origin.json"


def why_copied(home: Path) -> str:
    """What to tell operators of a home that is a copy; "" if it is the original, or was never used."""
    try:
        about = json.loads((home / ABOUT).read_text())
        known = (about["inode"], about["changed_ns"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if _seal(home / MARK) == known:
        return ""
    return (
        f"the home {home} is a copy, as of a backup, or its owner was changed: what workers still run of another copy is not "
        "taken. Runs that were submitted after the copy was made have to be submitted again"
    )


def mark(home: Path) -> None:
    """The home is the original from now on."""
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
