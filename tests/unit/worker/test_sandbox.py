"""The folder titan_workspace/ on a real disk."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from titan.content.archive import build_archive
from titan.model.dag import JobTemplate
from titan.worker.files.retention import Retention
from titan.worker.files.sandbox import Workspace
from titan.worker.state_machine.machine import Assignment

SCRIPT = b"#!/bin/sh\necho hi\n"
HASH = hashlib.sha256(SCRIPT).hexdigest()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def attempt(template: JobTemplate, number: int = 1) -> Assignment:
    return Assignment(1, "r", "job", number, template, ())


def test_each_attempt_has_its_own_copy_of_its_script(workspace: Workspace) -> None:
    (workspace.cache / HASH).write_bytes(SCRIPT)
    places = [workspace.prepare(attempt(JobTemplate(file="x.sh", file_hash=HASH), n)) for n in (1, 2)]
    assert [Path(p.cwd).relative_to(workspace.jobs) for p in places] == [Path("r/job.1"), Path("r/job.2")]
    first, second = (Path(p.cwd) / "x.sh" for p in places)
    assert os.access(first, os.X_OK)
    first.write_bytes(b"spoilt")
    assert second.read_bytes() == (workspace.cache / HASH).read_bytes() == SCRIPT


def test_a_project_is_unpacked(workspace: Workspace, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "lib").mkdir(parents=True)
    (project / "lib" / "x.py").write_text("pass")
    packed = build_archive(project, workspace.cache)
    packed.path.rename(workspace.cache / packed.sha256)
    place = workspace.prepare(attempt(JobTemplate(file="lib/x.py", archive=packed.sha256)))
    assert (Path(place.cwd) / "lib" / "x.py").read_text() == "pass"


def test_logs_lie_beside_the_folder_and_runs_share_one(workspace: Workspace) -> None:
    place = workspace.prepare(attempt(JobTemplate(command="true")))
    assert (place.stdout, place.stderr) == (f"{place.cwd}.stdout", f"{place.cwd}.stderr")
    assert place.shared == str(workspace.shared / "r")
    assert os.path.isdir(place.shared) and os.listdir(place.cwd) == []


def test_files_of_the_attempt_from_an_earlier_process_are_removed(workspace: Workspace) -> None:
    place = workspace.prepare(attempt(JobTemplate(command="true")))
    Path(place.cwd, "half").touch()
    Path(place.stdout).write_text("old")
    again = workspace.prepare(attempt(JobTemplate(command="true")))
    assert again[:4] == place[:4]
    assert os.listdir(place.cwd) == [] and not Path(place.stdout).exists()


def test_a_script_that_is_not_in_the_cache_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(FileNotFoundError):
        workspace.prepare(attempt(JobTemplate(file="x.sh", file_hash=HASH)))


def test_old_runs_are_swept_unless_they_are_in_use(workspace: Workspace) -> None:
    for lease, run in enumerate(("old", "used", "new")):
        workspace.prepare(Assignment(lease, run, "job", 1, JobTemplate(command="true"), ()))
        if run != "new":
            os.utime(workspace.jobs / run, (1, 1))
            os.utime(workspace.shared / run, (1, 1))
    assert workspace.sweep(Retention(3600.0), set(), time.time()) == (0, []), "they are all in use"
    for run in ("old", "used"):
        os.utime(workspace.jobs / run, (1, 1))
        os.utime(workspace.shared / run, (1, 1))
    workspace.forget(0)
    assert workspace.sweep(Retention(3600.0), {"used"}, time.time()) == (2, [])
    assert sorted(os.listdir(workspace.jobs)) == sorted(os.listdir(workspace.shared)) == ["new", "used"]
    again = workspace.prepare(Assignment(4, "old", "job", 2, JobTemplate(command="true"), ()))
    assert os.path.isdir(again.shared), "a removed folder is created again when it is needed"


def test_artifacts_that_nothing_ran_for_long_are_swept(workspace: Workspace) -> None:
    other = "0" * 64
    for name in (HASH, other, "notes"):
        (workspace.cache / name).write_bytes(SCRIPT)
        os.utime(workspace.cache / name, (1, 1))
    workspace.prepare(attempt(JobTemplate(file="x.sh", file_hash=HASH)))
    assert workspace.sweep(Retention(3600.0), set(), time.time()) == (0, [other])
    assert sorted(os.listdir(workspace.cache)) == sorted([HASH, "notes"])


def test_only_files_named_by_a_hash_belong_to_the_cache(tmp_path: Path) -> None:
    cache = Workspace(tmp_path).cache
    for name in (HASH, f"{HASH}.part", "notes", HASH[:-1]):
        (cache / name).touch()
    workspace = Workspace(tmp_path)
    assert workspace.cached() == [HASH]
    assert not (cache / f"{HASH}.part").exists(), "a new process removes incomplete downloads"


def test_a_cache_of_an_earlier_boot_is_not_trusted(tmp_path: Path) -> None:
    """The files of an earlier boot may not have been synced."""
    workspace = Workspace(tmp_path)
    (workspace.cache / HASH).write_bytes(b"")
    assert Workspace(tmp_path).cached() == [HASH]
    (workspace.root / "boot").write_text("another")
    assert Workspace(tmp_path).cached() == []
