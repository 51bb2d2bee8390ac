"""The number of burst workers: thresholds, limits, cool-down, and the reason of each decision."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan.scheduling.scale import Knobs, Look, Plan, Rule, plan, rule_of

RULE = Rule(("GENERAL",), 0, 8)
KNOBS = Knobs(up=1.0, patience_s=60.0, idle_s=45.0, cooldown_s=30.0, slots=1)
CALM = Look(demand=0, slots=1, coming=0, bursts=0, leaving=0, idle=(), since_change_s=1000.0)


def look(**changes: Any) -> Look:
    return CALM._replace(**changes)


def test_a_long_queue_starts_burst_workers_up_to_the_maximum() -> None:
    assert plan(RULE, look(demand=59), KNOBS) == Plan(8, (), "59 queued for 1 slot")


def test_no_more_burst_workers_start_than_the_queue_needs() -> None:
    assert plan(RULE, look(demand=5), KNOBS).start == 5
    assert plan(RULE, look(demand=5), KNOBS._replace(slots=4)).start == 2


def test_without_a_capable_worker_one_queued_job_starts_a_burst_worker() -> None:
    assert plan(RULE, look(demand=1, slots=0), KNOBS) == Plan(1, (), "1 queued for 0 slots")


def test_starting_burst_workers_count_as_slots() -> None:
    it = plan(RULE, look(demand=4, coming=4, bursts=4), KNOBS)
    assert it == Plan(0, (), "4 queued for 5 slots, of which 4 are starting")


def test_a_short_queue_has_to_last() -> None:
    few = look(demand=1, slots=4)
    assert plan(RULE, few, KNOBS) == Plan(0, (), "1 queued for 4 slots: at most 1 per slot, and for less than 60 s")
    assert plan(RULE, few._replace(waited_s=60.0), KNOBS) == Plan(1, (), "1 queued for 4 slots")


def test_no_burst_worker_starts_during_the_cool_down_after_a_change() -> None:
    it = plan(RULE, look(demand=9, bursts=2, since_change_s=10.0), KNOBS)
    assert it == Plan(0, (), "9 queued for 1 slot; the last change was 10 s ago, the next comes after 30 s")


def test_leaving_burst_workers_count_towards_the_maximum() -> None:
    assert plan(RULE, look(demand=99, bursts=4, leaving=3), KNOBS).start == 1
    it = plan(RULE, look(demand=99, bursts=5, leaving=3), KNOBS)
    assert it == Plan(0, (), "99 queued for 1 slot, and the maximum of 8 is reached")


def test_idle_burst_workers_leave_when_nothing_is_queued() -> None:
    idle = (("a", 50.0), ("b", 45.0), ("c", 44.0))
    assert plan(RULE, look(bursts=3, idle=idle), KNOBS) == Plan(
        0, ("a", "b"), "nothing is queued and 2 workers had nothing to do for 45 s"
    )
    assert plan(RULE, look(bursts=3, idle=idle, demand=1), KNOBS).retire == ()
    assert plan(RULE, look(bursts=3), KNOBS) == Plan(0, (), "nothing is queued")


def test_the_minimum_is_kept_whatever_is_queued() -> None:
    rule = Rule(("GPU",), 2, 3)
    assert plan(rule, look(since_change_s=0.0), KNOBS) == Plan(2, (), "0 burst workers, and the minimum is 2")
    assert plan(rule, look(bursts=2, idle=(("a", 99.0), ("b", 99.0))), KNOBS).retire == ()
    assert plan(rule, look(bursts=3, idle=(("a", 99.0), ("b", 99.0))), KNOBS).retire == ("a",)
    it = plan(rule, look(bursts=1, leaving=2), KNOBS)
    assert it == Plan(0, (), "1 burst worker, and the minimum is 2; workers that are leaving must end first")


def test_idle_burst_workers_leave_when_the_maximum_was_lowered() -> None:
    it = plan(Rule(("GENERAL",), 0, 1), look(bursts=3, demand=5, idle=(("a", 1.0),)), KNOBS)
    assert it == Plan(0, ("a",), "3 burst workers, and the maximum is 1")


@given(
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 200), st.integers(0, 20), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 9), st.floats(0, 100), st.floats(0, 100), st.integers(1, 4),
)  # fmt: skip
def test_the_number_of_burst_workers_stays_between_the_minimum_and_the_maximum(
    least: int, more: int, demand: int, slots: int, bursts: int, leaving: int, idle: int, since: float, waited: float, each: int
) -> None:
    rule = Rule(("X",), least, max(1, least + more))
    names = tuple([(f"b{i}", 100.0 - i) for i in range(min(idle, bursts))])
    it = plan(rule, Look(demand, slots, 0, bursts, leaving, names, since, waited), KNOBS._replace(slots=each))
    assert it.start == 0 or bursts + leaving + it.start <= rule.most
    assert not it.retire or bursts - len(it.retire) >= rule.least
    assert not (it.start and it.retire)
    assert it.why


def test_rules_as_they_are_written() -> None:
    assert rule_of("GPU+HIGH_MEM=1..2") == Rule(("GPU", "HIGH_MEM"), 1, 2)
    assert rule_of("GPU+HIGH_MEM=1..2").name == "GPU+HIGH_MEM"
    for text in ("GPU", "GPU=", "GPU=1", "GPU=..", "GPU=-1..2", "GPU=a..b", "GPU=0..0", "GPU=3..2", "GPU=0..99999"):
        with pytest.raises(ValueError, match="GPU"):
            rule_of(text)
