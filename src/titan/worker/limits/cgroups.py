"""Enforcement of an attempt's limits by control groups (cgroups), version 1 or 2. Without cgroups a
limit applies to each process of the attempt.

Owns one folder per worker process in each cgroup hierarchy that the worker uses. The folder has one
group per attempt that has limits. Attempts without limits cost nothing. The name of the folder has
the pid and the start time of its worker. So a later worker on the machine can remove the groups of
a killed worker. This module must not know jobs or wardens. `isolated.limits` moves a process into
its groups before the process executes the job.

| limit | v2 | v1 | without cgroups |
| --- | --- | --- | --- |
| memory | memory.max, no swap | memory.limit_in_bytes, memsw | RLIMIT_AS, per process |
| cpus | cpu.max | cpu.cfs_quota_us | CPU affinity, rounded up |
| processes | pids.max | pids.max | RLIMIT_NPROC |

RLIMIT_NPROC counts all processes of the user. It does not apply to root.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from titan.model.dag import Limits
from titan.worker.limits.group_removal import empty, kill_all

log = logging.getLogger("titan.worker")

PERIOD_US = 100_000
MIN_QUOTA_US = 1_000
CLOSE_S = 1.0
SWEEP_S, SWEEP_MAX_S = 0.05, 60.0
"""First and longest pause between two tries to remove a group."""
SET_ASIDE_S = 1.0
"""A group that still exists after about twice this time is logged, once."""
KINDS = ("memory", "cpus", "processes")
_CONTROLLER = {"memory": "memory", "cpus": "cpu", "processes": "pids"}
_OURS = re.compile(r"titan-(\d+)-(\d+)-(\d+)")
_rmdir = os.rmdir
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Usage(NamedTuple):
    """Resource usage that the groups of an ended attempt recorded."""

    over_memory: bool
    """True if a process was killed because the attempt exceeded its memory limit."""
    peak_bytes: int
    """Highest memory use in bytes. 0: unknown."""


NOTHING = Usage(False, 0)


class Place(NamedTuple):
    """Folder in which a worker creates the groups for one kind of limit."""

    version: int
    folder: Path


class Limiter:
    """Control groups of a worker. `open_limiter` creates a limiter. Call `prepare` before an
    attempt with limits starts, `end` after it has ended, and `close` at the end of the worker."""

    def __init__(self, places: dict[str, Place]) -> None:
        """Create a limiter. `places` has the worker's own folder for each kind of limit that
        cgroups can enforce."""
        self._places = places
        self._groups: dict[int, list[Path]] = {}
        self._leaving: dict[Path, tuple[float, float]] = {}
        """Groups to be removed -> (pause before the next try, time of that try)."""
        self._warned = False

    @property
    def mechanism(self) -> str:
        """Name of the mechanism that enforces the limits, such as "cgroup v1" or "rlimit". If
        limits differ in their mechanism, each mechanism with its limits."""
        by_name: dict[str, list[str]] = {}
        for kind in KINDS:
            place = self._places.get(kind)
            by_name.setdefault(f"cgroup v{place.version}" if place else "rlimit", []).append(kind)
        if len(by_name) == 1:
            return next(iter(by_name))
        return ", ".join(f"{name} ({' '.join(kinds)})" for name, kinds in by_name.items())

    def prepare(self, lease: int, limits: Limits) -> dict[str, Any]:
        """Create the groups of an attempt. Return the setup with which the warden puts the
        attempt's process into them. Raises OSError."""
        setup: dict[str, Any] = {}
        groups: list[Path] = self._groups.setdefault(lease, [])
        try:
            for kind in KINDS:
                amount = getattr(limits, kind)
                place = self._places.get(kind)
                if not amount:
                    continue
                if place is None:
                    self._warn_once()
                    setup.update(_per_process(kind, amount, lease))
                    continue
                group = self._group(place.folder, lease, groups)
                if group not in groups:
                    with contextlib.suppress(FileExistsError):
                        group.mkdir()
                    groups.append(group)
                _limit(group, place.version, kind, amount)
        except OSError:
            self.end(lease)
            raise
        if groups:
            setup["cgroups"] = [str(group / "cgroup.procs") for group in groups]
        return setup

    def _group(self, folder: Path, lease: int, groups: list[Path]) -> Path:
        """Return the path of the attempt's group in `folder`, or a free path for it. The path of a
        group that is still to be removed is not reused. A restart of a service can leave such a
        group."""
        for group in groups:
            if group.parent == folder:
                return group
        found, number = folder / str(lease), 0
        while found in self._leaving:
            number += 1
            found = folder / f"{lease}.{number}"
        return found

    def end(self, lease: int) -> Usage:
        """Return the usage of an attempt that is over. Remove its groups and kill the processes
        left in them. The usage is NOTHING for an attempt without groups."""
        groups = self._groups.pop(lease, None)
        if not groups:
            return NOTHING
        memory = self._places.get("memory")
        usage = NOTHING
        for group in groups:
            if memory is not None and group.parent == memory.folder:
                usage = _usage(group, memory.version)
        for group in groups:
            if not _gone(group):
                self._leaving[group] = (SWEEP_S, time.monotonic() + SWEEP_S)
        return usage

    def sweep(self, now: float | None = None) -> float | None:
        """Try again to remove the groups that are due by `now`, or all groups if `now` is None.
        Return when the next group is due, None if no group is left.

        A group cannot be removed while one of its processes is still ending, while it contains
        groups that the job created, or while another program uses it. So the pause doubles with
        each try, up to a minute. The call may take long, so it runs in a thread.
        """
        for group, (pause_s, due) in list(self._leaving.items()):
            if now is not None and due > now:
                continue
            if _remove(group):
                del self._leaving[group]
                continue
            self._leaving[group] = (min(2 * pause_s, SWEEP_MAX_S), time.monotonic() + pause_s)
            if pause_s < SET_ASIDE_S <= 2 * pause_s:
                log.warning(
                    "the cgroup %s cannot be removed yet, the worker tries again; %d cgroups are left", group, len(self._leaving)
                )
        return min((due for _, due in self._leaving.values()), default=None)

    @property
    def left(self) -> int:
        """Number of groups that are still to be removed."""
        return len(self._leaving)

    def take_over(self, groups: list[Path]) -> None:
        """Add groups that killed workers left behind. The next `sweep` removes them."""
        self._leaving.update({group: (SWEEP_S, time.monotonic()) for group in groups})

    def close(self) -> None:
        """Remove all groups. Wait up to 1 s for their processes to end."""
        for lease in list(self._groups):
            self.end(lease)
        give_up = time.monotonic() + CLOSE_S
        while self.sweep() is not None and time.monotonic() < give_up:
            time.sleep(0.01)
        for folder in dict.fromkeys(place.folder for place in self._places.values()):
            _remove(folder)

    def _warn_once(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "cgroups cannot enforce every limit here (%s): the others apply to each process of a job, not to their sum",
                self.mechanism,
            )


