"""The map of ids in order, compared with a dict that is sorted for each comparison."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from titan.store.stream_log import MAX_ID, IdMap

IDS = st.integers(1, 12)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "drop", "first", "last", "wipe"]), IDS), max_size=60)


@given(STEPS, IDS, IDS)
def test_ids_stay_in_order_during_insertions_and_removals(steps: list[tuple[str, int]], low: int, high: int) -> None:
    it: IdMap[str] = IdMap()
    model: dict[int, str] = {}
    for at, (what, number) in enumerate(steps):
        if what == "put":
            it.put(number, f"{at}")
            model[number] = f"{at}"
        elif what == "wipe" and number == 1:
            it.wipe()
            model.clear()
        elif what in ("drop", "first", "last") and model:
            gone = {"drop": number, "first": min(model), "last": max(model)}[what]
            assert it.drop(gone) == model.pop(gone, None)
        assert it == model
        if model:
            assert (it.first(), it.last()) == (min(model), max(model))
        assert list(it.span(0, MAX_ID)) == sorted(model)
        within = [number for number in sorted(model) if low <= number <= high]
        assert list(it.span(low, high)) == within
        assert list(it.span_back(high, low)) == within[::-1]


def test_removed_ids_take_no_memory() -> None:
    it: IdMap[int] = IdMap()
    it.put(1, 0)
    for number in range(2, 1000):
        it.put(number, 0)
        it.put(number + 1, 0)
        it.drop(number)
    assert len(it._ids) < 200
    it.drop(1)
    it.drop(1000)
    it.put(5, 1)
    assert (it.first(), it.last(), list(it.span(0, MAX_ID))) == (5, 5, [5])
