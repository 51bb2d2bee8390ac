"""Folders of runs exist while a worker of the node uses them. An empty folder is removed
afterwards."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.worker.files.run_folders import RunFolders


@pytest.fixture
def folders(tmp_path: Path) -> RunFolders:
    for name in ("jobs", "shared"):
        (tmp_path / name).mkdir()
    return RunFolders(str(tmp_path / "jobs"), str(tmp_path / "shared"))


def there(tmp_path: Path) -> list[str]:
    return sorted(f"{parent}/{name}" for parent in ("jobs", "shared") for name in os.listdir(tmp_path / parent))


def test_an_empty_run_folder_is_removed_with_the_last_attempt(folders: RunFolders, tmp_path: Path) -> None:
    assert folders.use("r", 1) == folders.use("r", 2) == str(tmp_path / "shared/r")
    folders.use("s", 3)
    folders.done(1)
    folders.done(3)
    folders.tidy()
    assert there(tmp_path) == ["jobs/r", "shared/r"]
    folders.done(2)
    folders.done(2)
    folders.tidy()
    assert there(tmp_path) == [] and not folders.idle


def test_a_run_folder_with_files_stays(folders: RunFolders, tmp_path: Path) -> None:
    for lease, run in enumerate(("a", "b")):
        folders.use(run, lease)
    (tmp_path / "jobs/a/left").touch()
    (tmp_path / "shared/b/left").touch()
    for lease in range(2):
        folders.done(lease)
    folders.tidy()
    assert there(tmp_path) == ["jobs/a", "shared/b"]
    (tmp_path / "jobs/a/left").unlink()
    folders.emptied("a")
    folders.tidy()
    assert there(tmp_path) == ["shared/b"]


def test_a_shared_folder_that_another_worker_uses_stays(folders: RunFolders, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = RunFolders(str(tmp_path / "other"), str(tmp_path / "shared"))
    folders.use("r", 1)
    other.use("r", 1)
    folders.done(1)
    folders.tidy()
    assert there(tmp_path) == ["shared/r"]
    other.done(1)
    other.tidy()
    assert there(tmp_path) == []


def test_an_empty_run_folder_of_an_earlier_process_is_removed(folders: RunFolders, tmp_path: Path) -> None:
    folders.use("r", 1)
    again = RunFolders(str(tmp_path / "jobs"), str(tmp_path / "shared"))
    folders.done(1)
    again.tidy()
    assert there(tmp_path) == []


@pytest.fixture
def quick_turns() -> Iterator[None]:
    """Switch threads after 10 us. With Python's default of 5 ms, every system call would wait for
    both other threads."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("quick_turns")
def test_folders_may_be_tidied_while_runs_begin_and_end(folders: RunFolders, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = RunFolders(str(tmp_path / "other"), str(tmp_path / "shared"))
    over = threading.Event()

    def tidy(one: RunFolders) -> None:
        while not over.is_set():
            one.tidy()

    threads = [threading.Thread(target=tidy, args=(one,)) for one in (folders, other)]
    for thread in threads:
        thread.start()
    try:
        for lease in range(2000):
            one = (folders, other)[lease % 2]
            # the other worker has just released this folder, and removes empty folders
            path = one.use(f"r{lease // 2 % 3}", lease)
            assert os.path.isdir(path)
            Path(path, "x").touch()
            Path(path, "x").unlink()
            one.done(lease)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    folders.tidy()
    other.tidy()
    assert there(tmp_path) == []
