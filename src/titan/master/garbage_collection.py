"""Garbage collection: content that nothing refers to any more is removed from the store.

Referred to is what a run in the state or in the history, a schedule, a saved pipeline, a shared key
or a name in perm_files/ needs (`core/state/content_references.py`). All else stays for
`file_grace_s` after it was stored or touched last: content that a client was told is here and that
its submission, or a worker's result, is about to name. `Stage`, `SendFile`, `Resolve`, submissions,
results and publications touch what they name, and touching and removing exclude each other, so what
is named while a collection runs stays, although the collection looked at the state before. The time
that a master is away is no part of the grace, up to START_S.

The state is looked at in slices, as a million jobs take a second. A run that moves between state
and history meanwhile is seen: it is in the one before it leaves the other. Owns when content goes;
must not know where it lies.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice

from titan.content.blobs import BlobStore, Removed
from titan.core.state import content_references as references
from titan.core.state.run import Run
from titan.errors import EnvironmentFault
from titan.master.content_names import Registry
from titan.master.core_loop import CoreLoop
from titan.master.history.database import History

log = logging.getLogger("titan.master")

START_S = 600.0
"""After a start workers and clients have this long, or the grace if that is shorter, to come back
and name what they stored."""
SLICE_JOBS = 5_000


class GarbageCollector:
    def __init__(self, core: CoreLoop, history: History, store: BlobStore, registry: Registry) -> None:
        self._core = core
        self._history = history
        self._store = store
        self._registry = registry
        self._started = core.clock.now()
        self.history_is_whole = asyncio.Event()
        """Set by the owner when runs that the history had lost are there again: until then nothing
        is removed."""

    async def collect(self) -> Removed:
        """Remove what is not referred to. Waits for START_S after the start. Errors of the disk are
        logged."""
        grace_s = self._core.state.settings.file_grace_s
        await asyncio.sleep(self._started + min(grace_s, START_S) - self._core.clock.now())
        await self.history_is_whole.wait()
        before = self._core.clock.confirmed() - grace_s
        try:
            await asyncio.to_thread(self._store.sweep_parts)
            referenced = await self._referenced()
            removed = await asyncio.to_thread(self._remove, referenced, before)
        except (OSError, EnvironmentFault) as error:
            log.error("content that nothing refers to could not be removed: %s", error)
            return Removed(0, 0)
        if removed.blobs:
            log.info("%d files of %d bytes were removed, as nothing refers to them any more", *removed)
        return removed

    def _remove(self, referenced: set[str], before: float) -> Removed:
        sizes = {size for hash_, size in self._store.sizes() if hash_ not in referenced}
        if not sizes:
            return Removed(0, 0)
        return self._store.remove_unreferenced(referenced | self._registry.contents(sizes), before=before)

    async def _referenced(self) -> set[str]:
        await asyncio.to_thread(self._history.find_references)
        await self._core.settled()
        found = references.apart_from_runs(self._core.state)
        seen: dict[str, Run] = {}
        history_read = False
        while True:
            # A run that came back from the history is another object than the one that left.
            fresh = [run for run in self._core.state.runs.values() if seen.get(run.id) is not run]
            for run in fresh:
                seen[run.id] = run
                found.update(references.of_run_itself(run))
                found |= await self._of_jobs(run)
            if not fresh and history_read:
                return found | references.apart_from_runs(self._core.state)
            if not fresh:
                found |= await asyncio.to_thread(self._history.references)
                history_read = True

    async def _of_jobs(self, run: Run) -> set[str]:
        """A job that leaves the state meanwhile is in the history."""
        found: set[str] = set()
        numbers = iter(references.numbers_of(run))
        while part := list(islice(numbers, SLICE_JOBS)):
            jobs = self._core.state.jobs
            found.update(references.of_jobs([jobs[number] for number in part if number in jobs]))
            await asyncio.sleep(0)
        return found
