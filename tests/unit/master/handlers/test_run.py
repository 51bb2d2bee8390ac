"""Handlers of runs: submissions, cancellations, and queries about runs and their jobs."""

from __future__ import annotations

import pytest

from support.core import alike, dag
from support.handlers import ANN, SocketlessMaster, answers, needing, records, refuses, story_of
from titan.core.events import events as ev
from titan.master import views
from titan.model.dag import JobTemplate
from titan.model.states import JobState, Outcome, RunState
from titan.protocol import messages as msg

NOBODY = "NOBODY"
"""A capability that no worker in these tests offers. Jobs that require it stay QUEUED."""
NO_RUN = "there is no run 'nope': `titan runs` lists them"


@records(msg.Submit, ev.RunSubmitted)
@answers(msg.Submit)
def test_a_submitted_run_names_its_actor(master: SocketlessMaster) -> None:
    client = master.client()
    answer = client.ask(msg.Submit(0, "key-1", needing(NOBODY, "a", "b")), msg.Submitted)
    assert answer.jobs == 2
    again = client.ask(msg.Submit(0, "key-1", needing(NOBODY, "a", "b")), msg.Submitted)
    assert again.run == answer.run, "the same request sent twice is one run"
    status = client.ask(msg.GetRun(0, answer.run), msg.RunStatus)
    assert (status.run.actor, [row.state for row in status.jobs]) == (ANN, [JobState.QUEUED] * 2)


@refuses(msg.Submit)
def test_a_submission_is_refused_whole(master: SocketlessMaster) -> None:
    client = master.client()
    before = client.ask(msg.ListRuns(0), msg.Runs).runs
    spec = needing(NOBODY, "a")
    client.refused(msg.Submit(0, "k" * 129, spec), "caller", "a submission key is at most 128 characters")
    script = alike("a", JobTemplate(file="x.py", file_hash="ab" * 32))
    client.refused(msg.Submit(0, "", script), "not_found", "x.py (abababababab) is not on the master: stage it")
    secret = alike("a", JobTemplate(command="true", secrets=("TOKEN",)))
    client.refused(msg.Submit(0, "", secret), "not_found", "true needs the secret 'TOKEN'")
    circle = client.refused(msg.Submit(0, "", dag({"a": "b", "b": "a"})), "invalid_graph", "cycle")
    assert circle.job in ("a", "b")
    assert client.ask(msg.ListRuns(0), msg.Runs).runs == before


@records(msg.OpenRun, ev.RunOpened)
@answers(msg.OpenRun, msg.AddJobs)
def test_a_submission_in_parts_is_answered_when_its_last_part_is_there(master: SocketlessMaster) -> None:
    client = master.client()
    opened = client.say(msg.OpenRun(0, "", "parts", "1", [JobTemplate(command="true", requirement=NOBODY)], 2))
    client.say(msg.AddJobs(opened.request, 0, ["a"], [0], [()], [()]))
    master.settled()
    assert client.find(msg.Submitted, opened.request) is None
    client.say(msg.AddJobs(opened.request, 1, ["b"], [0], [()], [(0,)]))
    answer = client.heard(msg.Submitted, opened.request)
    assert answer.jobs == 2
    status = client.ask(msg.GetRun(0, answer.run), msg.RunStatus)
    assert [(row.id, row.state) for row in status.jobs] == [("a", JobState.QUEUED), ("b", JobState.WAITING)]
    assert status.run.actor == ANN


@refuses(msg.OpenRun)
def test_a_second_submission_under_one_request_id_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    opened = client.say(msg.OpenRun(0, "", "twice", "1", [JobTemplate(command="true")], 2))
    client.refused(msg.OpenRun(opened.request, "", "twice", "1", [], 2), "caller", "each under a request id of its own")


