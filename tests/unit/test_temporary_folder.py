"""Temporary folders: the folder of a killed process is removed in the end, and the folder of a
living process stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from titan.host import temporary_folder as module
from titan.host.temporary_folder import TemporaryFolder, temporary_folder

HOLD = """
import sys
from titan.host.temporary_folder import TemporaryFolder
folder = TemporaryFolder()
(folder.path / "content").mkdir()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder for this user's entries that no other process uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"titan-{os.geteuid()}"


@contextmanager
def another_process(shared: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that holds an entry."""
    env = {**os.environ, "TMPDIR": str(shared.parent), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_temporary_folder_is_private_and_removed_at_the_end(shared: Path) -> None:
    with temporary_folder() as folder:
        assert folder.parent == shared
        (folder / "file").write_text("content")
        assert shared.stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    assert os.listdir(shared) == []


def test_closing_twice_does_not_remove_a_new_folder_of_the_same_name(shared: Path) -> None:
    folder = TemporaryFolder()
    folder.close()
    folder.path.mkdir()
    folder.close()
    assert folder.path.exists()


def test_the_folder_of_a_killed_process_is_removed_with_the_next_folder(shared: Path) -> None:
    with another_process(shared) as (process, left):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (left / "content").exists()
        folder = TemporaryFolder()
        assert os.listdir(shared) == [folder.path.name]
        folder.close()


def test_the_folder_of_a_living_process_stays(shared: Path) -> None:
    with another_process(shared) as (_, held):
        own = TemporaryFolder()
        TemporaryFolder().close()
        assert (held / "content").exists() and own.path.exists()
        own.close()


def test_a_new_folder_that_another_process_removed_before_its_lock_is_made_again(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process sweeps between the creation of the folder and its lock, which is the worst
    moment."""
    made: list[str] = []
    make = tempfile.mkdtemp

    def swept_at_once(prefix: str, dir: str) -> str:
        made.append(make(prefix=prefix, dir=dir))
        if len(made) < 3:
            module._sweep(dir)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", swept_at_once)
    folder = TemporaryFolder()
    assert len(made) == 3 and str(folder.path) == made[-1] and folder.path.exists()
    folder.close()


def test_a_shared_folder_of_another_user_is_not_used(shared: Path) -> None:
    """The folder may also belong to this user but be writable for all. Other users could then
    exchange its content."""
    shared.mkdir()
    shared.chmod(0o777)
    with temporary_folder() as folder:
        assert folder.parent == shared.parent and folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_link_in_place_of_the_shared_folder_is_not_followed(shared: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    elsewhere.chmod(0o700)
    shared.symlink_to(elsewhere)
    TemporaryFolder().close()
    assert (elsewhere / "precious").exists()


def test_links_and_files_among_the_entries_are_left_alone(shared: Path, tmp_path: Path) -> None:
    TemporaryFolder().close()
    precious = tmp_path / "precious"
    precious.mkdir()
    (shared / "link").symlink_to(precious)
    (shared / "file").write_text("")
    TemporaryFolder().close()
    assert sorted(os.listdir(shared)) == ["file", "link"] and precious.exists()


def test_a_short_temporary_folder_leaves_room_for_the_path_of_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = TemporaryFolder(short=True)
    assert len(os.fsencode(folder.path)) <= 90
    folder.close()


def test_a_folder_for_temporary_files_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        TemporaryFolder()
