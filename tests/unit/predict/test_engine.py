"""Predictions whose result can be computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan.errors import InvalidGraph
from titan.model.dag import Gate, JobTemplate, Needs, Service
from titan.predict.engine import Timeline, predict
from titan.predict.plan import Group, JobDuration, Overheads, Pipeline, Plan
from titan.predict.verdict import judge

AT_ONCE = Overheads(0.0, 0.0, 0.0)
TRUE = JobTemplate(command="true")


def plan(parents: dict[str, str], takes: float | dict[str, float | tuple[float, ...]] = 1.0, **more: Any) -> Plan:
    """Return a plan. `parents` maps each job to its parents, separated by blanks. `templates` has
    the templates of some jobs; the other jobs run `true`."""
    ids = list(parents)
    special = more.pop("templates", {})
    cpu = more.pop("cpu", 0.0)
    templates = [TRUE, *special.values()]
    template_of = [1 + list(special).index(name) if name in special else 0 for name in ids]
    edges = [tuple(ids.index(p) for p in ps.split()) for ps in parents.values()]
    given_takes = {name: takes if isinstance(takes, int | float) else takes[name] for name in ids}
    columns = [JobDuration(t if isinstance(t, tuple) else (float(t),), cpu) for t in given_takes.values()]
    groups = more.pop("groups", [Group(1)])
    more.setdefault("overheads", AT_ONCE)
    return Plan(Pipeline("p", templates, ids, template_of, edges), columns, groups, **more)


def ends(of: Plan) -> dict[str, float]:
    timeline = predict(of)
    return {name: round(timeline.ends[i], 4) for i, name in enumerate(of.pipeline.ids)}


def wide(count: int) -> dict[str, str]:
    return {f"j{i}": "" for i in range(count)}


def test_a_chain_takes_the_sum() -> None:
    it = plan({"a": "", "b": "a", "c": "b"}, {"a": 1.0, "b": 2.0, "c": 3.0}, groups=[Group(5)])
    timeline = predict(it)
    assert (round(timeline.makespan_s, 4), timeline.state, timeline.tally) == (6.0, "COMPLETED", {"COMPLETED": 3})
    verdict = judge(it, timeline)
    assert [(it.pipeline.ids[link.job], link.waited) for link in verdict.chain] == [
        ("a", "begin"),
        ("b", "parent"),
        ("c", "parent"),
    ]
    assert (verdict.limited_by, round(verdict.least_s, 4), round(verdict.utilisation, 4)) == ("dependencies", 6.0, 0.2)


@pytest.mark.parametrize(
    ("workers", "slots", "expected"), [(1, 1, 12.0), (2, 1, 6.0), (3, 2, 2.0), (1, 12, 1.0), (40, 1, 1.0), (5, 1, 3.0)]
)
def test_equal_jobs_run_in_rounds(workers: int, slots: int, expected: float) -> None:
    it = plan(wide(12), groups=[Group(workers, slots)])
    timeline = predict(it)
    assert round(timeline.makespan_s, 4) == expected
    assert round(timeline.busy_s, 3) == 12.0
    assert judge(it, timeline).limited_by == ("dependencies" if expected == 1.0 else "slots")


def test_overheads_lie_between_jobs() -> None:
    it = plan({"a": "", "b": "a", "c": "b"}, groups=[Group(1)], overheads=Overheads(begin_s=0.5, link_s=0.2, turn_s=0.01))
    timeline = predict(it)
    assert [round(s, 4) for s in timeline.starts] == [0.5, 1.7, 2.9]
    assert round(timeline.makespan_s, 4) == 4.0  # the report of the end takes half of `link_s` to reach the master
    queue = predict(plan(wide(3), groups=[Group(1)], overheads=Overheads(begin_s=0.5, link_s=0.2, turn_s=0.01)))
    assert [round(s, 4) for s in queue.starts] == [0.5, 1.51, 2.52]


def test_the_capabilities_of_workers_count() -> None:
    templates = {"g": JobTemplate(command="true", requirement="GPU")}
    it = plan({"a": "", "g": ""}, templates=templates, groups=[Group(1), Group(1, 1, ("GPU",))])
    assert ends(it) == {"a": 1.0, "g": 1.0}
    lacking = plan({"a": "", "g": "a"}, templates=templates, groups=[Group(3)])
    timeline = predict(lacking)
    assert (timeline.state, timeline.stuck, round(timeline.makespan_s, 4)) == ("RUNNING", {"GPU": 1}, 1.0)
    assert "no worker can ever take 1 jobs for GPU" in judge(lacking, timeline).why


def test_jobs_of_higher_priority_are_predicted_first() -> None:
    it = plan({"a": "", "b": "", "urgent": ""}, templates={"urgent": JobTemplate(command="true", priority=9)})
    assert ends(it) == {"urgent": 1.0, "a": 2.0, "b": 3.0}


def test_affinity_waits_for_the_node_of_the_parent() -> None:
    it = plan(
        {"a": "", "long": "", "b": "a", "c": "a"},
        {"a": 1.0, "long": 5.0, "b": 1.0, "c": 1.0},
        templates={name: JobTemplate(command="true", affinity=True) for name in ("b", "c")},
        groups=[Group(3)],
    )
    timeline = predict(it)
    assert timeline.workers[0] == timeline.workers[2] == timeline.workers[3]
    assert sorted((round(timeline.ends[2], 3), round(timeline.ends[3], 3))) == [2.0, 3.0]


def test_failures_are_repeated_with_their_backoff() -> None:
    retried = plan({"a": ""}, {"a": (1.0, 1.0, 2.0)}, templates={"a": JobTemplate(command="false", retries=3)})
    timeline = predict(retried)
    assert (timeline.state, timeline.attempts) == ("COMPLETED", 3)
    # The back-off begins at 0.5 s and doubles. Jitter shortens it to at least half.
    assert 4.0 + 0.25 + 0.5 <= timeline.makespan_s <= 4.0 + 0.5 + 1.0
    dead = predict(
        plan({"a": "", "b": "a"}, {"a": (1.0, 1.0, 2.0), "b": 1.0}, templates={"a": JobTemplate(command="false", retries=1)})
    )
    assert (dead.state, dead.tally) == ("FAILED", {"DEAD": 1, "CANCELLED": 1})


def test_a_job_that_exceeds_its_timeout_fails() -> None:
    timeline = predict(plan({"a": ""}, 9.0, templates={"a": JobTemplate(command="x", timeout_s=2.0, retries=0)}))
    assert (timeline.state, round(timeline.makespan_s, 4)) == ("FAILED", 2.0)


def test_delays_and_fixed_times() -> None:
    templates = {"late": JobTemplate(command="true", delay_s=3.0), "fixed": JobTemplate(command="true", run_at=1_700_000_010.0)}
    it = plan({"a": "", "late": "a", "fixed": ""}, templates=templates, groups=[Group(2)], begin=1_700_000_000.0)
    assert ends(it) == {"a": 1.0, "late": 5.0, "fixed": 11.0}
    assert judge(it, predict(it)).limited_by == "dependencies"


def test_gates_are_approved_after_a_while() -> None:
    templates = {"ship": JobTemplate(kind="gate", gate=Gate("ship?", 100.0), retries=0)}
    it = plan({"a": "", "ship": "a", "b": "ship"}, {"a": 1.0, "ship": 0.0, "b": 1.0}, templates=templates, gate_wait_s=7.0)
    assert ends(it) == {"a": 1.0, "ship": 8.0, "b": 9.0}
    late = predict(plan({"ship": "", "b": "ship"}, 1.0, templates=templates, gate_wait_s=101.0))
    assert (late.state, round(late.makespan_s)) == ("FAILED", 100)


def test_a_service_ends_with_its_users() -> None:
    templates = {"db": JobTemplate(command="db", kind="service", service=Service())}
    it = plan(
        {"db": "", "use": "db", "after": "use"}, {"db": 0.5, "use": 2.0, "after": 1.0}, templates=templates, groups=[Group(1, 2)]
    )
    timeline = predict(it)
    assert timeline.state == "COMPLETED"
    assert [round(s, 3) for s in timeline.starts] == [0.0, 0.5, 2.5]
    assert round(timeline.makespan_s, 3) == 3.5


def test_resources_are_shared_out() -> None:
    gpu = JobTemplate(command="true", requirement="GENERAL", needs=Needs(gpus=1))
    it = plan(wide(6), templates={f"j{i}": gpu for i in range(6)}, groups=[Group(1, 6, gpus=2)])
    assert round(predict(it).makespan_s, 4) == 3.0
    none = plan(wide(1), templates={"j0": gpu}, groups=[Group(1, 6)])
    assert sum(predict(none).stuck.values()) == 1


def test_jobs_on_one_machine_share_its_cpus() -> None:
    busy = plan(wide(4), cpu=1.0, groups=[Group(4)], shared_cpus=2.0)
    timeline = predict(busy)
    assert round(timeline.makespan_s, 2) == 2.0
    assert judge(busy, timeline).limited_by == "cpus"
    assert round(predict(plan(wide(4), cpu=1.0, groups=[Group(4)])).makespan_s, 2) == 1.0, "each on a machine of its own"
    assert round(predict(plan(wide(4), cpu=0.0, groups=[Group(4)], shared_cpus=2.0)).makespan_s, 2) == 1.0, "they only wait"
    half = predict(plan(wide(8), cpu=0.5, groups=[Group(8)], shared_cpus=2.0))
    assert 1.4 < half.makespan_s < 2.1


def test_files_between_jobs_and_secrets_add_no_delay() -> None:
    made = JobTemplate(command="x", outputs=(("rows", "rows.csv"),), secrets=("TOKEN",))
    used = JobTemplate(command="y", inputs=(("rows.csv", "a", "rows"),))
    it = plan({"a": "", "b": "a"}, templates={"a": made, "b": used})
    assert predict(it).state == "COMPLETED" and ends(it) == {"a": 1.0, "b": 2.0}


def test_a_deadline_ends_the_predicted_run() -> None:
    it = plan({"a": "", "b": "a"}, 5.0)
    it.pipeline.deadline_s = 7.0
    timeline = predict(it)
    assert (timeline.state, round(timeline.makespan_s, 3)) == ("FAILED", 7.0)


def test_a_pipeline_that_a_master_would_refuse_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="retries"):
        predict(plan({"a": ""}, templates={"a": JobTemplate(command="x", retries=-1)}))


def test_the_progress_of_a_prediction_of_many_jobs_is_reported() -> None:
    told: list[tuple[int, int]] = []
    timeline = predict(plan(wide(12_000), groups=[Group(10, 10)]), lambda done, count: told.append((done, count)))
    assert told == [(5_000, 12_000), (10_000, 12_000)]
    assert round(timeline.makespan_s, 3) == 120.0


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 25))
    parents = {
        f"j{i}": " ".join(f"j{p}" for p in sorted(draw(st.sets(st.integers(0, i - 1), max_size=3)))) if i else ""
        for i in range(count)
    }
    takes: dict[str, float | tuple[float, ...]] = {name: draw(st.sampled_from([0.0, 0.001, 0.5, 1.0, 3.25])) for name in parents}
    groups = [Group(draw(st.integers(1, 4)), draw(st.integers(1, 3))) for _ in range(draw(st.integers(1, 2)))]
    overheads = draw(st.sampled_from([AT_ONCE, Overheads(), Overheads(0.5, 0.1, 0.05)]))
    return plan(
        parents,
        takes,
        groups=groups,
        overheads=overheads,
        shared_cpus=draw(st.sampled_from([0.0, 2.0])),
        cpu=draw(st.sampled_from([0.0, 0.5])),
    )


@settings(max_examples=150, deadline=None)
@given(plans())
def test_no_prediction_is_faster_than_its_lower_bound(it: Plan) -> None:
    timeline = predict(it)
    assert timeline.state == "COMPLETED"
    work = sum(sum(t.attempts) for t in it.durations)
    assert timeline.makespan_s >= judge(it, timeline).least_s - 1e-3
    assert timeline.makespan_s >= work / it.slots - 1e-3
    assert timeline.busy_s >= work - 1e-3
    for i, parents in enumerate(it.pipeline.parents):
        assert all(timeline.ends[p] <= timeline.starts[i] + 1e-6 for p in parents)
    assert _most_at_once(timeline) <= it.slots
    again = predict(it)
    assert (again.makespan_s, again.ends) == (timeline.makespan_s, timeline.ends)


def _most_at_once(timeline: Timeline) -> int:
    changes = sorted([(s + 1e-6, 1) for s in timeline.starts] + [(e, -1) for e in timeline.ends])
    level = most = 0
    for _, change in changes:
        level += change
        most = max(most, level)
    return most