@refuses(msg.AddJobs)
def test_a_part_that_is_wrong_drops_the_submission(master: SocketlessMaster) -> None:
    client = master.client()
    opened = client.say(msg.OpenRun(0, "", "wrong", "1", [JobTemplate(command="true")], 2))
    client.say(msg.AddJobs(opened.request, 0, ["no name"], [0], [()], [()]))
    error = client.heard(msg.Error, opened.request)
    assert (error.code, error.job) == ("invalid_graph", "no name")
    assert "wrong" not in [row.dag for row in client.ask(msg.ListRuns(0), msg.Runs).runs]


def test_a_partial_submission_is_dropped_with_its_connection(master: SocketlessMaster) -> None:
    client = master.client()
    client.say(msg.OpenRun(0, "", "cut off", "1", [JobTemplate(command="true")], 2))
    master.settled()
    client.hang_up()
    assert isinstance(master.decided[-1], ev.RunDropped)


@records(msg.Cancel, ev.JobsCancelled)
@answers(msg.Cancel)
def test_a_cancelled_job_names_the_actor(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a", "b"))
    assert client.ask(msg.Cancel(0, run, "a"), msg.Cancelled).jobs == 1
    assert client.ask(msg.Cancel(0, run), msg.Cancelled).jobs == 1
    assert client.ask(msg.Cancel(0, run), msg.Cancelled).jobs == 0, "all is over"
    assert ANN in story_of(client, run, "a")


@refuses(msg.Cancel)
def test_cancelling_an_unknown_run_or_job_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.Cancel(0, "nope"), "not_found", NO_RUN)
    run = client.submit(needing(NOBODY, "a"))
    client.refused(msg.Cancel(0, run, "b"), "not_found", f"run {run} has no job 'b'")


