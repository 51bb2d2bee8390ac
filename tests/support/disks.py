"""Small file systems for tests of full disks."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted_tmpfs(path: Path, options: str) -> Iterator[Path]:
    """Mount a tmpfs at `path`, which is created if it is missing. `options` are those of mount,
    such as "size=4m". Skip the test if mounting is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=700", "titan-test", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as e:
        pytest.skip(f"a small file system cannot be mounted: {e}")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted, which takes privileges: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextlib.contextmanager
def mounted_image(path: Path, kind: str, size: int = 512 << 20) -> Iterator[Path]:
    """Mount a file system of this kind ("btrfs", "xfs", "ext4") at `path`, in a sparse file. Skip
    the test if the tools for the kind are missing, or mounting is not allowed."""
    image = path.with_suffix(".img")
    path.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(size)
    try:
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as e:
        pytest.skip(f"no file system of the kind {kind} can be made: {e}")
    done = subprocess.run(["mount", "-o", "loop", str(image), str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a {kind} cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
        image.unlink()
