"""Measurements from runs. Predicted runs are recorded, and the measurements must give the numbers
from which the runs were predicted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from titan.model.dag import JobTemplate
from titan.predict.engine import predict
from titan.predict.plan import Group, JobDuration, Overheads, Pipeline, Plan
from titan.predict.recording import Host, Recording, Row, overheads_of, recorded_durations


def recorded(plan: Plan, cpus: float = 2.0) -> Recording:
    timeline = predict(plan)
    rows = [
        Row(
            name, f"w{timeline.workers[i]}", plan.begin + timeline.starts[i], plan.begin + timeline.ends[i], plan.durations[i].cpu_s
        )
        for i, name in enumerate(plan.pipeline.ids)
    ]
    hosts = {f"w{n}": Host("h", cpus, plan.groups[0].slots) for n in range(1, plan.groups[0].count + 1)}
    return Recording(plan.begin, rows, hosts)


def diamond(workers: int, *, cpu: float, shared: float, overheads: Overheads) -> tuple[Plan, dict[str, list[str]]]:
    ids = ["first", *(f"j{i}" for i in range(24)), "last"]
    parents = [(), *((0,) for _ in range(24)), tuple(range(1, 25))]
    takes = [JobDuration((0.2 + 0.1 * (i % 5),), cpu * (0.2 + 0.1 * (i % 5))) for i in range(26)]
    plan = Plan(
        Pipeline("d", [JobTemplate(command="x")], ids, [0] * 26, parents), takes, [Group(workers)], overheads, shared_cpus=shared
    )
    return plan, {ids[i]: [ids[p] for p in ps] for i, ps in enumerate(parents)}


def test_overheads_are_found_in_a_recording() -> None:
    overheads = Overheads(begin_s=0.25, link_s=0.03, turn_s=0.004)
    plan, parents = diamond(2, cpu=0.0, shared=0.0, overheads=overheads)
    found = overheads_of([recorded(plan)], parents)
    assert (found.begin_s, found.link_s, found.turn_s) == pytest.approx((0.25, 0.03, 0.004), abs=1e-4)
    assert overheads_of([], parents) == Overheads()


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("cpu", [0.0, 1.0])
def test_durations_come_back_though_the_machine_was_full(workers: int, cpu: float) -> None:
    plan, _ = diamond(workers, cpu=cpu, shared=2.0, overheads=Overheads())
    found = recorded_durations([recorded(plan)])
    own = [found[name].attempts[0] for name in plan.pipeline.ids]
    assert sum(own) == pytest.approx(sum(t.attempts[0] for t in plan.durations), rel=0.05)


def test_a_prediction_from_any_recording_is_the_same() -> None:
    """Recordings with 1, 2 and 4 workers that shared two CPUs give the same prediction for 3
    workers."""
    spans = []
    for workers in (1, 2, 4):
        plan, parents = diamond(workers, cpu=1.0, shared=2.0, overheads=Overheads())
        told = recorded(plan)
        takes, overheads = recorded_durations([told]), overheads_of([told], parents)
        learnt = [takes[name] for name in plan.pipeline.ids]
        spans.append(predict(Plan(plan.pipeline, learnt, [Group(3)], overheads, shared_cpus=2.0)).makespan_s)
    for one, other in pairwise(spans):
        assert one == pytest.approx(other, rel=0.08)


def test_the_median_of_several_runs_counts() -> None:
    runs = [Recording(0.0, [Row("a", "w", 1.0, 1.0 + s, 0.0, attempts)]) for s, attempts in ((1.0, 1), (2.0, 3), (9.0, 3))]
    assert recorded_durations(runs) == {"a": JobDuration((2.0, 2.0, 2.0), 0.0)}


def test_an_empty_recording_gives_no_durations() -> None:
    assert recorded_durations([]) == {}
    assert recorded_durations([Recording(0.0, [Row("a", "w", 1.0, 1.0, 0.0)], {"w": Host("h", 2.0, 1)})]) == {
        "a": JobDuration((0.0,), 0.0)
    }


def test_slots_that_fall_free_together_are_not_taken_for_a_slow_link() -> None:
    """Two slots end at the same times. The second job of each round waits for its slot, not for its
    parent."""
    rows = [Row("first", "w", 0.0, 1.0, 0.0)]
    for i in range(6):
        begins = [1.01, 1.01, 2.02, 2.02, 3.03, 3.03][i]
        rows.append(Row(f"n{i}", "w", begins, begins + 1.0, 0.0))
    parents: dict[str, list[str]] = {"first": [], **{f"n{i}": ["first"] for i in range(6)}}
    found = overheads_of([Recording(0.0, rows, {"w": Host("h", 2.0, 2)})], parents)
    assert (found.link_s, found.turn_s) == pytest.approx((0.01, 0.01))


def test_jobs_that_wait_for_something_else_are_not_taken_to_have_waited_for_a_cpu() -> None:
    """Eight jobs at the same time that need a tenth of a CPU each use only 40 % of two CPUs."""
    rows = [Row(f"j{i}", "w", 0.0, 10.0, 1.0) for i in range(8)]
    found = recorded_durations([Recording(0.0, rows, {"w": Host("h", 2.0, 8)})])
    assert all(takes.attempts == (10.0,) for takes in found.values())
