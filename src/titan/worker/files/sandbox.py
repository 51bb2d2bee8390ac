"""titan_workspace/: the folders in which attempts run, and the files that they share.

    jobs/RUN/JOB.ATTEMPT/       the attempt's working directory, with a copy of its script or
                                project. If the attempt succeeded and left no files, a later attempt
                                reuses the folder
    jobs/RUN/JOB.ATTEMPT.stdout and .stderr
                                the attempt's output
    shared/RUN/                 files that the jobs of a run share on this node (TITAN_SHARED)
    cache/HASH                  scripts and archives, by content
    projects/                   unpacked projects, see `files.projects`
    files/                      outputs and inputs of jobs, see `files.cache`
    removed                     runs whose folders were removed, see `files.removed_folders`

Owns paths and copies. This module must not know when attempts run. `sweep` removes folders of old
runs, and artifacts that were not used for a while.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

from titan.host.remove_folder import remove_folder
from titan.model.dag import JobTemplate
from titan.worker.files.cache import PlacedFile
from titan.worker.files.open_beneath import is_below
from titan.worker.files.projects import Projects
from titan.worker.files.removed_folders import RemovedFolders
from titan.worker.files.retention import ARTIFACT_S, Retention, over_limit
from titan.worker.files.run_folders import RunFolders
from titan.worker.files.spare_folders import PROGRAM_BYTES, Content, FolderState, SpareFolders, note, remove
from titan.worker.state_machine.machine import Assignment

COPY_BYTES = 256 * 1024
PROGRAMS = 64
MOST_RUNS = 10_000
"""Maximum number of runs with folders. Above it `sweep` removes those that were untouched for
longest."""
TOUCH_S = 60.0
"""Shortest interval between two records of the use of a cached artifact."""
_HASH = re.compile(r"[0-9a-f]{64}")


class Place(NamedTuple):
    """Paths of one attempt."""

    cwd: str
    stdout: str
    stderr: str
    shared: str
    folder_state: FolderState | None = None
    """State of the folder when it was made, if it may be reused."""
    placed: tuple[PlacedFile, ...] = ()
    """Large inputs in the folder, to be removed when the attempt is over."""


class Workspace:
    def __init__(self, home: Path, shared: Path | None = None) -> None:
        """Open the workspace of a home. `shared` is the parent folder of the runs' shared folders,
        if several workers of this node share it. None: a folder in the workspace."""
        self._home = str(home.resolve())
        self.root = Path(self._home) / "titan_workspace"
        self.jobs = self.root / "jobs"
        self.shared = shared.resolve() if shared else self.root / "shared"
        self.cache = self.root / "cache"
        for folder in (self.jobs, self.shared, self.cache):
            folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.cache.glob("*.part"):
            leftover.unlink(missing_ok=True)
        self._jobs, self._cache = str(self.jobs), str(self.cache)
        self.distrusted = self._distrust_before_boot()
        """The machine was rebooted since the worker's last start, so files that were not synced may
        be damaged."""
        self.runs = RunFolders(self._jobs, str(self.shared))
        self._printed: dict[int, str] = {}
        """Lease of a successful attempt -> its folder, beside which its logs are. `forget` removes
        the entry."""
        self._spares = SpareFolders()
        self.removed = RemovedFolders(self.root / "removed")
        self.projects = Projects(self.root, self._jobs, self._cache)
        self._noted: dict[int, tuple[str, str]] = {}
        """Lease of an attempt with placed files -> its folder, and the hash of its project if
        nothing else was placed there."""
        self._programs: dict[str, bytes] = {}
        self._touched: dict[str, float] = {}

    def _distrust_before_boot(self) -> bool:
        """Empty the cache if the machine was rebooted, and return whether it was. Cached files are
        not synced to the disk. So after a loss of power a file may have its name but not its
        content."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        except OSError:
            return False
        noted = self.root / "boot"
        if noted.exists() and noted.read_text() == boot:
            return False
        for name in self.cached():
            (self.cache / name).unlink(missing_ok=True)
        noted.write_text(boot)
        return True

    def cached(self) -> list[str]:
        return [name for name in os.listdir(self.cache) if _HASH.fullmatch(name)]

    def folder_of(self, assignment: Assignment) -> str:
        return f"{self._jobs}/{assignment.run}/{assignment.job}.{assignment.attempt}"

    def may_name(self, run: str, path: str) -> bool:
        """Return whether the worker may read or write the path for a job of this run.

        The folders of the run and of function runners are allowed, and every path outside of the
        home. `path` must not contain links.
        """
        if not is_below(path, self._home):
            return True
        own = (f"{self._jobs}/{run}", f"{self.shared}/{run}", f"{self.root}/runners") if run else ()
        return any(is_below(path, folder) and path != f"{self.root}/runners" for folder in own)

    def prepare(self, assignment: Assignment) -> Place:
        """Create the attempt's folder with its program. This may take long, because a project has
        to be unpacked. Raises OSError, TitanError."""
        cwd, template = self.folder_of(assignment), assignment.template
        if template.archive or assignment.files:
            self._noted[assignment.lease] = (cwd, "" if assignment.files else template.archive)
            self.projects.begin(cwd)
        shared = self.runs.use(assignment.run, assignment.lease)
        content = None if template.archive or template.outputs or assignment.files else self._content(template)
        state = None if content is None else self._spares.take(cwd, content)
        if state is not None and self._spares.emptied:
            self.runs.emptied(os.path.basename(self._spares.emptied))
        else:
            self._make(cwd)
            if template.archive:
                os.utime(self.cache / template.archive)
                self.projects.place(template.archive, cwd)
            elif template.file_hash:
                copy_program(f"{self._cache}/{template.file_hash}", f"{cwd}/{template.file}")
            state = None if content is None else note(cwd, content)
        return Place(cwd, f"{cwd}.stdout", f"{cwd}.stderr", shared, state)

    def note(self, place: Place) -> None:
        """List the files in the folder of an attempt that has no process yet, to remove the
        unchanged ones after the attempt. May block. Raises OSError."""
        self.projects.note(place.cwd, [file.path for file in place.placed])

    def discard(self, assignment: Assignment) -> None:
        """Remove the folder of an attempt that never had a process. May block."""
        remove_folder(self.folder_of(assignment), ignore_errors=True)

    def give_back(self, place: Place, lease: int) -> None:
        """Take back the folder of a successful attempt whose processes have all ended. The folder
        is reused if the attempt left no files in it."""
        self._printed[lease] = place.cwd
        if place.folder_state is not None:
            for state in self._spares.give(place.folder_state):
                remove(state)
                self.runs.emptied(os.path.basename(os.path.dirname(state.path)))

    def forget(self, lease: int, *, printed: bool = True) -> None:
        """Drop an attempt whose result and output the master has. Remove the logs of a successful
        attempt."""
        cwd = self._printed.pop(lease, None)
        if cwd is not None and printed:
            for stream in ("stdout", "stderr"):
                with contextlib.suppress(OSError):  # the attempt printed nothing to that stream
                    os.unlink(f"{cwd}.{stream}")
        if lease in self._noted:
            folder, archive = self._noted.pop(lease)
            self.projects.ended(folder, archive if cwd is not None else "")
        self.runs.done(lease)

    def _make(self, cwd: str) -> None:
        try:
            os.mkdir(cwd)
        except FileNotFoundError:
            os.makedirs(cwd)
        except FileExistsError:  # an earlier process of the worker began this attempt and died
            remove_folder(cwd)
            os.mkdir(cwd)
            for stream in ("stdout", "stderr"):
                Path(f"{cwd}.{stream}").unlink(missing_ok=True)

    def _content(self, template: JobTemplate) -> Content | None:
        """Return the content of a new folder with this template's program, None if the program is
        too large to be compared. Record the use of the program in the cache."""
        hash_ = template.file_hash
        if not hash_:
            return Content()
        source, now = f"{self._cache}/{hash_}", time.monotonic()
        if now - self._touched.get(hash_, -TOUCH_S) >= TOUCH_S:
            os.utime(source)
            if len(self._programs) >= PROGRAMS:
                self._programs.clear()
                self._touched.clear()
            self._touched[hash_] = now
            with open(source, "rb") as file:
                self._programs[hash_] = file.read(PROGRAM_BYTES + 1)
        program = self._programs[hash_]
        return Content(template.file, program) if len(program) <= PROGRAM_BYTES else None

    def sweep(self, retention: Retention, in_use: set[str], now: float) -> Swept:
        """Remove the folders of runs that were not touched in the `keep_s` seconds before `now`,
        and of the oldest runs above `keep_bytes`. Remove old artifacts too. The call may take long.

        The folders of the runs `in_use` are touched first, so that other workers of this node,
        which may sweep the same shared folder, keep them.
        """
        for run in in_use:
            for parent in (self.jobs, self.shared):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(parent / run)
        limit, old, above, artifacts = now - retention.keep_s, [], [], []
        for parent in (self.jobs, self.shared):
            entries = list(os.scandir(parent))
            limit_here = _age_of_newest(entries, MOST_RUNS)
            for entry in entries:
                if entry.name not in in_use and _older(entry, limit):
                    old.append(entry.path)
                elif entry.name not in in_use and _older(entry, limit_here):
                    above.append(entry.path)
        folders = self._remove(old, now, retention.keep_option) + self._remove(above, now, "")
        if retention.keep_bytes:
            parents = (self._jobs, str(self.shared))
            over = over_limit(parents, retention.keep_bytes, lambda run: run in in_use or self.runs.uses(run))
            folders += self._remove(over, now, retention.size_option)
        artifact_limit = now - max(retention.keep_s, ARTIFACT_S)
        for entry in list(os.scandir(self.cache)):
            if _HASH.fullmatch(entry.name) and _older(entry, artifact_limit):
                Path(entry.path).unlink(missing_ok=True)
                artifacts.append(entry.name)
        self.projects.forget(artifacts)
        return Swept(folders, artifacts)

    def _remove(self, paths: list[str], now: float, option: str) -> int:
        """Remove the folders of runs that nobody uses, and record it. Return their number."""
        removed = [path for path in paths if self.runs.remove(path)]
        with contextlib.suppress(OSError):  # a full disk: only people miss the record
            self.removed.add(dict.fromkeys(map(os.path.basename, removed)), now, option)
        return len(removed)


def copy_program(source: str, target: str) -> None:
    """Copy a program to `target`, which must not exist, and make it executable by all."""
    from_ = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        to = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755)
        try:
            while part := os.read(from_, COPY_BYTES):
                _write_all(to, part)
            os.fchmod(to, 0o755)  # because the umask applied to the mode in `open`
        finally:
            os.close(to)
    finally:
        os.close(from_)


def _write_all(fd: int, data: bytes) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, data[done:])


class Swept(NamedTuple):
    folders: int
    artifacts: list[str]


def _age_of_newest(entries: list[os.DirEntry[str]], most: int) -> float:
    """Return the modification time of the oldest among the `most` newest entries. Return 0 if there
    are at most `most` entries."""
    if len(entries) <= most:
        return 0.0
    times = []
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):
            times.append(entry.stat(follow_symlinks=False).st_mtime)
    return sorted(times)[-most] if len(times) > most else 0.0


def _older(entry: os.DirEntry[str], limit: float) -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_mtime < limit
    except FileNotFoundError:
        return False
