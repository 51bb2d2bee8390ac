"""Lists of the files that attempts left, and files read from their folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan.errors import CallerError, NotFound
from titan.model.files import FILE, PROGRAM
from titan.model.left_files import LINK, OTHER
from titan.worker.files import left_folders
from titan.worker.files.left_folders import Folder, LeftFolders
from titan.worker.files.removed_folders import Removed, RemovedFolders

A1 = Folder("r", "a", 1, False)
NAMES = ["a", "a-b", "a.b", "b", "Z", "é", "a b"]


@pytest.fixture
def folders(tmp_path: Path) -> LeftFolders:
    (tmp_path / "jobs" / "r" / "a.1").mkdir(parents=True)
    (tmp_path / "shared" / "r").mkdir(parents=True)
    return LeftFolders(tmp_path / "jobs", tmp_path / "shared", RemovedFolders(tmp_path / "removed"))


@pytest.fixture
def cwd(folders: LeftFolders, tmp_path: Path) -> Path:
    return tmp_path / "jobs" / "r" / "a.1"


def kinds(folders: LeftFolders, folder: Folder = A1) -> dict[bytes, int]:
    return {entry.path: entry.kind for entry in folders.page(folder, b"", 10_000).entries}


def content(folders: LeftFolders, path: bytes, folder: Folder = A1) -> bytes:
    reader = folders.open(folder, path)
    try:
        return reader.read(0)
    finally:
        reader.close()


def test_files_of_all_kinds_are_listed_by_path(folders: LeftFolders, cwd: Path, tmp_path: Path) -> None:
    (cwd / "out" / "empty").mkdir(parents=True)
    (cwd / "out" / "data.csv").write_bytes(b"1234")
    (cwd / "run.sh").touch(0o755)
    (cwd / "away").symlink_to(tmp_path)
    Path(os.fsdecode(os.fsencode(cwd) + b"/\xff\x1b[2J")).touch()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(cwd / "s"))
    found = {b"away": LINK, b"out/data.csv": FILE, b"run.sh": PROGRAM, b"s": OTHER, b"\xff\x1b[2J": FILE}
    assert kinds(folders) == found
    (link,) = [entry for entry in folders.page(A1, b"", 10).entries if entry.kind == LINK]
    assert (link.target, link.size) == (os.fsencode(tmp_path), 0)
    assert content(folders, b"out/data.csv") == b"1234"


@settings(deadline=None)
@given(paths=st.sets(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)), limit=st.integers(1, 4))
def test_pages_of_any_size_hold_each_file_once_in_order(
    paths: set[str], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("pages")
    cwd = base / "jobs" / "r" / "a.1"
    made = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    for path in made:
        (cwd / path).parent.mkdir(parents=True, exist_ok=True)
        (cwd / path).touch()
    cwd.mkdir(parents=True, exist_ok=True)
    folders = LeftFolders(base / "jobs", base / "shared", RemovedFolders(base / "removed"))
    found: list[bytes] = []
    more = True
    while more:
        page = folders.page(A1, found[-1] if found else b"", limit)
        assert len(page.entries) <= limit and (page.entries or not page.more)
        found += [entry.path for entry in page.entries]
        more = page.more
    assert found == sorted((path.encode() for path in made), key=lambda path: path.split(b"/"))


def test_no_link_is_followed(folders: LeftFolders, cwd: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("k")
    (cwd / "folder").symlink_to(secret)
    (cwd / "key").symlink_to(secret / "key")
    (cwd / "inside").write_text("x")
    (cwd / "again").symlink_to("inside")
    for path in (b"folder/key", b"key", b"again"):
        with pytest.raises(CallerError, match="is a link, or lies behind one"):
            folders.open(A1, path)
    (cwd.parent / "b.1").symlink_to(secret)
    replaced = Folder("r", "b", 1, False)
    assert kinds(folders, replaced) == {}
    with pytest.raises(CallerError, match="is a link, or lies behind one"):
        folders.open(replaced, b"key")


@pytest.mark.parametrize("path", [b"../../x", b"/etc/passwd", b"a/../x", b"", b"a\0b", b"./x"])
def test_a_path_out_of_the_folder_is_refused(folders: LeftFolders, path: bytes) -> None:
    with pytest.raises(CallerError, match="is not a path inside the folder of a job"):
        folders.open(A1, path)


@pytest.mark.parametrize("folder", [Folder("..", "a", 1, False), Folder("r", "../x", 1, False), Folder("r/../q", "a", 1, True)])
def test_names_that_lead_to_another_folder_are_refused(folders: LeftFolders, folder: Folder) -> None:
    for use in (lambda: folders.page(folder, b"", 1), lambda: folders.open(folder, b"x")):
        with pytest.raises(CallerError, match="are not valid"):
            use()


def test_only_files_that_are_there_are_sent(folders: LeftFolders, cwd: Path) -> None:
    os.mkfifo(cwd / "pipe")
    (cwd / "sub").mkdir()
    with pytest.raises(NotFound, match="there is no file 'gone' any more"):
        folders.open(A1, b"gone")
    for path in (b"pipe", b"sub"):
        with pytest.raises(CallerError, match="is not a file"):
            folders.open(A1, path)


def test_the_folder_that_jobs_share_is_read_too(folders: LeftFolders, tmp_path: Path) -> None:
    (tmp_path / "shared" / "r" / "between").write_text("b")
    shared = A1._replace(shared=True)
    assert kinds(folders, shared) == {b"between": FILE}
    assert content(folders, b"between", shared) == b"b"


def test_folders_that_are_nested_too_deep_are_named(folders: LeftFolders, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_folders, "MAX_DEPTH", 2)
    (cwd / "1" / "2" / "3" / "4").mkdir(parents=True)
    (cwd / "1" / "2" / "seen").touch()
    (cwd / "1" / "2" / "3" / "unseen").touch()
    page = folders.page(A1, b"", 10)
    assert [(entry.path, entry.kind) for entry in page.entries] == [(b"1/2/3", OTHER), (b"1/2/seen", FILE)]
    assert page.remark == "folders below 2 others are listed without their files"


def test_a_removed_folder_is_told_from_one_without_files(folders: LeftFolders, tmp_path: Path) -> None:
    record = RemovedFolders(tmp_path / "removed")
    record.add(["gone"], 1.5, "--keep 7d")
    again = LeftFolders(tmp_path / "jobs", tmp_path / "shared", RemovedFolders(tmp_path / "removed"))
    assert again.page(A1._replace(run="gone"), b"", 10).removed == Removed(1.5, "--keep 7d")
    assert again.page(A1._replace(run="never"), b"", 10) == ([], False, "", None)
    assert again.page(A1, b"", 10) == ([], False, "", None)


def test_the_record_of_removed_folders_has_a_limit_and_survives_a_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "removed"
    path.write_text("whole 1.000 --keep 1d\ntorn 2.x\n")
    record = RemovedFolders(path)
    assert (record.find("whole"), record.find("torn")) == (Removed(1.0, "--keep 1d"), None)
    monkeypatch.setattr("titan.worker.files.removed_folders.MOST", 4)
    record.add([f"r{n}" for n in range(5)] + [".odd"], 3.0, "")
    again = RemovedFolders(path)
    assert [name for name in ("whole", "r0", "r2", "r3", "r4", ".odd") if again.find(name)] == ["r3", "r4"]
    assert again.find("r4") == Removed(3.0, "")
