"""The table of transitions."""

from __future__ import annotations

from titan.model.states import ALLOWED, TERMINAL, TRANSITIONS, JobState


def reachable(start: JobState) -> set[JobState]:
    found, stack = {start}, [start]
    while stack:
        for new in TRANSITIONS[stack.pop()]:
            if new not in found:
                found.add(new)
                stack.append(new)
    return found


def test_every_state_can_be_reached_from_the_first() -> None:
    assert reachable(JobState.WAITING) == set(JobState)


def test_exactly_the_terminal_states_have_no_way_out() -> None:
    assert tuple(state for state in JobState if not TRANSITIONS[state]) == TERMINAL


def test_every_state_leads_to_an_end_and_can_be_cancelled_until_then() -> None:
    for state in set(JobState) - set(TERMINAL):
        assert reachable(state) & set(TERMINAL)
        assert JobState.CANCELLED in TRANSITIONS[state]


def test_the_masks_agree_with_the_transition_tables() -> None:
    assert {(old, new) for old in JobState for new in JobState if ALLOWED[old] >> new & 1} == {
        (old, new) for old in JobState for new in TRANSITIONS[old]
    }


def test_the_numbers_of_states_never_change() -> None:
    assert [(s.name, s.value) for s in JobState] == [
        ("WAITING", 0), ("DELAYED", 1), ("QUEUED", 2), ("DISPATCHED", 3), ("RUNNING", 4), ("PAUSED", 5), ("COMPLETED", 6),
        ("FAILED", 7), ("DEAD", 8), ("CANCELLED", 9), ("SKIPPED", 10),
    ]  # fmt: skip
