"""Lookup tables of runs: jobs by name, and additions by the requests that made them. Derived, and
built anew at a start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from titan.core.state.run import Growth, Run

NAMES_KEPT = 8
"""Most runs that have a table of their jobs' names."""


class Named(Protocol):
    """A job, as far as these tables know it."""

    @property
    def name(self) -> str: ...


class RunTables:
    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {}
        self.growths: dict[str, dict[tuple[int, str], Growth]] = {}
        """Run -> (who added, key of the request) -> what that brought."""

    def number_of(self, jobs: Mapping[int, Named], run: Run, name: str) -> int | None:
        """The number of a job by its name. Builds the run's table at the first question; keeps the
        last few."""
        table = self._names.get(run.id)
        if table is None:
            table = {jobs[j].name: j for j in run.numbers()}
            while len(self._names) >= NAMES_KEPT:
                del self._names[next(iter(self._names))]
            self._names[run.id] = table
        return table.get(name)

    def growth_by(self, run: Run, by: int, key: str) -> Growth | None:
        """What this request of that job brought, if it was made before. However often the run has
        grown, it is found at once."""
        return self.growths.get(run.id, {}).get((by, key))

    def note_growth(self, run: Run, growth: Growth, names: Iterable[str]) -> None:
        self.growths.setdefault(run.id, {})[growth.by, growth.key] = growth
        table = self._names.get(run.id)
        if table is not None:
            table.update(zip(names, range(growth.first, growth.first + growth.count), strict=True))

    def add(self, run: Run) -> None:
        """A run is there that has grown before."""
        if run.grown:
            self.growths[run.id] = {(it.by, it.key): it for it in run.grown}

    def forget(self, run: Run) -> None:
        self._names.pop(run.id, None)
        self.growths.pop(run.id, None)
