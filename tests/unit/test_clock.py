"""The steady clock, and the deletion of old data after the wall clock has jumped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from titan.host.clock import CONFIRMED_S, SteadyClock, note_time, noted_time

DAY = 86_400.0


class Hands:
    """The two clocks of a machine, which the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_000_000_000.0, 50.0
        clocks = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr("titan.host.clock.time", clocks)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_a_wall_clock_that_is_set_changes_nothing(hands: Hands) -> None:
    steady = SteadyClock()
    hands.wall -= 3600.0
    hands.monotonic += 2.0
    assert steady.now() == 1_000_000_002.0
    assert steady.at(51.0) == 1_000_000_001.0


def test_after_a_jump_nothing_is_deleted_for_an_hour_but_what_was_due_before(hands: Hands) -> None:
    known = hands.wall
    hands.wall += 100 * DAY
    steady = SteadyClock(known=known)
    hands.pass_(60.0)
    assert steady.now() == known + 100 * DAY + 60.0
    assert steady.confirmed() == known + 60.0
    hands.pass_(CONFIRMED_S)
    assert steady.confirmed() == steady.now()


def test_without_a_jump_the_time_is_accepted_at_once(hands: Hands) -> None:
    assert SteadyClock(known=hands.wall - 3600.0).confirmed() == hands.wall
    assert SteadyClock().confirmed() == hands.wall


def test_the_time_is_written_down(tmp_path: Path) -> None:
    assert noted_time(tmp_path) == 0.0
    note_time(tmp_path, 12.5)
    assert noted_time(tmp_path) == 12.5
    (tmp_path / "clock").write_text("half")
    assert noted_time(tmp_path) == 0.0
