"""The runs that a history should have."""

from __future__ import annotations

from titan.master.history.check import lost_runs


def test_the_oldest_may_have_left_by_age_and_the_others_may_not() -> None:
    archived = ["a", "b", "c", "d"]
    assert lost_runs(archived, {"c", "d"}, fresh=False) == []
    assert lost_runs(archived, {"b", "d"}, fresh=False) == ["c"]
    assert lost_runs(archived, set(), fresh=False) == []
    assert lost_runs(archived, {"c", "d"}, fresh=True) == ["a", "b"]
    assert lost_runs([], set(), fresh=True) == []
