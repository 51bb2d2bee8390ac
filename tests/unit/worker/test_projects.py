"""Projects in the folders of attempts, on real file systems."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.disks import mounted_image
from titan.content.archive import build_archive
from titan.model.dag import JobTemplate
from titan.worker.files.retention import Retention
from titan.worker.files.sandbox import Place, Workspace
from titan.worker.state_machine.machine import Assignment

MIB = 1 << 20


def with_project(home: Path, source: Path, size: int = 1 * MIB) -> tuple[Workspace, JobTemplate]:
    """Return a workspace whose cache has a project, and the template of an attempt that uses it."""
    (source / "lib" / "empty").mkdir(parents=True)
    (source / "lib" / "x.sh").write_text("true")
    (source / "lib" / "x.sh").chmod(0o755)
    (source / "data").write_bytes(os.urandom(size))
    (source / "link").symlink_to("data")
    workspace = Workspace(home)
    packed = build_archive(source, workspace.cache)
    packed.path.rename(workspace.cache / packed.sha256)
    return workspace, JobTemplate(file="lib/x.sh", archive=packed.sha256)


def begin(workspace: Workspace, template: JobTemplate, lease: int) -> Place:
    place = workspace.prepare(Assignment(lease, "r", f"job{lease}", 1, template, ()))
    workspace.note(place)
    return place


def end(workspace: Workspace, place: Place, lease: int, *, well: bool = True) -> list[str]:
    if well:
        workspace.give_back(place, lease)
    workspace.forget(lease)
    return workspace.projects.clean()


def used(folder: Path) -> int:
    os.sync()
    return int(subprocess.run(["df", "-B1", "--output=used", folder], capture_output=True, text=True, check=True).stdout.split()[1])


@pytest.mark.parametrize(("kind", "clones"), [("btrfs", True), ("xfs", True), ("ext4", False)])
def test_attempts_get_clones_or_copies(tmp_path: Path, kind: str, clones: bool) -> None:
    with mounted_image(tmp_path / "disk", kind) as disk:
        workspace, template = with_project(disk, tmp_path / "source", 20 * MIB)
        assert workspace.projects.clones is clones
        first = begin(workspace, template, 1)
        before = used(disk)
        places = [begin(workspace, template, lease) for lease in range(2, 8)]
        grown = used(disk) - before
        assert grown < 3 * MIB if clones else grown >= 6 * 20 * MIB
        with open(f"{first.cwd}/data", "r+b") as file:
            file.write(b"changed in place")
        for place in places:
            assert Path(place.cwd, "data").read_bytes() == (tmp_path / "source" / "data").read_bytes()
            assert os.access(f"{place.cwd}/lib/x.sh", os.X_OK) and os.readlink(f"{place.cwd}/link") == "data"
            assert os.listdir(f"{place.cwd}/lib/empty") == []
        assert end(workspace, first, 1) == ["r"]
        assert os.listdir(first.cwd) == ["data"] and Path(first.cwd, "data").read_bytes().startswith(b"changed")
        for lease, place in enumerate(places, 2):
            end(workspace, place, lease)
        assert os.listdir(workspace.jobs / "r") == ["job1.1"]


def test_only_what_the_attempt_made_is_kept(tmp_path: Path) -> None:
    workspace, template = with_project(tmp_path / "home", tmp_path / "source")
    place = begin(workspace, template, 1)
    Path(place.cwd, "lib", "result").write_text("made")
    assert end(workspace, place, 1, well=False) == ["r"]
    assert os.listdir(place.cwd) == ["lib"] and os.listdir(f"{place.cwd}/lib") == ["result"]
    assert not Path(f"{place.cwd}.placed").exists()


def test_an_unchanged_copy_is_reused_by_a_later_attempt_of_the_same_project(tmp_path: Path) -> None:
    workspace, template = with_project(tmp_path / "home", tmp_path / "source")
    if workspace.projects.clones:
        pytest.skip("the disk of the tests makes clones")
    place = begin(workspace, template, 1)
    number = os.stat(place.cwd).st_ino
    end(workspace, place, 1)
    assert not Path(place.cwd).exists()
    again = begin(workspace, template, 2)
    assert os.stat(again.cwd).st_ino == number
    os.utime(f"{again.cwd}/data")
    end(workspace, again, 2)
    assert os.stat(begin(workspace, template, 3).cwd).st_ino != number, "the second attempt changed a file"


@pytest.mark.parametrize("kind", ["btrfs", "ext4"])
def test_a_cached_copy_that_a_job_changed_is_not_used(tmp_path: Path, kind: str) -> None:
    with mounted_image(tmp_path / "disk", kind) as disk:
        workspace, template = with_project(disk, tmp_path / "source")
        end(workspace, begin(workspace, template, 1), 1)
        (cached,) = (workspace.root / "projects").iterdir()
        (cached / "data").write_bytes(b"poison")
        place = begin(workspace, template, 2)
        assert Path(place.cwd, "data").read_bytes() == (tmp_path / "source" / "data").read_bytes()


def test_a_worker_that_was_killed_cleans_at_its_next_start(tmp_path: Path) -> None:
    workspace, template = with_project(tmp_path / "home", tmp_path / "source")
    place = begin(workspace, template, 1)
    Path(place.cwd, "result").write_text("made")
    restarted = Workspace(tmp_path / "home")
    running = begin(restarted, template, 2)
    assert restarted.projects.clean_leftovers() == ["r"]
    assert os.listdir(place.cwd) == ["result"]
    assert Path(running.cwd, "data").exists(), "the attempt is running"


def test_folders_of_runs_may_be_removed_while_the_worker_cleans(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "home")
    folders = [workspace.jobs / f"r{number}" for number in range(100)]
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            for folder in folders:
                folder.mkdir()
            for folder in folders:
                folder.rmdir()

    with ThreadPoolExecutor(1) as pool:
        swept = pool.submit(sweep)
        try:
            for _ in range(100):
                assert workspace.projects.clean_leftovers() == []
        finally:
            over.set()
        swept.result()


def test_a_list_that_a_job_spoilt_removes_nothing(tmp_path: Path) -> None:
    workspace, template = with_project(tmp_path / "home", tmp_path / "source")
    place = begin(workspace, template, 1)
    Path(f"{place.cwd}.placed").write_bytes(b"\x91\x94\xc4\x05../ab\x01\x94\x01\x01\x01\x01\xc4\x00")
    end(workspace, place, 1)
    assert Path(place.cwd, "data").exists()


def test_the_cache_of_projects_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.worker.files.projects.PROJECT_BYTES", 3 * MIB)
    workspace, template = with_project(tmp_path / "home", tmp_path / "source")
    places = [begin(workspace, template, lease) for lease in range(5)]
    for lease, place in enumerate(places):
        end(workspace, place, lease)
    assert len(os.listdir(workspace.root / "projects")) <= 2
    workspace.sweep(Retention(), set(), 3e9)
    assert os.listdir(workspace.root / "projects") == [], "the archive was swept"
