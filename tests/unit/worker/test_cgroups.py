"""Limits by cgroups, with trees of files like those of cgroups version 1, version 2, or none. Also
how a process enters a group."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from titan.model.dag import Limits
from titan.worker.isolated.limits import limits_setter
from titan.worker.limits import cgroups
from titan.worker.limits.cgroups import Usage, open_limiter
from titan.worker.limits.group_removal import empty

ALL = Limits(memory=512 << 20, cpus=1.5, processes=64)


class Machine:
    """Folders in place of /proc and /sys/fs/cgroup. Groups are created and removed with their
    files, as a kernel does."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.sys = base / "proc", base / "sys"
        (self.proc / "self/ns").mkdir(parents=True)
        os.symlink("pid:[4026531836]", self.proc / "self/ns/pid")
        self.live(os.getpid(), 777)
        self._memberships: list[str] = []
        self._mounts: list[str] = []
        real = os.rmdir

        def rmdir(path: Path) -> None:
            for name in os.listdir(path):
                (Path(path) / name).unlink()
            real(path)

        monkeypatch.setattr(cgroups, "_rmdir", rmdir)

    def live(self, pid: int, born: int) -> None:
        (self.proc / str(pid)).mkdir(exist_ok=True)
        fields = ["S", *["0"] * 18, str(born), "0"]
        (self.proc / str(pid) / "stat").write_text(f"{pid} (a name) with ) {' '.join(fields)}\n")

    def mount(self, type_: str, controllers: str, path: str, *, root: str = "/") -> Path:
        """Mount a hierarchy, and return the folder of this process's group in it."""
        point = self.sys / (controllers or "unified")
        folder = point / os.path.relpath(path, root)
        folder.mkdir(parents=True)
        self._mounts.append(f"31 23 0:28 {root} {point} rw,nosuid - {type_} {type_} rw,{controllers}")
        self._memberships.append(f"0:{controllers}:{path}")
        (self.proc / "self/mountinfo").write_text("\n".join(self._mounts))
        (self.proc / "self/cgroup").write_text("\n".join(self._memberships))
        return folder


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


