"""Record of the folders of runs that the worker removed: when, and by which of its options.

Only people read it, in the answer of `titan files`. So a record that is lost costs an explanation
and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from titan.model.names import is_name

MOST = 20_000
"""Runs that are remembered. Half of them are forgotten when there are more."""


class Removed(NamedTuple):
    at: float
    option: str
    """Option of the worker and its value, "" for the limit of runs."""


class RemovedFolders:
    """Record in a file with a line for each run. `add` and `find` may block, and may run in
    threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Removed] = {}
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            run, _, rest = line.partition(" ")
            at, _, option = rest.partition(" ")
            try:
                self._known[run] = Removed(float(at), option)
            except ValueError:  # the end of a line is missing, because the disk was full
                continue

    def find(self, run: str) -> Removed | None:
        return self._known.get(run)

    def add(self, runs: Iterable[str], at: float, option: str) -> None:
        """Remember the removal of these runs. Raises OSError if the record cannot be written; the
        running worker then knows them all the same."""
        with self._lock:
            new = {run: Removed(at, option) for run in runs if is_name(run)}
            if not new:
                return
            self._known |= new
            if len(self._known) > MOST:
                self._known = dict(list(self._known.items())[-MOST // 2 :])
                part = self._path.with_name(f"{self._path.name}.part")
                part.write_text(_lines(self._known))
                part.rename(self._path)
                return
            with self._path.open("a") as file:
                file.write(_lines(new))


def _lines(removed: dict[str, Removed]) -> str:
    return "".join([f"{run} {entry.at:.3f} {entry.option}\n" for run, entry in removed.items()])