@answers(msg.GetRun)
def test_the_status_of_a_run_has_pages_and_that_of_a_job_its_story(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a", "b", "c"))
    page = client.ask(msg.GetRun(0, run, "", 0, 2), msg.RunStatus)
    assert ([row.id for row in page.jobs], page.next) == (["a", "b"], 2)
    rest = client.ask(msg.GetRun(0, run, "", page.next, 2), msg.RunStatus)
    assert ([row.id for row in rest.jobs], rest.next) == (["c"], 0)
    assert "QUEUED for a worker with NOBODY" in story_of(client, run, "c")


@answers(msg.ListRuns)
def test_runs_are_listed_the_newest_first(master: SocketlessMaster) -> None:
    client = master.client()
    runs = [client.submit(dag({"a": ""}, name="listed")) for _ in range(3)]
    listed = client.ask(msg.ListRuns(0, 2, dag="listed"), msg.Runs).runs
    assert [row.run for row in listed] == runs[:0:-1]


@answers(msg.Why)
def test_why_names_the_reason_that_a_job_does_not_run(master: SocketlessMaster) -> None:
    client = master.client()
    master.worker("idle", offers="GENERAL")
    run = client.submit(needing(NOBODY, "a"))
    answer = client.ask(msg.Why(0, run, "a"), msg.Reasons)
    assert (answer.run, answer.job, answer.state) == (run, "a", JobState.QUEUED)
    assert any(NOBODY in reason.text for worker in answer.workers for reason in worker.reasons)


@answers(msg.ReadValues)
def test_the_values_of_jobs_are_read_after_their_end(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("valuer", offers="VALUES")
    run = client.submit(needing("VALUES", "a", "b"))
    worker.finish(worker.start(run, "a"), value=b"j1")
    worker.finish(worker.start(run, "b"), Outcome.EXITED, 3)
    answer = client.ask(msg.ReadValues(0, run, ["a"]), msg.Values)
    assert (answer.states, answer.values) == ([JobState.COMPLETED], [b"j1"])
    assert client.ask(msg.ReadValues(0, run, ["b"]), msg.Values).states == [JobState.DEAD]
    assert client.ask(msg.GetRun(0, run), msg.RunStatus).run.state == RunState.FAILED


@answers(msg.Watch)
def test_a_watcher_gets_the_current_state_of_the_run_and_then_each_change(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("watched", offers="WATCHED")
    run = client.submit(needing("WATCHED", "a"))
    lease = worker.start(run, "a")
    first = client.ask(msg.Watch(0, run), msg.Changes)
    assert [(row.id, row.state) for row in first.jobs] == [("a", JobState.RUNNING)]
    worker.finish(lease)
    last = master.until(lambda: next((m for m, _ in client.got if isinstance(m, msg.Changes) and m.last), None), "the last change")
    assert (last.request, last.run.state) == (first.request, RunState.COMPLETED)


@answers(msg.GetGraph, msg.GetAttempts)
def test_the_graph_and_the_attempts_of_a_run_are_read(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("drawer", offers="DRAW")
    run = client.submit(needing("DRAW", "a", "b"))
    worker.finish(worker.start(run, "a"))
    graph = client.ask(msg.GetGraph(0, run), msg.Graph)
    assert (graph.ids, graph.parents, graph.total, graph.next) == (["a", "b"], [[], []], 2, 0)
    (row,) = client.ask(msg.GetAttempts(0, run, "a"), msg.Attempts).attempts
    assert (row.job, row.attempt, row.worker, row.outcome) == ("a", 1, "drawer", "SUCCEEDED")


@refuses(msg.GetRun, msg.GetGraph, msg.GetAttempts, msg.Why, msg.ReadValues, msg.Watch)
def test_requests_about_an_unknown_run_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    of_runs = (msg.GetRun, msg.GetGraph, msg.GetAttempts, msg.Watch)
    for message in (*(kind(0, "nope") for kind in of_runs), msg.Why(0, "nope", "a"), msg.ReadValues(0, "nope", ["a"])):
        client.refused(message, "not_found", NO_RUN)


def test_requests_about_an_unknown_job_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a"))
    for message in (msg.GetRun(0, run, "b"), msg.Why(0, run, "b")):
        client.refused(message, "not_found", f"run {run} has no job 'b'")


def test_values_of_a_job_that_has_not_ended_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a"))
    client.refused(msg.ReadValues(0, run, ["a"]), "conflict", "a")


@refuses(msg.ListRuns)
def test_requests_about_runs_from_a_worker_are_refused(master: SocketlessMaster) -> None:
    master.worker("nosy").refused(msg.ListRuns(0), "protocol", "a worker must not send a ListRuns to the master")


@answers(msg.Unwatch)
def test_changes_are_not_sent_after_the_end_of_a_watch(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a"))
    watch = client.ask(msg.Watch(0, run), msg.Changes).request
    client.say(msg.Unwatch(0, watch))
    told = len(client.got)
    client.ask(msg.Cancel(0, run), msg.Cancelled)
    assert client.find(msg.Changes, watch, since=told) is None


@refuses(msg.Unwatch)
def test_a_watch_by_a_worker_is_refused(master: SocketlessMaster) -> None:
    master.worker("blind").refused(msg.Unwatch(0, 1), "protocol", "a worker must not send a Unwatch to the master")


@answers(msg.GetDag)
def test_the_dag_of_a_run_is_the_submitted_one(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a", "b"))
    found = client.ask(msg.GetDag(0, run), msg.Dag).dag
    assert (found.ids, found.parents, len(found.templates)) == (["a", "b"], [(), ()], 1)
    assert found.templates[0].requirement == NOBODY


@refuses(msg.GetDag)
def test_the_dag_of_an_unknown_or_too_large_run_is_refused(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    client = master.client()
    client.refused(msg.GetDag(0, "nope"), "not_found", NO_RUN)
    run = client.submit(needing(NOBODY, "a", "b"))
    monkeypatch.setattr(views, "MAX_DAG_JOBS", 1)
    client.refused(msg.GetDag(0, run), "limit_exceeded", "at most 1 jobs")