def test_limits_are_set_in_cgroups_of_version_2(machine: Machine) -> None:
    base = machine.mount("cgroup2", "", "/system.slice/titan.service")
    (base / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (base / "cgroup.subtree_control").write_text("cpu memory pids\n")
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "cgroup v2"
    own = base / f"titan-4026531836-{os.getpid()}-777"
    assert (own / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    how = limiter.prepare(5, ALL)
    assert how == {"cgroups": [str(own / "5" / "cgroup.procs")]}
    assert contents(own / "5") == {
        "cpu.max": "150000 100000",
        "memory.max": str(512 << 20),
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "pids.max": "64",
    }
    (own / "5" / "memory.events").write_text("low 0\nhigh 0\nmax 31\noom 1\noom_kill 1\n")
    (own / "5" / "memory.peak").write_text("536870912\n")
    assert limiter.end(5) == Usage(True, 536870912)
    assert not (own / "5").exists()
    limiter.close()
    assert not own.exists()


def test_controllers_of_cgroups_version_2_are_enabled_for_the_children(machine: Machine) -> None:
    base = machine.mount("cgroup2", "", "/user.slice/x.scope")
    for folder in (base, base.parent):
        (folder / "cgroup.controllers").write_text("cpu memory pids")
        (folder / "cgroup.subtree_control").write_text("")
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "cgroup v2"
    assert (base / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"


def test_a_worker_alone_in_its_group_moves_into_a_child_group(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that contains processes cannot delegate controllers to its children."""
    base = machine.mount("cgroup2", "", "/titan.service")
    (base / "cgroup.controllers").write_text("cpu memory pids")
    (base / "cgroup.procs").write_text(f"{os.getpid()}\n")
    real = cgroups._write

    def write(path: Path, text: str) -> None:
        if path.name == "cgroup.procs" and text == "0":
            (base / "cgroup.procs").write_text("")
        if path == base / "cgroup.subtree_control" and (base / "cgroup.procs").read_text():
            raise OSError(16, "Device or resource busy")
        real(path, text)

    monkeypatch.setattr(cgroups, "_write", write)
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "cgroup v2"
    assert (base / f"titan-4026531836-{os.getpid()}-777.worker" / "cgroup.procs").read_text() == "0"


def test_limits_are_set_in_cgroups_of_version_1(machine: Machine) -> None:
    memory = machine.mount("cgroup", "memory", "/docker/abc", root="/docker")
    cpu = machine.mount("cgroup", "cpu,cpuacct", "/")
    pids = machine.mount("cgroup", "pids", "/")
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "cgroup v1"
    name = f"titan-4026531836-{os.getpid()}-777/9"
    (memory / name).mkdir()
    (memory / name / "memory.memsw.limit_in_bytes").write_text("")
    how = limiter.prepare(9, ALL)
    assert how == {"cgroups": [str(base / name / "cgroup.procs") for base in (memory, cpu, pids)]}
    assert contents(memory / name) == {"memory.limit_in_bytes": str(512 << 20), "memory.memsw.limit_in_bytes": str(512 << 20)}
    assert contents(cpu / name) == {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "150000"}
    assert contents(pids / name) == {"pids.max": "64"}
    (memory / name / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
    (memory / name / "memory.max_usage_in_bytes").write_text("123\n")
    assert limiter.end(9) == Usage(False, 123)
    assert limiter.end(9) == Usage(False, 0)


def test_only_the_groups_that_are_needed_are_made(machine: Machine) -> None:
    memory = machine.mount("cgroup", "memory", "/")
    pids = machine.mount("cgroup", "pids", "/")
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "cgroup v1 (memory processes), rlimit (cpus)"
    limiter.prepare(1, Limits(processes=3))
    assert not list(memory.glob("*/1"))
    assert list(pids.glob("*/1"))


def test_without_cgroups_limits_hold_for_each_process_and_the_log_says_so_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = open_limiter(machine.proc)
    assert limiter.mechanism == "rlimit"
    with caplog.at_level(logging.WARNING):
        how = limiter.prepare(1, Limits(memory=1 << 30, cpus=0.5, processes=7))
        limiter.prepare(2, Limits(memory=1 << 30))
    assert (how["RLIMIT_AS"], how["RLIMIT_NPROC"], len(how["affinity"])) == (1 << 30, 7, 1)
    assert [record.message for record in caplog.records] == [
        "cgroups cannot enforce every limit here (rlimit): the others apply to each process of a job, not to their sum"
    ]
    assert limiter.end(1) == Usage(False, 0)


def test_groups_of_dead_workers_are_removed_and_others_stay(machine: Machine) -> None:
    pids = machine.mount("cgroup", "pids", "/")
    machine.live(4000, 11)
    names = ("titan-4026531836-4000-11", "titan-4026531836-4000-10", "titan-4026531836-4001-5", "titan-1-4001-5", "other")
    for name in names:
        (pids / name / "1").mkdir(parents=True)
    open_limiter(machine.proc)
    left = sorted(path.name for path in pids.iterdir())
    assert left == sorted(["other", "titan-1-4001-5", "titan-4026531836-4000-11", f"titan-4026531836-{os.getpid()}-777"])


def test_a_group_that_is_being_removed_is_not_used_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may start its next process while its previous process is being killed. The removal
    of the old group must not kill the new process."""
    for kind in ("memory", "cpu", "pids"):
        machine.mount("cgroup", kind, "/")
    limiter = open_limiter(machine.proc)
    (first,) = limiter.prepare(5, Limits(processes=64))["cgroups"]
    real = cgroups._rmdir

    def busy(path: Path) -> None:
        raise OSError(16, "busy", str(path))

    monkeypatch.setattr(cgroups, "_rmdir", busy)
    limiter.end(5)
    (second,) = limiter.prepare(5, Limits(processes=64))["cgroups"]
    assert second != first
    monkeypatch.setattr(cgroups, "_rmdir", real)
    assert limiter.sweep() is None
    assert not Path(first).parent.exists() and Path(second).parent.exists()
    limiter.end(5)
    assert not Path(second).parent.exists()
    limiter.close()


def test_nested_groups_that_a_job_made_are_removed(machine: Machine) -> None:
    machine.mount("cgroup", "pids", "/")
    limiter = open_limiter(machine.proc)
    (procs,) = limiter.prepare(5, Limits(processes=64))["cgroups"]
    here = os.open(Path(procs).parent, os.O_RDONLY)
    for _ in range(300):  # deeper than a path can name
        for name in ("deep-down-in-there", "beside"):
            os.mkdir(name, dir_fd=here)
        below = os.open("deep-down-in-there", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    limiter.end(5)
    assert limiter.left == 1  # the end of an attempt does not remove nested groups
    assert empty(Path(procs).parent, 50) <= 50  # a pass is no longer than its limit
    while limiter.sweep() is not None:
        pass
    assert limiter.left == 0
    assert not Path(procs).parent.exists()
    limiter.close()


def test_the_removal_of_a_busy_group_is_retried_at_growing_intervals_and_logged_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine.mount("cgroup", "pids", "/")
    limiter = open_limiter(machine.proc)
    limiter.prepare(5, Limits(processes=64))

    def busy(path: Path) -> None:
        raise OSError(16, "busy", str(path))

    monkeypatch.setattr(cgroups, "_rmdir", busy)
    limiter.end(5)
    assert limiter.sweep(time.monotonic() - 1.0) is not None  # no removal is due
    dues = [limiter.sweep() for _ in range(15)]
    last = dues[-1]
    assert last is not None and 50 < last - time.monotonic() <= 60
    assert caplog.text.count("cannot be removed yet") == 1
    assert limiter.left == 1


def test_a_failed_setup_leaves_no_group(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = machine.mount("cgroup", "pids", "/")
    limiter = open_limiter(machine.proc)

    def refuse(path: Path, text: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(cgroups, "_write", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        limiter.prepare(3, Limits(processes=3))
    assert not list(pids.glob("*/3"))


def test_a_process_enters_its_groups_and_sets_its_limits(tmp_path: Path) -> None:
    procs = tmp_path / "cgroup.procs"
    procs.write_text("")
    enter = limits_setter({"cgroups": [str(procs)], "affinity": sorted(os.sched_getaffinity(0))})
    assert enter is not None
    enter()
    assert procs.read_text() == "0"
    assert limits_setter(None) is None
    with pytest.raises(LookupError, match="no such resource limit"):
        limits_setter({"RLIMIT_NONSENSE": 1})
