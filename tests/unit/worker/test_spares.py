"""Folders that are used again, if they are still as they were made."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from titan.model.dag import JobTemplate
from titan.worker.files import spare_folders as spares
from titan.worker.files.sandbox import Workspace
from titan.worker.state_machine.machine import Assignment

SCRIPT = b"print(1)\n"
HASH = hashlib.sha256(SCRIPT).hexdigest()
COMMAND = JobTemplate(command="true")
PYTHON = JobTemplate(file="x.py", file_hash=HASH)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    (workspace.cache / HASH).write_bytes(SCRIPT)
    return workspace


def attempt(template: JobTemplate, number: int = 1, run: str = "r") -> Assignment:
    return Assignment(1, run, "job", number, template, ())


def inode(path: str) -> int:
    return os.stat(path).st_ino


@pytest.mark.parametrize("template", [COMMAND, PYTHON])
def test_an_unchanged_folder_is_reused(workspace: Workspace, template: JobTemplate) -> None:
    first = workspace.prepare(attempt(template))
    number = inode(first.cwd)
    workspace.give_back(first, 1)
    assert inode(workspace.prepare(attempt(template, run="s")).cwd) == number, "also by another run"
    workspace.give_back(workspace.prepare(attempt(template, 2)), 1)
    third = workspace.prepare(attempt(template, 3))
    assert os.listdir(third.cwd) == (["x.py"] if template.file else [])
    assert inode(third.cwd) != number
    assert sorted(os.listdir(workspace.jobs / "r")) == ["job.3"]
    if template.file:
        assert (Path(third.cwd) / "x.py").read_bytes() == SCRIPT and os.access(f"{third.cwd}/x.py", os.X_OK)


def test_a_folder_with_other_content_is_not_reused(workspace: Workspace) -> None:
    workspace.give_back(workspace.prepare(attempt(COMMAND)), 1)
    assert os.listdir(workspace.prepare(attempt(PYTHON, 2)).cwd) == ["x.py"]
    workspace.give_back(workspace.prepare(attempt(PYTHON, 3)), 1)
    other = workspace.prepare(attempt(JobTemplate(file="y.py", file_hash=HASH), 4))
    assert os.listdir(other.cwd) == ["y.py"]


@pytest.mark.parametrize(
    "change",
    [
        "touch left",
        "mkdir .left",
        "printf 'print(2)\\n' > x.py",
        "echo >> x.py",
        "rm x.py",
        "chmod 644 x.py",
        "chmod 700 .",
        "mv x.py z.py",
        "cp x.py ../kept; ln -sf ../kept x.py",
        "rm x.py; mkfifo x.py",
        "rm x.py; mkdir x.py",
        "touch left; sleep 0.02; rm left",
    ],
)
def test_a_folder_that_a_job_changed_is_not_reused(workspace: Workspace, change: str) -> None:
    first = workspace.prepare(attempt(PYTHON))
    number = inode(first.cwd)
    subprocess.run(["sh", "-c", change], cwd=first.cwd, check=True)
    workspace.give_back(first, 1)
    second = workspace.prepare(attempt(PYTHON, 2))
    assert inode(second.cwd) != number
    assert os.listdir(second.cwd) == ["x.py"] and (Path(second.cwd) / "x.py").read_bytes() == SCRIPT


def test_an_old_log_of_the_same_attempt_is_not_taken_over(workspace: Workspace) -> None:
    spare = workspace.prepare(attempt(COMMAND))
    left = workspace.prepare(attempt(COMMAND, 2))
    Path(left.stdout).write_text("of a worker process that died")
    workspace.give_back(spare, 1)
    again = workspace.prepare(attempt(COMMAND, 2))
    assert not Path(again.stdout).exists() and os.listdir(again.cwd) == []


def test_a_spare_folder_that_was_swept_is_made_again(workspace: Workspace) -> None:
    spare = workspace.prepare(attempt(COMMAND))
    workspace.give_back(spare, 1)
    os.rmdir(spare.cwd)
    assert os.listdir(workspace.prepare(attempt(COMMAND, 2)).cwd) == []


def test_a_large_program_is_copied_each_time(workspace: Workspace) -> None:
    text = b"#" * (spares.PROGRAM_BYTES + 1)
    hash_ = hashlib.sha256(text).hexdigest()
    (workspace.cache / hash_).write_bytes(text)
    template = JobTemplate(file="x.py", file_hash=hash_)
    first = workspace.prepare(attempt(template))
    assert first.folder_state is None
    workspace.give_back(first, 1)
    assert inode(workspace.prepare(attempt(template, 2)).cwd) != inode(first.cwd)


def test_spares_are_bounded_and_the_newest_kind_is_kept(workspace: Workspace) -> None:
    places = [workspace.prepare(attempt(COMMAND, n)) for n in range(spares.FOLDERS + 5)]
    for place in places:
        workspace.give_back(place, 1)
    script = workspace.prepare(attempt(PYTHON, 1000))
    number = inode(script.cwd)
    workspace.give_back(script, 1)
    assert inode(workspace.prepare(attempt(PYTHON, 1001)).cwd) == number
    made = workspace.prepare(attempt(COMMAND, 1002))
    assert os.path.isdir(made.cwd) and not any(os.path.exists(place.cwd) for place in places)


def test_a_withdrawn_attempt_that_begins_again_has_its_own_folder(workspace: Workspace) -> None:
    other = workspace.prepare(attempt(COMMAND, run="s"))
    workspace.give_back(other, 1)
    first = workspace.prepare(attempt(COMMAND, 1))
    number = inode(first.cwd)
    workspace.give_back(first, 1)
    again = workspace.prepare(attempt(COMMAND, 1))
    assert inode(again.cwd) == number
    workspace.give_back(again, 1)
    assert inode(workspace.prepare(attempt(COMMAND, 2)).cwd) == number
    assert os.listdir(workspace.jobs / "r") == ["job.2"]
