"""Sizes of folders: each file counts once, and a count that takes too long ends."""

from __future__ import annotations

import os
from pathlib import Path

from titan.host.folder_size import FolderSizes, entries_of, folder_bytes


def filled(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def test_a_file_with_several_names_counts_once_in_all_folders(tmp_path: Path) -> None:
    file = filled(tmp_path / "a" / "file", 1 << 20)
    (tmp_path / "b").mkdir()
    os.link(file, tmp_path / "b" / "same")
    sizes = FolderSizes()
    first, second = sizes.bytes_of(tmp_path / "a"), sizes.bytes_of(tmp_path / "b")
    assert first >= 1 << 20 > second
    assert sizes.complete
    assert folder_bytes(tmp_path / "b") >= 1 << 20, "another count begins anew"


def test_links_are_not_followed_and_what_is_missing_takes_nothing(tmp_path: Path) -> None:
    filled(tmp_path / "elsewhere" / "file", 1 << 20)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    assert folder_bytes(tmp_path / "a") < 1 << 20
    assert folder_bytes(tmp_path / "nothing") == 0
    assert list(entries_of(tmp_path / "nothing")) == []


def test_a_count_without_time_says_that_it_is_incomplete(tmp_path: Path) -> None:
    filled(tmp_path / "file", 1 << 20)
    for sizes in (FolderSizes(seconds=-1.0), FolderSizes()):
        sizes.stop()
        assert sizes.bytes_of(tmp_path) == 0
        assert not sizes.complete
