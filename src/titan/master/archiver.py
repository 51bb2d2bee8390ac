"""Archiver: moves finished runs into the history and prunes the history.

When the finished runs in memory exceed a limit, the archiver moves the run that ended first. This
module owns the time and the order of these moves. The core decides whether a run leaves the state:
a run that became active again during the move stays.
"""

from __future__ import annotations

import asyncio
import logging

from titan.core.events import events as ev
from titan.core.inputs import HistoryKept
from titan.core.state import snapshot
from titan.core.state.state import Run
from titan.errors import EnvironmentFault
from titan.master.core_loop import CoreLoop
from titan.master.garbage_collection import GarbageCollector
from titan.master.history.database import CHUNK_JOBS, History, KeptRun, compressed, kept_run
from titan.master.log_store import LogStore
from titan.model.states import RunState

log = logging.getLogger("titan.master")

BATCH_RUNS = 500
BATCH_JOBS = 20_000
RETRY_S = 60.0
PRUNE_EVERY_S = 3600.0


class Archiver:
    def __init__(self, core: CoreLoop, history: History, logs: LogStore, garbage: GarbageCollector) -> None:
        self._core = core
        self._history = history
        self._logs = logs
        self._garbage = garbage
        self._finished: dict[str, int] = {}
        """Number of jobs of each finished run, in the order in which the runs ended."""
        self._jobs = 0
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        over = [run for run in self._core.state.runs.values() if _is_over(run)]
        for run in sorted(over, key=lambda run: run.finished_at):
            self._add(run)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._archive_for_ever()), loop.create_task(self._prune_for_ever())]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def note(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.RunFinished):
                self._add(self._core.state.runs[event.run])
            elif isinstance(event, ev.JobsRevived):
                self._drop(event.run)
            elif isinstance(event, ev.RunRestored):
                run = self._core.state.runs.get(event.run)
                if run is not None and _is_over(run):
                    self._add(run)

    def _add(self, run: Run) -> None:
        self._jobs += run.count - self._finished.pop(run.id, 0)
        self._finished[run.id] = run.count
        if self._is_due():
            self._wanted.set()

    def _drop(self, run: str) -> None:
        self._jobs -= self._finished.pop(run, 0)

    # -- archiving ---------------------------------------------------------------------------------
    def _is_due(self) -> bool:
        s = self._core.state.settings
        return len(self._finished) > s.keep_runs or self._jobs > s.keep_jobs or self._wait() <= 0.0

    def _wait(self) -> float:
        """Return the seconds until the oldest finished run exceeds its time in memory."""
        oldest = next(iter(self._finished), None)
        run = self._core.state.runs.get(oldest) if oldest is not None else None
        if run is None:
            return self._core.state.settings.keep_s
        return run.finished_at + self._core.state.settings.keep_s - self._core.clock.now()

    async def _archive_for_ever(self) -> None:
        while True:
            if not self._is_due():
                self._wanted.clear()
                try:
                    await asyncio.wait_for(self._wanted.wait(), max(0.1, self._wait()))
                except TimeoutError:
                    pass
                continue
            try:
                await self._archive_some()
            except EnvironmentFault as error:
                log.error("finished runs stay in memory: %s; trying again in %g s", error, RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _archive_some(self) -> None:
        await self._core.settled()  # the end of the runs must be durable first
        batch: list[KeptRun] = []
        changes: list[int] = []
        jobs = 0
        state = self._core.state
        while self._is_due() and len(batch) < BATCH_RUNS and jobs < BATCH_JOBS:
            name = next(iter(self._finished))
            run = state.runs.get(name)
            self._drop(name)
            if run is None or not _is_over(run):
                continue
            chunks = [await _compressed(chunk, run) for chunk in snapshot.dump_run(state, run, CHUNK_JOBS)]
            batch.append(kept_run(state, run, chunks, self._logs.size(name)))
            changes.append(run.changes)
            jobs += run.count
        try:
            await asyncio.to_thread(self._history.put, batch)
        except BaseException:
            for kept in batch:
                self._add(kept.run)
            raise
        self._core.see(HistoryKept([kept.run.id for kept in batch], changes))
        await self._core.settled()
        for kept in batch:
            if kept.run.id in state.runs and _is_over(kept.run):  # the run may have become active again meanwhile
                self._add(kept.run)

    # -- pruning -----------------------------------------------------------------------------------
    async def _prune_for_ever(self) -> None:
        while True:
            try:
                gone = await self.prune()
                if gone:
                    log.info("%d runs were removed from the history: they exceeded its age or size limit", gone)
                await self._garbage.collect()
            except EnvironmentFault as error:
                log.error("%s", error)
            await asyncio.sleep(PRUNE_EVERY_S)

    async def prune(self) -> int:
        s = self._core.state.settings
        before = self._core.clock.confirmed() - s.history_s
        gone = await asyncio.to_thread(self._history.prune, before=before, most_bytes=s.history_bytes)
        for run in gone:
            if run not in self._core.state.runs:
                self._logs.remove(run)
        return len(gone)


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.critical("the archiver stopped, so finished runs stay in memory: %s", error, exc_info=error)


def _is_over(run: Run) -> bool:
    return run.state not in (RunState.RUNNING, RunState.OPENING)


async def _compressed(chunk: bytes, run: Run) -> bytes:
    """Compress a chunk, in another thread if the run is large."""
    return await asyncio.to_thread(compressed, chunk) if run.count > CHUNK_JOBS else compressed(chunk)
