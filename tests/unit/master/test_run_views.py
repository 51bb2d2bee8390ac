"""The graph of a run and the attempts of its jobs, as clients read them."""

from __future__ import annotations

import pytest

from support.core import Master, alike, cancel, dag, register, results, started, submit, succeeded
from titan.core import inputs
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.errors import NotFound
from titan.master import run_views
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.protocol import messages as msg

RETRIED = JobTemplate(command="true", retries=1)


def attempts(state: State, job: str = "a") -> list[tuple[object, ...]]:
    """Return (attempt, worker, queued, sent, started, finished, outcome) of each attempt."""
    rows = run_views.attempts(state, msg.GetAttempts(1, "r", job)).attempts
    return [(a.attempt, a.worker, a.queued_at, a.sent_at, a.started_at, a.finished_at, a.outcome) for a in rows]


def retried_twice() -> Master:
    """Run r: a waited for a worker, failed, was retried, and succeeded."""
    master = Master()
    master.see(submit(alike("a", RETRIED)), at=1.0)
    master.see(register(), at=4.0)
    master.see(started(1, {master.lease(): 4.5}), at=4.5)
    master.see(results(1, (master.lease(), Outcome.EXITED)), at=6.0)
    due = master.job().due
    master.see(inputs.TimePassed(), at=due)
    master.see(succeeded(1, master.lease()), at=due + 5.0)
    return master


def test_each_attempt_has_its_times() -> None:
    master = retried_twice()
    failed, succeeded_ = run_views.attempts(master.state, msg.GetAttempts(1, "r", "a")).attempts
    assert (failed.attempt, failed.worker, failed.queued_at, failed.sent_at) == (1, "w1", 1.0, 4.0)
    assert (failed.started_at, failed.finished_at) == (4.5, 4.5), "its report is clamped to the time after its start"
    assert (failed.outcome, failed.exit_code, failed.reason) == ("EXITED", 1, "why")
    assert (succeeded_.attempt, succeeded_.outcome, succeeded_.exit_code) == (2, "SUCCEEDED", 0)
    assert succeeded_.queued_at == succeeded_.sent_at > 6.0
    assert (succeeded_.cpu_s, succeeded_.peak_bytes) == (0.25, 4096)


def test_attempts_survive_a_snapshot() -> None:
    state = retried_twice().state
    loaded = State()
    snapshot.load(loaded, snapshot.dump(state))
    assert attempts(loaded) == attempts(state)


def test_a_queued_job_shows_the_attempt_for_which_it_waits() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": "a"}, {"a": RETRIED})), at=1.0)
    assert attempts(master.state) == [(1, "", 1.0, 0.0, 0.0, 0.0, "")]
    assert attempts(master.state, "b") == [], "its parent is open"


def test_a_running_attempt_has_no_end_and_a_cancelled_one_has() -> None:
    master = Master()
    master.see(register(), submit(alike("a", RETRIED)), at=1.0)
    master.see(started(1, {master.lease(): 1.5}), at=2.0)
    assert attempts(master.state) == [(1, "w1", 1.0, 1.0, 1.5, 0.0, "")]
    master.see(cancel("r"), at=3.0)
    assert attempts(master.state) == [(1, "w1", 1.0, 1.0, 1.5, 3.0, "CANCELLED")]


def test_an_attempt_on_a_lost_worker_was_returned() -> None:
    master = Master()
    master.see(register(), submit(alike("a", RETRIED)), at=1.0)
    master.see(inputs.TimePassed(), at=1000.0)
    assert [(row[0], row[-1]) for row in attempts(master.state)] == [(1, "RETURNED"), (2, "")]


def test_attempts_of_a_run_come_in_pages_of_whole_jobs() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": "", "c": "a", "d": ""})), at=1.0)
    page = run_views.attempts(master.state, msg.GetAttempts(1, "r", limit=1))
    assert ([row.job for row in page.attempts], page.next) == (["a"], 1)
    page = run_views.attempts(master.state, msg.GetAttempts(1, "r", after=1, limit=5))
    assert ([row.job for row in page.attempts], page.next) == (["b", "d"], 0)
    page = run_views.attempts(master.state, msg.GetAttempts(1, "r", after=1 << 40))
    assert (page.attempts, page.next) == ([], 0)


def test_a_graph_has_positions_of_parents_and_each_template_once() -> None:
    master = Master()
    master.see(submit(dag({"a": "", "b": "a", "c": "a b"}, {"c": RETRIED})), at=1.0)
    page = run_views.graph(master.state, msg.GetGraph(1, "r"))
    assert (page.ids, page.parents, page.next, page.total) == (["a", "b", "c"], [[], [0], [0, 1]], 0, 3)
    assert page.templates[page.template_of[2]] == RETRIED
    assert page.template_of[0] == page.template_of[1]
    page = run_views.graph(master.state, msg.GetGraph(1, "r", after=1, limit=1))
    assert (page.ids, page.parents, page.next, len(page.templates)) == (["b"], [[0]], 2, 1)


def test_a_page_with_large_templates_is_short() -> None:
    master = Master()
    large = {name: JobTemplate(command="true", env=(("TEXT", name * 900_000),)) for name in "abcdef"}
    master.see(submit(dag(dict.fromkeys(large, ""), large)), at=1.0)
    page = run_views.graph(master.state, msg.GetGraph(1, "r"))
    assert (page.ids, page.next, page.total) == (["a", "b", "c", "d", "e"], 5, 6)


def test_unknown_runs_and_jobs_are_not_found() -> None:
    master = Master()
    master.see(submit(dag({"a": ""})), at=1.0)
    for ask in (msg.GetAttempts(1, "nobody"), msg.GetAttempts(1, "r", "nobody")):
        with pytest.raises(NotFound):
            run_views.attempts(master.state, ask)
    with pytest.raises(NotFound):
        run_views.graph(master.state, msg.GetGraph(1, "nobody"))
