"""A short chaos: see chaos.py; `make chaos SECONDS=600 SEED=n` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.chaos import play


@pytest.mark.parametrize(("fsync", "seed"), [("always", 1), ("everysec", 2)])
def test_nothing_is_lost_doubled_stuck_or_made_up(tmp_path: Path, fsync: str, seed: int) -> None:
    chaos = play(tmp_path, seconds=8.0, seed=seed, fsync=fsync)
    assert {what: found for what, found in chaos.verdicts.items() if found} == {}
    assert chaos.load.runs and chaos.load.calls and chaos.load.pushed and chaos.faults
