"""The state as users see it."""

from __future__ import annotations

import pytest

from support.core import FIRST, Master, alike, cancel, dag, register, results, started, submit, succeeded
from titan.core import inputs
from titan.errors import NotFound
from titan.master import views
from titan.model.dag import JobTemplate
from titan.model.states import JobState, Outcome, RunState
from titan.protocol import messages as msg


def master_at_work() -> Master:
    """Run r: a is done, b runs, c waits."""
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a", "c": "b"}, name="etl"), run="r"), at=1.0)
    master.see(succeeded(1, FIRST), at=3.0)
    master.see(started(1, {FIRST + 1: 3.5}), at=3.5)
    return master


def test_a_run_and_its_jobs() -> None:
    master = master_at_work()
    tally = [1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]
    assert views.run_status(master.state, msg.GetRun(5, "r")) == msg.RunStatus(
        5,
        msg.RunRow("r", "etl", "1", RunState.RUNNING, 3, tally, 1.0, 0.0),
        [
            msg.JobRow("a", JobState.COMPLETED, 1, "w1", 0, 1.0, 1.0, 2.0, "", 0.25, 4096),
            msg.JobRow("b", JobState.RUNNING, 1, "w1", -1, 1.0, 3.5, 0.0, ""),
            msg.JobRow("c", JobState.WAITING, 0, "", -1, 1.0, 0.0, 0.0, ""),
        ],
    )


def test_one_job_with_its_story() -> None:
    status = views.run_status(master_at_work().state, msg.GetRun(5, "r", "b"))
    assert [row.id for row in status.jobs] == ["b"]
    assert status.story == [
        "1.000  submitted in run r (etl) as b",
        "1.000  depends on a",
        "3.500  attempt 1 started on w1",
        f"3.500  RUNNING as attempt 1 on w1 (lease {FIRST + 1})",
    ]


def test_a_run_is_shown_in_pages() -> None:
    master = Master()
    master.see(submit(alike("a b c d e", JobTemplate(command="true"))))

    def page(after: int, limit: int) -> tuple[list[str], int]:
        status = views.run_status(master.state, msg.GetRun(1, "r", "", after, limit))
        return [row.id for row in status.jobs], status.next

    assert page(0, 2) == (["a", "b"], 2)
    assert page(2, 2) == (["c", "d"], 4)
    assert page(4, 2) == (["e"], 0)
    assert page(3, 2) == (["d", "e"], 0), "a full last page is the last"
    assert page(5, 2) == page(99, 2) == ([], 0)
    assert page(-3, 0) == (["a"], 1), "nonsense is put right"


def test_an_unknown_run_or_job_is_an_error_that_names_the_command_to_list_them() -> None:
    state = master_at_work().state
    with pytest.raises(NotFound, match="there is no run 'x': `titan runs` lists them"):
        views.run_status(state, msg.GetRun(1, "x"))
    with pytest.raises(NotFound, match="run r has no job 'x': `titan status r` lists them"):
        views.run_status(state, msg.GetRun(1, "r", "x"))


def test_the_newest_runs_first_and_page_by_page() -> None:
    master = Master()
    for run in ("r2", "r1", "r3"):
        master.see(submit(dag({"a": ""}), run=run))
    assert [row.run for row in views.runs(master.state, msg.ListRuns(1))] == ["r3", "r2", "r1"]
    assert [row.run for row in views.runs(master.state, msg.ListRuns(1, 2))] == ["r3", "r2"]
    assert [row.run for row in views.runs(master.state, msg.ListRuns(1, 2, "r2"))] == ["r1"]


def test_a_row_is_a_copy_and_does_not_change() -> None:
    master = master_at_work()
    row = views.run_row(master.state.runs["r"])
    master.see(succeeded(1, FIRST + 1))
    assert row.tally[JobState.COMPLETED] == 1


def test_workers_are_shown_by_name_with_their_states() -> None:
    master = Master()
    master.see(register("w2", origin=2, slots=4), at=1.0)
    master.see(register("w1", origin=1), register("w3", origin=3), register("w4", origin=4), submit(dag({"a": ""})), at=2.0)
    master.see(cancel("r"), inputs.WorkerDraining(2), inputs.WorkerLeaving(3), inputs.WorkerDisconnected(4, 4), at=3.0)
    assert views.workers(master.state, msg.ListWorkers(7)) == msg.Workers(
        7,
        [
            msg.WorkerRow("w1", "DRAINING", ("GENERAL",), 1, 0, 2.0, 2.0, {}),
            msg.WorkerRow("w2", "ALIVE", ("GENERAL",), 4, 1, 1.0, 1.0, {}),
            msg.WorkerRow("w3", "LEFT", ("GENERAL",), 1, 0, 2.0, 2.0, {}),
            msg.WorkerRow("w4", "SUSPECT", ("GENERAL",), 1, 0, 2.0, 2.0, {}),
        ],
    )


def test_the_dead_letter_queue() -> None:
    master = Master()
    once = JobTemplate(command="false", retries=0)
    master.see(register(slots=3), submit(alike("a b", once), run="r"), submit(alike("c", once), run="s"), at=1.0)
    master.see(results(1, *((FIRST + n, Outcome.EXITED) for n in range(3))), at=3.0)
    dead = views.dead_jobs(master.state, msg.ListDead(5))
    assert [(one.run, one.job.id) for one in dead] == [("s", "c"), ("r", "b"), ("r", "a")]
    assert dead[2] == msg.DeadRow(
        "r",
        "d",
        msg.JobRow("a", JobState.DEAD, 1, "w1", 1, 1.0, 1.0, 2.0, "why", 0.25, 4096),
        ["1.000  submitted in run r (d) as a", "2.000  attempt 1 on w1: EXITED with code 1: why", "3.000  DEAD: why"],
    )
    assert [one.job.id for one in views.dead_jobs(master.state, msg.ListDead(5, "r", 1))] == ["b"]
