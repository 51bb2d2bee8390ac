"""What the measurement of a worker's home finds, and where."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from titan.host.folder_size import FolderSizes
from titan.worker.files import disk_usage
from titan.worker.files.disk_usage import DiskUsage, RunBytes, Usage, measure

MIB = 1 << 20


def put(path: Path, mib: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(mib * MIB))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with files of each sort, each of another size."""
    root = tmp_path / "home" / "titan_workspace"
    put(root / "jobs" / "run1" / "a.1" / "left", 1)
    put(root / "jobs" / "run1" / "a.1.stdout", 2)
    put(root / "jobs" / "run2" / "b.1" / "left", 3)
    put(root / "shared" / "run2" / "between", 4)
    put(root / "files" / "hash", 5)
    put(root / "cache" / "hash", 6)
    put(root / "projects" / "1" / "file", 7)
    put(root / "results" / "value", 8)
    put(root.parent / "notes", 1)
    return root


def in_mib(size: int) -> int:
    """Folders take some KiB besides."""
    return size // MIB


def test_each_sort_of_files_and_each_run_is_measured(root: Path) -> None:
    usage = measure(root, root / "shared", FolderSizes())
    assert {place: in_mib(size) for place, size in usage.places.items()} == {
        "job folders": 4,
        "logs": 2,
        "shared folders": 4,
        "file cache": 5,
        "scripts and values": 6,
        "projects": 7,
        "other": 9,
    }
    assert [(run.run, in_mib(run.bytes), in_mib(run.shared)) for run in usage.runs] == [("run2", 3, 4), ("run1", 3, 0)]
    assert usage.complete and usage.home == str(root.parent)
    assert 0 < usage.free <= usage.total


def test_workers_of_one_shared_folder_report_the_same_name(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "both" / "run9" / "file", 1)
    first, second = (measure(root, tmp_path / "both", FolderSizes()) for _ in range(2))
    assert first.shared == second.shared != measure(root, root / "shared", FolderSizes()).shared
    assert in_mib(first.places["shared folders"]) == 1


def test_a_folder_that_is_no_run_has_no_row(root: Path) -> None:
    """A job of the same user can make one; its name may be no text."""
    for name in (b"run-\xff", b".run1.removed", b"a b"):
        folder = os.fsencode(root / "jobs") + b"/" + name
        os.mkdir(folder)
    assert {run.run for run in measure(root, root / "shared", FolderSizes()).runs} == {"run1", "run2"}


def test_the_largest_runs_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_usage, "MOST_RUNS", 1)
    assert [run.run for run in measure(root, root / "shared", FolderSizes()).runs] == ["run2"]


def test_a_measurement_without_time_is_incomplete(root: Path) -> None:
    usage = measure(root, root / "shared", FolderSizes(seconds=-1.0))
    assert not usage.complete and sum(usage.places.values()) == 0


def test_requests_during_a_measurement_get_its_result(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[FolderSizes] = []
    go = threading.Event()

    def slow(root: Path, shared: Path, sizes: FolderSizes) -> Usage:
        begun.append(sizes)
        go.wait(20)
        return Usage("", {}, [RunBytes("run", 1, 1)], 0, 0, True, "")

    async def test() -> None:
        usage = DiskUsage(root, root / "shared")
        both = [asyncio.create_task(usage.measured(5.0)) for _ in range(2)]
        while not begun:
            await asyncio.sleep(0)
        go.set()
        assert await both[0] is await both[1]
        assert len(begun) == 1
        assert await usage.measured(5.0) is not await both[0], "a later request measures anew"

    monkeypatch.setattr(disk_usage, "measure", slow)
    asyncio.run(test())


def test_the_end_of_the_worker_ends_a_measurement(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    put(root / "jobs" / "run3" / "file", 1)

    def endless(root: Path, shared: Path, sizes: FolderSizes) -> Usage:
        while sizes.complete:
            sizes.bytes_of(root)
            begun.set()
        return Usage("", {}, [], 0, 0, False, "")

    async def test() -> None:
        usage = DiskUsage(root, root / "shared")
        asked = asyncio.create_task(usage.measured(1e9))
        await asyncio.to_thread(begun.wait, 20)
        await usage.close()
        with pytest.raises(asyncio.CancelledError):
            await asked

    monkeypatch.setattr(disk_usage, "measure", endless)
    asyncio.run(test())  # does not return while a thread of it measures
