"""Lookup tables of runs: jobs by name, and growths (additions of jobs) by request. The tables are
derived from the runs and rebuilt at each start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from titan.core.state.run import Growth, Run

NAMES_KEPT = 8
"""Maximum number of runs for which a table of job names is kept."""


class Named(Protocol):
    """The part of a job that these tables read."""

    @property
    def name(self) -> str: ...


class RunTables:
    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {}
        self.growths: dict[str, dict[tuple[int, str], Growth]] = {}
        """Run id -> (requesting job, idempotency key) -> growth."""

    def number_of(self, jobs: Mapping[int, Named], run: Run, name: str) -> int | None:
        """Return the number of the job with this name, or None.

        The first call for a run builds its table. Only the tables of the last NAMES_KEPT runs are
        kept.
        """
        table = self._names.get(run.id)
        if table is None:
            table = {jobs[j].name: j for j in run.numbers()}
            while len(self._names) >= NAMES_KEPT:
                del self._names[next(iter(self._names))]
            self._names[run.id] = table
        return table.get(name)

    def growth_by(self, run: Run, by: int, key: str) -> Growth | None:
        """Return the growth that the request `key` of the job `by` made, or None. O(1)."""
        return self.growths.get(run.id, {}).get((by, key))

    def note_growth(self, run: Run, growth: Growth, names: Iterable[str]) -> None:
        self.growths.setdefault(run.id, {})[growth.by, growth.key] = growth
        table = self._names.get(run.id)
        if table is not None:
            table.update(zip(names, range(growth.first, growth.first + growth.count), strict=True))

    def add(self, run: Run) -> None:
        """Index the growths of a run that enters the state."""
        if run.grown:
            self.growths[run.id] = {(growth.by, growth.key): growth for growth in run.grown}

    def forget(self, run: Run) -> None:
        self._names.pop(run.id, None)
        self.growths.pop(run.id, None)
