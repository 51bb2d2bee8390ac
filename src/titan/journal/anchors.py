"""Check that open files are still the files at their paths.

This module owns the identities of these files (device and inode). It must not know the content of
the files. A file that is deleted, moved or replaced still accepts writes and syncs through an open
descriptor, but the data is lost when the process ends. So the journal calls `check` before it
reports data as durable.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from titan.errors import HomeGone

CHECK_S = 0.4
"""Seconds for which a check is valid."""


class Anchors:
    """Identities of the files and folders at `paths`, which must exist. `check` calls stat for each
    path, which takes some microseconds."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _identity(path) for path in paths}

    def add(self, path: Path, *, instead_of: Path | None = None) -> None:
        if instead_of is not None:
            self._known.pop(instead_of, None)
        self._known[path] = _identity(path)

    def check(self) -> None:
        """Raise HomeGone if a file was deleted, moved or replaced."""
        for path, known in self._known.items():
            try:
                current = _identity(path)
            except FileNotFoundError:
                raise _gone(path, "is not there any more") from None
            except NotADirectoryError:
                raise _gone(path, "is not there any more") from None
            if current != known:
                raise _gone(path, "is another file than the one that was opened")


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _gone(path: Path, change: str) -> HomeGone:
    return HomeGone(
        f"{path} {change}: the home was deleted, moved or replaced under this process, which stops and acknowledges nothing more."
        " If it was moved, start again with --home and its new path; if it was deleted, restore a backup or start with a new home"
    )
