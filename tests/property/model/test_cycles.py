"""Compare find_cycle with reachability that is computed the slow way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.model.graph import find_cycle

SIZE = 7
GRAPHS = st.lists(st.lists(st.integers(0, SIZE - 1), max_size=3, unique=True), min_size=SIZE, max_size=SIZE)


def ancestors(parents: list[list[int]]) -> list[set[int]]:
    """Return the ancestors of each job. A job is its own ancestor only if it is on a cycle."""
    found = [set(p) for p in parents]
    for _ in parents:
        found = [up.union(*(found[p] for p in up)) for up in found]
    return found


@settings(max_examples=200, deadline=None)
@given(GRAPHS)
def test_a_cycle_is_found_exactly_if_there_is_one(parents: list[list[int]]) -> None:
    cycle = find_cycle(parents)
    assert bool(cycle) == any(i in up for i, up in enumerate(ancestors(parents)))
    assert len(set(cycle)) == len(cycle)
    for parent, child in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
        assert parent in parents[child]