def open_limiter(proc: Path = Path("/proc")) -> Limiter:
    """Find the control groups of this machine and create the worker's folders in them. Remove the
    folders of workers that were killed.

    Call `proven` before the first job: it checks that a process can enter the groups.
    """
    name = f"titan-{_pid_namespace(proc)}-{os.getpid()}-{_born(proc, os.getpid())}"
    places: dict[str, Place] = {}
    leftover: dict[Path, None] = {}
    for kind, version, base in _bases(proc):
        if kind not in places:
            leftover.update(dict.fromkeys(_left_by_the_dead(proc, base)))
            folder = base / name
            try:
                if version == 2:
                    _delegate(base, folder)
                folder.mkdir(exist_ok=True)
                if version == 2:
                    _enable(folder)
            except OSError:
                continue
            places[kind] = Place(version, folder)
    limiter = Limiter(places)
    limiter.take_over(list(leftover))
    limiter.sweep()
    return limiter


def proven(limiter: Limiter) -> Limiter:
    """Put a test process into groups of the limiter. Return the limiter if that works, otherwise a
    limiter without groups. The check takes 20 to 40 ms."""
    if not limiter._places:
        return limiter
    try:
        setup = limiter.prepare(0, Limits(memory=64 << 20, cpus=1.0, processes=64))
        _run_in(setup["cgroups"])
        limiter.end(0)
    except (OSError, subprocess.SubprocessError) as error:
        limiter.close()
        log.warning("cgroups exist but cannot be used: %s", error)
        without = Limiter({})
        without.take_over(list(limiter._leaving))
        return without
    return limiter


