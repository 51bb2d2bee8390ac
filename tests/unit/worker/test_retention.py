"""How long a worker keeps the files of finished runs, and how much of them."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from titan.cli.keeping import arguments_of, retention_of
from titan.errors import CallerError
from titan.host.folder_size import folder_bytes
from titan.model.dag import JobTemplate
from titan.worker.files.retention import LEAST_S, Retention
from titan.worker.files.sandbox import Workspace
from titan.worker.state_machine.machine import Assignment

MIB = 1 << 20
DAY = 86_400.0


def leave(workspace: Workspace, run: str, lease: int, *, age_s: float, size: int = MIB) -> None:
    """Make a finished run that left a file of this size."""
    place = workspace.prepare(Assignment(lease, run, "job", 1, JobTemplate(command="true"), ()))
    Path(place.cwd, "left").write_bytes(os.urandom(size))
    Path(place.shared, "small").write_text("x")
    workspace.forget(lease)
    for parent in (workspace.jobs, workspace.shared):
        os.utime(parent / run, (time.time() - age_s,) * 2)


def test_runs_are_kept_for_the_configured_time(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    leave(workspace, "old", 1, age_s=2 * DAY)
    leave(workspace, "new", 2, age_s=DAY / 2)
    assert workspace.sweep(Retention(DAY), set(), time.time()).folders == 2
    assert os.listdir(workspace.jobs) == os.listdir(workspace.shared) == ["new"]


def test_a_removal_is_recorded_with_its_time_and_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, now = Workspace(tmp_path), time.time()
    leave(workspace, "old", 1, age_s=2 * DAY)
    workspace.sweep(Retention(DAY), set(), now)
    for lease in range(2, 5):
        leave(workspace, f"r{lease}", lease, age_s=1000 - lease)
    workspace.sweep(Retention(keep_bytes=3 * MIB), set(), now)
    monkeypatch.setattr("titan.worker.files.sandbox.MOST_RUNS", 1)
    workspace.sweep(Retention(), set(), now)
    record = Workspace(tmp_path).removed
    found = {run: record.find(run) for run in ("old", "r2", "r3", "r4")}
    at = round(now, 3)
    assert found == {"old": (at, "--keep 1d"), "r2": (at, "--keep-size 3MiB"), "r3": (at, ""), "r4": None}


def test_above_the_size_limit_the_oldest_runs_are_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for lease in range(1, 6):
        leave(workspace, f"r{lease}", lease, age_s=1000 - lease)
    workspace.sweep(Retention(keep_bytes=3 * MIB), {"r1"}, time.time())
    assert sorted(os.listdir(workspace.jobs)) == sorted(os.listdir(workspace.shared)) == ["r1", "r5"], "r1 is in use"
    workspace.sweep(Retention(keep_bytes=3 * MIB), set(), time.time())
    assert sorted(os.listdir(workspace.jobs)) == ["r1", "r5"]


def test_a_shared_folder_that_another_worker_uses_stays(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    leave(workspace, "r", 1, age_s=2 * DAY)
    held = os.open(workspace.shared / "r", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_SH)
    assert workspace.sweep(Retention(DAY), set(), time.time()).folders == 1
    os.close(held)
    assert (workspace.shared / "r" / "small").exists() and os.listdir(workspace.jobs) == []
    assert workspace.sweep(Retention(DAY), set(), time.time()).folders == 1


def test_the_sweep_is_as_frequent_as_the_options_need() -> None:
    assert Retention().pause_s == 3600.0
    assert Retention(keep_bytes=1).pause_s == 60.0
    assert Retention(LEAST_S).pause_s == 15.0


def test_the_options_are_read() -> None:
    assert retention_of("7d", "10GiB") == (7 * DAY, 10 << 30)
    assert retention_of(None, None) == Retention()
    assert arguments_of("1h30m", None) == ["--keep", "1h30m"]


@pytest.mark.parametrize(
    ("keep", "size", "error"),
    [
        ("7", None, "--keep 7: give a unit, as in 7s or 7d"),
        ("week", None, "--keep week: give a number of seconds or a duration such as 90s, 1h30m or 2d"),
        ("5s", None, "--keep 5s: must be at least 1m"),
        (None, "much", "--keep-size much: give bytes, or a number with KiB"),
        (None, "0", "--keep-size 0: must be at least 1MiB"),
    ],
)
def test_wrong_options_name_the_fix(keep: str | None, size: str | None, error: str) -> None:
    with pytest.raises(CallerError) as raised:
        arguments_of(keep, size)
    assert str(raised.value).startswith(error)


def test_the_size_of_a_folder_is_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * MIB)
    alone = folder_bytes(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert MIB <= alone <= folder_bytes(tmp_path) < 2 * MIB
    assert folder_bytes(tmp_path / "missing") == 0
