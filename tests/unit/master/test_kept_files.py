"""Where the master keeps files: room, what is removed, and what stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.master.kept_files import PART_S, KeptFiles

A, B = "a" * 64, "b" * 64


def entered(kept: KeptFiles, hash_: str, key: str = "0" * 32) -> None:
    part = kept.part(key)
    part.write_bytes(b"x" * 10)
    kept.enter(part, hash_)


def test_what_nobody_holds_and_nobody_sent_of_late_goes(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "files")
    entered(kept, A)
    entered(kept, B)
    assert kept.remove_but({B}, before=time.time() - 60) == (0, 0)
    for hash_ in (A, B):
        os.utime(kept.path(hash_), (1.0, 1.0))
    assert kept.touch(A) and not kept.touch("c" * 64)
    assert kept.remove_but({B}, before=time.time() - 60) == (0, 0)
    os.utime(kept.path(A), (1.0, 1.0))
    assert kept.remove_but({B}, before=time.time() - 60) == (1, 10)
    assert kept.has(B) and not kept.has(A) and not kept.has("../x")
    with pytest.raises(NotFound, match="run again the job"):
        kept.path(A)


def test_a_full_disk(tmp_path: Path) -> None:
    KeptFiles(tmp_path / "files").expect_room(1)
    with pytest.raises(EnvironmentFault, match="is full"):
        KeptFiles(tmp_path / "files", spare_bytes=1 << 62).expect_room(1)


def test_parts_stay_for_a_day(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "files")
    old, new, active = (kept.part(letter * 32) for letter in "abc")
    for part in (old, new, active):
        part.write_bytes(b"half")
    for part in (old, active):
        os.utime(part, (time.time() - PART_S - 1,) * 2)
    kept.sweep_parts((active,))
    assert (old.exists(), new.exists(), active.exists()) == (False, True, True)
    assert not KeptFiles(tmp_path / "files").part("c" * 32).exists() and new.exists()
    with pytest.raises(CallerError, match="is no key"):
        kept.part("../x")
