"""Files that were placed for an attempt. Files that the attempt left unchanged are removed; all
others stay."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.disks import mounted_tmpfs
from titan.worker.files.placed_tree import PlacedTree, mapping_shows, note_tree


def placed(folder: Path, *, hashed: bool = False) -> PlacedTree:
    (folder / "lib" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "lib" / "a.py").write_text("pass")
    (folder / "lib" / "deep" / "b").write_text("bbbb")
    (folder / "link").symlink_to("lib/a.py")
    (folder / os.fsdecode(b"\xff")).write_text("no text")
    return PlacedTree(str(folder), note_tree(str(folder), hashed=hashed))


def left(folder: Path) -> list[str]:
    found = [Path(at, name) for at, folders, files in os.walk(folder) for name in (*folders, *files)]
    return sorted(str(path.relative_to(folder)) for path in found)


def test_an_unchanged_tree_is_removed(tmp_path: Path) -> None:
    tree = placed(tmp_path / "cwd")
    assert tree.is_unchanged()
    tree.remove_unchanged()
    assert not (tmp_path / "cwd").exists()


def write_in_place(folder: Path) -> None:
    with (folder / "lib" / "a.py").open("r+") as file:
        file.write("PASS")


def write_and_set_the_time_back(folder: Path) -> None:
    status = (folder / "lib" / "a.py").stat()
    write_in_place(folder)
    os.utime(folder / "lib" / "a.py", ns=(status.st_atime_ns, status.st_mtime_ns))


def write_by_a_mapping(folder: Path) -> None:
    with (folder / "lib" / "a.py").open("r+b") as file, mmap.mmap(file.fileno(), 4) as mapped:
        mapped[0:4] = b"PASS"


def replace(folder: Path) -> None:
    (folder / "new").write_text("pass")
    (folder / "new").rename(folder / "lib" / "a.py")


def make_executable(folder: Path) -> None:
    (folder / "lib" / "a.py").chmod(0o755)


@pytest.mark.parametrize("change", [write_in_place, write_and_set_the_time_back, write_by_a_mapping, replace, make_executable])
def test_a_changed_file_stays(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "cwd"
    tree = placed(folder)
    change(folder)
    assert not tree.is_unchanged()
    content = (folder / "lib" / "a.py").read_text()
    tree.remove_unchanged()
    assert left(folder) == ["lib", "lib/a.py"]
    assert (folder / "lib" / "a.py").read_text() == content


def test_a_change_in_the_clock_tick_of_the_placement_is_seen(tmp_path: Path) -> None:
    for n in range(50):
        tree = placed(tmp_path / str(n))
        write_in_place(tmp_path / str(n))
        assert not tree.is_unchanged(), n


def test_a_mapping_that_changes_no_time_is_seen_by_the_hash(tmp_path: Path) -> None:
    with mounted_tmpfs(tmp_path / "disk", "size=4m") as disk:
        tree = placed(disk / "cwd", hashed=True)
        assert tree.is_unchanged()
        write_by_a_mapping(disk / "cwd")
        tree.remove_unchanged()
        assert left(disk / "cwd") == ["lib", "lib/a.py"]


def test_a_mapping_changes_times_on_the_disk_of_the_tests(tmp_path: Path) -> None:
    assert mapping_shows(tmp_path) and os.listdir(tmp_path) == []


def test_made_and_moved_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "cwd"
    tree = placed(folder)
    (folder / "lib" / "out").write_text("made")
    (folder / "made").mkdir()
    (folder / "lib" / "deep").rename(folder / "moved")
    os.link(folder / "lib" / "a.py", folder / "second name")
    tree.remove_unchanged()
    assert left(folder) == ["lib", "lib/a.py", "lib/out", "made", "moved", "moved/b", "second name"]


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "cwd"
    tree = placed(folder)
    (folder / "lib").rename(tmp_path / "elsewhere")
    (folder / "lib").symlink_to(tmp_path / "elsewhere")
    assert not tree.is_unchanged()
    tree.remove_unchanged()
    assert left(tmp_path / "elsewhere") == ["a.py", "deep", "deep/b"]


def test_compiled_modules_go_with_the_project_but_a_link_of_that_name_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cwd"
    tree = placed(folder)
    (folder / "lib" / "__pycache__").mkdir()
    (folder / "lib" / "__pycache__" / "a.cpython-311.pyc").touch()
    assert tree.is_unchanged()
    assert not (folder / "lib" / "__pycache__").exists()
    (folder / "__pycache__").symlink_to(tmp_path)
    tree.remove_unchanged()
    assert left(folder) == ["__pycache__"] and tmp_path.exists()


@pytest.mark.parametrize("path", [b"../x", b"/etc/x", b"lib/../../x", b"", b".", b"missing/x"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, path: bytes) -> None:
    (tmp_path / "a").touch()
    (entry,) = note_tree(str(tmp_path), hashed=False)
    with pytest.raises(ValueError, match="no path of a placed file"):
        PlacedTree(str(tmp_path), [entry._replace(path=path)])
