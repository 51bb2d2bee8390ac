"""Folders are removed completely, however deep they are nested and whatever their permissions
are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from titan.host.remove_folder import remove_folder

DEPTH = 5000


def deep(path: Path, depth: int = DEPTH) -> Path:
    """Make a folder that is nested so deep that no path can name its innermost folder."""
    path.mkdir()
    here = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("inner", dir_fd=here)
        inner = os.open("inner", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    return path


def test_a_folder_nested_deeper_than_pythons_recursion_limit_is_removed(tmp_path: Path) -> None:
    folder = deep(tmp_path / "deep")
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_folders_with_files_of_all_kinds_are_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    folder = tmp_path / "folder"
    (folder / "a/b/c").mkdir(parents=True)
    (folder / "a/b/c/file").write_text("x")
    (folder / "a/to_folder").symlink_to(outside)
    (folder / "a/to_file").symlink_to(outside / "kept")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "a/b/fifo")
    os.link(outside / "kept", folder / "hard")
    (folder / "empty").mkdir()
    remove_folder(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["outside"]
    assert (outside / "kept").read_text() == "x"


def test_removing_a_missing_folder_is_no_error_and_removing_a_link_or_file_is_one(tmp_path: Path) -> None:
    remove_folder(tmp_path / "nothing")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(NotADirectoryError):
            remove_folder(tmp_path / name)
        remove_folder(tmp_path / name, ignore_errors=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link", "real"]


AS_NOBODY = """
import os
from titan.host.remove_folder import remove_folder
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
os.makedirs("locked/inner/more")
open("locked/inner/more/file", "w").close()
for path in ("locked/inner/more", "locked/inner", "locked"):
    os.chmod(path, 0)
remove_folder("locked")
assert os.listdir(".") == [], os.listdir(".")
"""


def test_a_folder_without_permissions_is_removed_by_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    done = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
