"""When the memory of the page cache counts as cold, and the hints to the kernel then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from titan.host.large_files import COLD_S, STEP_BYTES, MemoryProbe, leave_cache

MIB = 1 << 20


def test_memory_is_cold_from_one_cost_and_warm_below_a_quarter_of_it() -> None:
    memory, seen = MemoryProbe(), []
    for cost in (0.9, 1.1, 0.3, 0.2, 0.9):
        assert memory.cost(cost * COLD_S * STEP_BYTES / MIB, STEP_BYTES)
        seen.append(memory.is_cold)
    assert seen == [False, True, True, False, False]


def test_small_pieces_are_counted_together() -> None:
    memory = MemoryProbe()
    for _ in range(STEP_BYTES // MIB - 1):
        assert not memory.cost(2 * COLD_S, MIB) and not memory.is_cold
    assert memory.cost(2 * COLD_S, MIB) and memory.is_cold


def test_a_file_leaves_the_cache_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advised = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *advice: advised.append((os.readlink(f"/proc/self/fd/{fd}"), *advice)))
    (tmp_path / "value").write_bytes(b"1234")
    leave_cache(str(tmp_path / "value"))
    leave_cache(str(tmp_path / "gone"))
    assert advised == [(str(tmp_path / "value"), 0, 0, os.POSIX_FADV_DONTNEED)]
