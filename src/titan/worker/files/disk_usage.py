"""Measurement of the disk space that a worker's home takes, by sort of files and by run."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from titan.host.folder_size import FolderSizes, entries_of
from titan.host.free_space import free_space
from titan.model.disk import SHARED_FOLDERS
from titan.model.names import is_name

MOST_RUNS = 1000
"""Runs that a measurement names: the largest."""
JOBS, LOGS, PROJECTS, FILES, CONTENT, OTHER = "job folders", "logs", "projects", "file cache", "scripts and values", "other"
_LOG_SUFFIXES = (".stdout", ".stderr")


class RunBytes(NamedTuple):
    run: str
    bytes: int
    shared: int


class Usage(NamedTuple):
    home: str
    places: dict[str, int]
    runs: list[RunBytes]
    free: int
    total: int
    complete: bool
    shared: str
    """Name of the folder of shared files that is the same for all workers that share it."""


class DiskUsage:
    """Measurements of a worker, one at a time. They run in a thread."""

    def __init__(self, root: Path, shared: Path) -> None:
        """`root`: the workspace in the home. `shared`: the parent of the runs' shared folders. Both
        are resolved."""
        self._folders = (root, shared)
        self._running: asyncio.Task[Usage] | None = None

    async def measured(self, seconds: float) -> Usage:
        """Return the result of the running measurement, or of a new one that takes at most
        `seconds`."""
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._measure(seconds))
        return await asyncio.shield(self._running)

    async def close(self) -> None:
        """End the measurement."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _measure(self, seconds: float) -> Usage:
        sizes = FolderSizes(seconds)
        try:
            return await asyncio.to_thread(measure, *self._folders, sizes)
        finally:
            sizes.stop()


def measure(root: Path, shared: Path, sizes: FolderSizes) -> Usage:
    """Measure the home of the workspace `root`. The job folders come last, because they may take
    longer than `sizes` allows. May take long."""
    home = root.parent
    places: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    shared_of: Counter[str] = Counter()
    for place, folder in ((FILES, root / "files"), (CONTENT, root / "cache"), (PROJECTS, root / "projects")):
        places[place] = sizes.bytes_of(folder)
    jobs = root / "jobs"
    known = {*(root / name for name in ("files", "cache", "projects")), root, jobs, shared}
    for parent in (home, root):
        for path in entries_of(parent):
            if path not in known:
                places[OTHER] += sizes.bytes_of(path)
    for path in entries_of(shared):
        shared_of[path.name] += sizes.bytes_of(path)
    places[SHARED_FOLDERS] = shared_of.total()
    for folder in entries_of(jobs):
        for path in entries_of(folder):
            size = sizes.bytes_of(path)
            places[LOGS if path.name.endswith(_LOG_SUFFIXES) else JOBS] += size
            runs[folder.name] += size
    sums = [item for item in (runs + shared_of).most_common() if is_name(item[0])]
    largest = [RunBytes(run, runs[run], shared_of[run]) for run, _ in sums[:MOST_RUNS]]
    return Usage(
        os.fsencode(home).decode(errors="replace"),
        dict(places),
        largest,
        *free_space(home),
        sizes.complete,
        _identity(shared),
    )


def _identity(folder: Path) -> str:
    """Return a text that is the same for all processes of this machine that use the folder."""
    try:
        status = folder.stat()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return f"{boot}:{status.st_dev}:{status.st_ino}"