# -- folders ---------------------------------------------------------------------------------------
def _bases(proc: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield (kind of limit, cgroup version, folder in which a worker may create its own folder),
    best first."""
    mounts = list(_mounts(proc))
    own = {}
    for line in _lines(proc / "self/cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    for kind, controller in _CONTROLLER.items():
        for root, point, type_, options in mounts:
            if type_ == "cgroup" and controller in options and controller in own:
                folder = _inside(root, point, own[controller])
                if os.access(folder, os.W_OK):
                    yield kind, 1, folder
    for root, point, type_, _ in mounts:
        if type_ != "cgroup2" or "" not in own:
            continue
        folder = _inside(root, point, own[""])
        while True:
            controllers_here = _words(folder / "cgroup.controllers")
            if os.access(folder, os.W_OK) and all(controller in controllers_here for controller in _CONTROLLER.values()):
                for kind in KINDS:
                    yield kind, 2, folder
            if folder in (point, folder.parent):
                break
            folder = folder.parent


def _inside(root: str, point: Path, path: str) -> Path:
    """Return the folder for a `path` of /proc/self/cgroup. `point` is the mount point of the
    hierarchy and `root` the root of the mount within the hierarchy."""
    inner = os.path.relpath(path, root) if path.startswith(root) else "."
    return point if inner == "." or inner.startswith("..") else point / inner


def _mounts(proc: Path) -> Iterator[tuple[str, Path, str, list[str]]]:
    for line in _lines(proc / "self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if len(fields) > 4 and more and more[0] in ("cgroup", "cgroup2"):
            point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4])
            yield fields[3], Path(point), more[0], more[-1].split(",")


def _delegate(base: Path, folder: Path) -> None:
    """Make the controllers available to the groups below `base`, in a hierarchy of version 2.

    The kernel does not let a group with processes delegate its controllers. If this worker is the
    only process in the group, it moves itself to a new group below.
    """
    if all(controller in _words(base / "cgroup.subtree_control") for controller in _CONTROLLER.values()):
        return
    try:
        _enable(base)
    except OSError:
        alone = _lines(base / "cgroup.procs") == [str(os.getpid())]
        if not alone:
            raise
        leaf = folder.with_name(f"{folder.name}.worker")
        leaf.mkdir(exist_ok=True)
        _write(leaf / "cgroup.procs", "0")
        _enable(base)


def _enable(group: Path) -> None:
    _write(group / "cgroup.subtree_control", " ".join(f"+{controller}" for controller in _CONTROLLER.values()))


# -- one group -------------------------------------------------------------------------------------
def _limit(group: Path, version: int, kind: str, amount: float) -> None:
    if kind == "processes":
        _write(group / "pids.max", str(int(amount)))
    elif kind == "cpus":
        quota = max(MIN_QUOTA_US, int(amount * PERIOD_US))
        if version == 2:
            _write(group / "cpu.max", f"{quota} {PERIOD_US}")
        else:
            _write(group / "cpu.cfs_period_us", str(PERIOD_US))
            with contextlib.suppress(OSError):  # the parent group allows less, and its limit applies
                _write(group / "cpu.cfs_quota_us", str(quota))
    elif version == 2:
        _write(group / "memory.max", str(int(amount)))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(OSError):  # no swap, or an older kernel
                _write(group / name, value)
    else:
        _write(group / "memory.limit_in_bytes", str(int(amount)))
        if (group / "memory.memsw.limit_in_bytes").exists():
            with contextlib.suppress(OSError):
                _write(group / "memory.memsw.limit_in_bytes", str(int(amount)))


def _per_process(kind: str, amount: float, lease: int) -> dict[str, Any]:
    if kind == "memory":
        return {"RLIMIT_AS": int(amount)}
    if kind == "processes":
        return {"RLIMIT_NPROC": int(amount)}
    cpus = sorted(os.sched_getaffinity(0))
    count = min(len(cpus), -int(-amount // 1))
    return {"affinity": [cpus[(lease + i) % len(cpus)] for i in range(count)]}


def _usage(group: Path, version: int) -> Usage:
    counts = dict(
        line.split(None, 1) for line in _lines(group / ("memory.events" if version == 2 else "memory.oom_control")) if " " in line
    )
    peak = _lines(group / ("memory.peak" if version == 2 else "memory.max_usage_in_bytes"))
    return Usage(int(counts.get("oom_kill", 0)) > 0, int(peak[0]) if peak and peak[0].isdigit() else 0)


def _gone(group: Path) -> bool:
    """Try to remove a group. If it cannot be removed, kill its processes. Return whether the group
    is gone. The first try removes nearly every group."""
    try:
        _rmdir(group)
    except FileNotFoundError:
        return True
    except OSError:
        kill_all(group)
        return False
    return True


def _remove(group: Path) -> bool:
    """Try to remove a group with all groups in it. Return whether the group is gone. One pass may
    not suffice (see `empty`)."""
    return _gone(group) or (empty(group) > 0 and _gone(group))


def _left_by_the_dead(proc: Path, base: Path) -> list[Path]:
    """Return the folders that killed workers of this machine left in `base`."""
    namespace = _pid_namespace(proc)
    leftover = []
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(base)):
            match = _OURS.match(entry.name)
            if match and match[1] == namespace and match[3] != _born(proc, int(match[2])):
                leftover.append(Path(entry.path))
    return leftover


def _run_in(groups: list[str]) -> None:
    def enter() -> None:
        for path in groups:
            _write(Path(path), "0")

    subprocess.run(["/bin/true"], preexec_fn=enter, check=True, stdin=subprocess.DEVNULL)


def _pid_namespace(proc: Path) -> str:
    try:
        return re.sub(r"\D", "", os.readlink(proc / "self/ns/pid")) or "0"
    except OSError:
        return "0"


def _born(proc: Path, pid: int) -> str:
    """Return the start time of a process in ticks since boot, "" if there is no such process."""
    try:
        return (proc / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
