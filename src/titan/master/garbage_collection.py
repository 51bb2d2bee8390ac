"""Garbage collection: removes content from the store when nothing refers to the content any more.

References come from runs in the state or in the history, schedules, saved pipelines, shared keys
and names in perm_files/ (`core/state/content_references.py`). Content without a reference is kept
for `file_grace_s` after it was stored or last touched, because a submission or a result may be
about to refer to it. In the first START_S after a start the master removes nothing, because workers
and clients could not name their content while no master ran.

`Stage`, `SendFile`, `Resolve`, submissions, results and publications touch the content that they
name. The store never touches and removes a blob at the same time. Content that is named during a
collection is therefore kept, even if the collection has already read the state.

The state is read in slices, because reading a million jobs takes a second. A run can move between
state and history during the collection. The run is in its new place before it leaves the old place,
so the collection does not miss it. This module owns the time of removal. It must not know where
content is stored.
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
"""Time after a start in which workers and clients can return and name their content.

A shorter `file_grace_s` applies instead.
"""
SLICE_JOBS = 5_000


class GarbageCollector:
    def __init__(self, core: CoreLoop, history: History, store: BlobStore, registry: Registry) -> None:
        self._core = core
        self._history = history
        self._store = store
        self._registry = registry
        self._started = core.clock.now()
        self.history_is_whole = asyncio.Event()
        """Set by the owner when the lost runs of the history are restored.

        The collector removes nothing before, because the references of these runs are unknown.
        """

    async def collect(self) -> Removed:
        """Remove content without references. Wait until START_S after the start.

        Errors of the disk are logged, not raised.
        """
        grace_s = self._core.state.settings.file_grace_s
        await asyncio.sleep(self._started + min(grace_s, START_S) - self._core.clock.now())
        await self.history_is_whole.wait()
        before = self._core.clock.confirmed() - grace_s
        try:
            await asyncio.to_thread(self._store.sweep_parts)
            referenced = await self._referenced()
            removed = await asyncio.to_thread(self._remove, referenced, before)
        except (OSError, EnvironmentFault) as error:
            log.error("unreferenced content could not be removed: %s", error)
            return Removed(0, 0)
        if removed.blobs:
            log.info("%d unreferenced files of %d bytes were removed", *removed)
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
        visited: dict[str, Run] = {}
        history_read = False
        while True:
            # A run that was restored from the history is a new object.
            fresh = [run for run in self._core.state.runs.values() if visited.get(run.id) is not run]
            for run in fresh:
                visited[run.id] = run
                found.update(references.of_run_itself(run))
                found |= await self._of_jobs(run)
            if not fresh and history_read:
                return found | references.apart_from_runs(self._core.state)
            if not fresh:
                found |= await asyncio.to_thread(self._history.references)
                history_read = True

    async def _of_jobs(self, run: Run) -> set[str]:
        """Return the references of a run's jobs.

        Jobs that leave the state during the collection are skipped, because the history has them.
        """
        found: set[str] = set()
        numbers = iter(references.numbers_of(run))
        while part := list(islice(numbers, SLICE_JOBS)):
            jobs = self._core.state.jobs
            found.update(references.of_jobs([jobs[number] for number in part if number in jobs]))
            await asyncio.sleep(0)
        return found
