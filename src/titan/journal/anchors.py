"""The files that a process works on are still those that the paths name.

Owns their identities (device and inode). It must not know what is in them. A file that is deleted,
moved or replaced under an open descriptor takes writes and syncs as before, and all of it is gone
with the process: whoever promises that something is kept asks here first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from titan.errors import HomeGone

CHECK_S = 0.4
"""A check that is no older than this counts."""


class Anchors:
    """`paths` must exist. `check` costs a stat of each: some microseconds."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _identity(path) for path in paths}

    def add(self, path: Path, *, instead_of: Path | None = None) -> None:
        if instead_of is not None:
            self._known.pop(instead_of, None)
        self._known[path] = _identity(path)

    def check(self) -> None:
        """Raises HomeGone."""
        for path, known in self._known.items():
            try:
                found = _identity(path)
            except FileNotFoundError:
                raise _gone(path, "is not there any more") from None
            except NotADirectoryError:
                raise _gone(path, "is not there any more") from None
            if found != known:
                raise _gone(path, "is another file than the one that was opened")


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _gone(path: Path, what: str) -> HomeGone:
    return HomeGone(
        f"{path} {what}: the home was deleted, moved or replaced under this process, which stops and acknowledges nothing more."
        " If it was moved, start again with --home and its new place; if it was deleted, restore a backup or start with a new one"
    )
