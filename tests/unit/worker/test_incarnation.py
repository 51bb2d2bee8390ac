"""Incarnations of a worker are counted, not derived from the time."""

from __future__ import annotations

from pathlib import Path

from titan.worker.incarnation import next_incarnation


def test_each_start_in_a_home_increments_the_count(tmp_path: Path) -> None:
    home, _, number = next_incarnation(tmp_path).partition(":")
    assert number == "1" and len(home) == 16
    assert next_incarnation(tmp_path) == f"{home}:2"


def test_a_damaged_file_begins_a_new_count(tmp_path: Path) -> None:
    first = next_incarnation(tmp_path)
    (tmp_path / "incarnation").write_text("?")
    second = next_incarnation(tmp_path)
    assert second.endswith(":1") and second != first
