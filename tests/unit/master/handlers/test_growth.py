"""Handlers of additions to runs, and of saved pipelines."""

from __future__ import annotations

from support.core import alike
from support.handlers import SocketlessMaster, answers, needing, records, refuses
from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.states import JobState
from titan.protocol import messages as msg

NOBODY = "NOBODY"
NOT_STORED = JobTemplate(file="x", file_hash="ab" * 32)


@records(msg.Grow, ev.RunGrown)
@answers(msg.Grow)
def test_jobs_added_by_a_client_name_their_actor(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing(NOBODY, "a"))
    assert client.ask(msg.Grow(0, 0, run, "k", needing(NOBODY, "b", "c")), msg.Grown) == msg.Grown(client._requests, run, 2)
    again = client.ask(msg.Grow(0, 0, run, "k", needing(NOBODY, "b", "c")), msg.Grown)
    assert again.jobs == 2, "the same request sent twice is one addition"
    assert [row.id for row in client.ask(msg.GetRun(0, run), msg.RunStatus).jobs] == ["a", "b", "c"]


@answers(msg.Grow)
def test_a_job_adds_jobs_under_its_lease(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("planner", offers="PLAN")
    run = client.submit(needing("PLAN", "a"))
    lease = worker.start(run, "a")
    assert worker.ask(msg.Grow(0, lease, "", "k", needing(NOBODY, "b")), msg.Grown).run == run
    assert client.state_of(run, "b") == JobState.QUEUED


@refuses(msg.Grow)
def test_invalid_additions_are_refused(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("hasty", offers="HASTY")
    spec = needing(NOBODY, "b")
    run = client.submit(needing("HASTY", "a"))
    client.refused(msg.Grow(0, 0, "nope", "k", spec), "not_found", "there is no run 'nope' that could grow")
    client.refused(msg.Grow(0, 0, run, "", spec), "caller", "the key of an addition is 1 to 128 characters")
    client.refused(msg.Grow(0, 0, run, "k", alike("b", NOT_STORED)), "not_found", "x (abababababab)")
    worker.refused(msg.Grow(0, 0, run, "k", spec), "caller", "must name the lease of the requesting job")
    worker.refused(msg.Grow(0, 12345, "", "k", spec), "conflict", "this attempt is no longer current")
    worker.finish(worker.start(run, "a"))
    client.refused(msg.Grow(0, 0, run, "k", spec), "conflict", f"run {run} is COMPLETED: it takes no further jobs")


@records(msg.SavePipeline, ev.PipelineSaved)
@answers(msg.SavePipeline, msg.ListPipelines, msg.GetPipeline)
def test_a_pipeline_is_saved_listed_and_fetched(master: SocketlessMaster) -> None:
    client, spec = master.client(), needing(NOBODY, "a", "b")
    assert client.ask(msg.SavePipeline(0, "nightly", spec), msg.Saved).name == "nightly"
    (row,) = client.ask(msg.ListPipelines(0), msg.Pipelines).pipelines
    assert (row.name, row.dag, row.jobs) == ("nightly", "d", 2)
    assert client.ask(msg.ListPipelines(0, "nightly"), msg.Pipelines).pipelines == []
    assert client.ask(msg.GetPipeline(0, "nightly"), msg.Pipeline).dag == spec
    assert master.worker("getter").ask(msg.GetPipeline(0, "nightly"), msg.Pipeline).dag == spec


@refuses(msg.SavePipeline)
def test_a_taken_name_and_missing_files_of_a_pipeline_are_refused(master: SocketlessMaster) -> None:
    client, spec = master.client(), needing(NOBODY, "a")
    client.ask(msg.SavePipeline(0, "taken", needing(NOBODY, "b")), msg.Saved)
    client.refused(msg.SavePipeline(0, "taken", spec), "conflict", "there is a saved pipeline 'taken' already: use --replace")
    client.ask(msg.SavePipeline(0, "taken", spec, replace=True), msg.Saved)
    client.refused(msg.SavePipeline(0, "x", alike("a", NOT_STORED)), "not_found", "x (abababababab)")


@refuses(msg.GetPipeline)
def test_requests_for_an_unknown_pipeline_are_refused(master: SocketlessMaster) -> None:
    master.client().refused(msg.GetPipeline(0, "nope"), "not_found", "there is no saved pipeline 'nope'")


@records(msg.RemovePipeline, ev.PipelineRemoved)
@answers(msg.RemovePipeline)
def test_the_removal_of_a_pipeline_names_its_actor(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(msg.SavePipeline(0, "old", needing(NOBODY, "a")), msg.Saved)
    client.ask(msg.RemovePipeline(0, "old"), msg.Saved)
    client.refused(msg.GetPipeline(0, "old"), "not_found", "'old'")


@refuses(msg.RemovePipeline)
def test_an_unknown_pipeline_cannot_be_removed(master: SocketlessMaster) -> None:
    master.client().refused(msg.RemovePipeline(0, "nope"), "not_found", "there is no saved pipeline 'nope'")


@refuses(msg.ListPipelines)
def test_a_list_of_pipelines_for_a_worker_is_refused(master: SocketlessMaster) -> None:
    master.worker("lister").refused(msg.ListPipelines(0), "protocol", "a worker must not send a ListPipelines to the master")
