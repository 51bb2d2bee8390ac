"""A clock that is far ahead is not accepted. A clock that is behind is used."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from titan.errors import EnvironmentFault
from titan.host.clock import note_time
from titan.master.home.clock import JUMP_S, open_clock


def test_a_clock_far_ahead_must_be_accepted_explicitly(tmp_path: Path) -> None:
    note_time(tmp_path, time.time() - JUMP_S - 86_400.0)
    with pytest.raises(EnvironmentFault, match=r"31 days after .* --accept-clock"):
        open_clock(tmp_path, 0.0, accept=False)
    clock, behind_s = open_clock(tmp_path, 0.0, accept=True)
    assert abs(clock.now() - time.time()) < 5.0 and behind_s == 0.0
    assert clock.confirmed() < time.time() - JUMP_S


def test_a_clock_far_behind_is_followed_and_a_small_difference_is_waited_out(tmp_path: Path) -> None:
    note_time(tmp_path, time.time() + 7200.0)
    clock, behind_s = open_clock(tmp_path, 0.0, accept=False)
    assert abs(clock.now() - time.time()) < 5.0 and 7100.0 < behind_s < 7201.0
    note_time(tmp_path, time.time() + 30.0)
    clock, behind_s = open_clock(tmp_path, 0.0, accept=False)
    assert clock.now() > time.time() + 20.0 and behind_s == 0.0


def test_a_new_home_accepts_any_clock(tmp_path: Path) -> None:
    assert open_clock(tmp_path, 0.0, accept=False).behind_s == 0.0
