"""Resolution of paths that jobs name, by the kernel or, where the kernel cannot do this, step by
step."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.worker.files import open_beneath as beneath
from titan.worker.files.open_beneath import open_beneath, open_place, path_of, reopen


@pytest.fixture(params=["kernel", "steps"])
def by(request: pytest.FixtureRequest) -> Iterator[str]:
    before = list(beneath._lacking)
    if request.param == "steps":
        beneath._lacking.append(True)
    elif before:
        pytest.skip("this kernel has no openat2")
    yield str(request.param)
    beneath._lacking[:] = before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "job"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub/file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (inside / "near").symlink_to("sub/file")
    (inside / "far").symlink_to("../secret")
    (inside / "absolute").symlink_to(tmp_path / "secret")
    (inside / "parent").symlink_to("..")
    (inside / "round").symlink_to("round")
    os.mkfifo(inside / "pipe")
    return inside


def content(folder: Path, path: str) -> bytes:
    place = open_beneath(str(folder), path)
    try:
        file = reopen(place)
        try:
            return os.read(file, 100)
        finally:
            os.close(file)
    finally:
        os.close(place)


def test_paths_inside_the_folder_are_opened(folder: Path, by: str) -> None:
    assert content(folder, "sub/file") == content(folder, "./sub//file") == b"inside"
    if by == "kernel":
        assert content(folder, "near") == content(folder, "sub/../sub/file") == b"inside"
    place = open_beneath(str(folder), "sub/file")
    assert path_of(place) == str(folder / "sub/file") and not os.get_inheritable(place)
    os.close(place)


@pytest.mark.parametrize("path", ["far", "absolute", "parent/secret", "../secret", "/etc/hostname", "round", "sub/../../secret"])
def test_paths_that_lead_out_are_refused(folder: Path, by: str, path: str) -> None:
    with pytest.raises(OSError) as caught:
        content(folder, path)
    assert caught.value.errno in (*beneath.LEADS_OUT, errno.ENOENT, errno.ENOTDIR)


@pytest.mark.parametrize("path", ["gone", "sub/gone"])
def test_missing_paths_are_errors(folder: Path, by: str, path: str) -> None:
    with pytest.raises(FileNotFoundError):
        content(folder, path)


def test_pipes_and_devices_are_looked_at_and_not_opened(folder: Path, by: str) -> None:
    with pytest.raises(OSError, match="neither a file nor a folder"):
        content(folder, "pipe")
    place = open_place("/dev/null")
    with pytest.raises(OSError, match="neither a file nor a folder"):
        reopen(place)
    os.close(place)
