"""Requests about archived runs get the same answers as before, from the history. After a restart,
the journal still has the actors."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from support.core import alike
from support.handlers import ANN, SocketlessMaster, Speaker, answers, needing, refuses, story_of
from titan.core.events import events as ev
from titan.master.history.database import History, KeptRun
from titan.model.dag import Gate, JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState
from titan.protocol import messages as msg


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketlessMaster]:
    """Master whose runs are archived as soon as they have ended."""
    with SocketlessMaster(tmp_path_factory.mktemp("master"), Settings(prefetch=0, keep_runs=0)) as made:
        yield made


def archived(master: SocketlessMaster, run: str) -> None:
    master.until(lambda: run not in master.inside.core.state.runs or None, f"the archiving of {run}")


def done(master: SocketlessMaster, capability: str, outcome: Outcome = Outcome.SUCCEEDED, code: int = 0) -> tuple[Speaker, str]:
    """Return a client, and an archived run of one job."""
    client, worker = master.client(), master.worker(capability.lower(), offers=capability)
    run = client.submit(needing(capability, "a"))
    lease = worker.start(run, "a")
    worker.say(msg.LogData(0, [run], ["a"], [1], [1], [0], [3]), b"out")
    worker.finish(lease, outcome, code, value=b"j1" if not code else b"")
    archived(master, run)
    return client, run


@answers(msg.GetRun, msg.ListRuns, msg.Why, msg.ReadValues, msg.Watch, msg.ReadLogs, msg.Cancel, msg.ListArtifacts)
def test_requests_about_an_archived_run_are_answered_as_before(master: SocketlessMaster) -> None:
    client, run = done(master, "OLD")
    status = client.ask(msg.GetRun(0, run), msg.RunStatus)
    assert (status.run.state, status.run.actor, status.jobs[0].state) == (RunState.COMPLETED, ANN, JobState.COMPLETED)
    assert run in [row.run for row in client.ask(msg.ListRuns(0), msg.Runs).runs]
    assert client.ask(msg.Why(0, run, "a"), msg.Reasons).state == JobState.COMPLETED
    assert client.ask(msg.ReadValues(0, run, ["a"]), msg.Values).values == [b"j1"]
    changes = client.ask(msg.Watch(0, run), msg.Changes)
    assert changes.last and [row.state for row in changes.jobs] == [JobState.COMPLETED]
    chunk = client.ask(msg.ReadLogs(0, run, "a"), msg.LogChunk)
    assert client.blob_of(chunk) == b"out"
    assert client.ask(msg.Cancel(0, run), msg.Cancelled).jobs == 0
    assert client.ask(msg.ListArtifacts(0, f"{run}/"), msg.Artifacts).artifacts == []
    client.refused(msg.GetRun(0, run, "b"), "not_found", f"run {run} has no job 'b'")


def test_a_repeated_submission_gets_the_archived_run(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("again", offers="AGAIN")
    asked = msg.Submit(0, "key", needing("AGAIN", "a"), collect=True)
    run = client.ask(asked, msg.Submitted).run
    worker.finish(worker.start(run, "a"), value=b"j1")
    archived(master, run)
    answer = client.ask(asked, msg.Submitted)
    assert answer.run == run
    assert client.heard(msg.Values, answer.request).values == [b"j1"]


@answers(msg.ListDead, msg.RetryDead)
def test_retrying_a_dead_job_of_an_archived_run_restores_the_run(master: SocketlessMaster) -> None:
    client, run = done(master, "BACK", Outcome.EXITED, 3)
    assert [row.job.id for row in client.ask(msg.ListDead(0, run), msg.DeadJobs).dead] == ["a"]
    assert client.ask(msg.RetryDead(0, run), msg.Retried).retried == 1
    assert run in master.inside.core.state.runs
    assert any(isinstance(e, ev.RunRestored) and e.run == run for e in master.decided)
    assert client.state_of(run, "a") in (JobState.QUEUED, JobState.DISPATCHED)


@answers(msg.PurgeDead)
def test_a_dead_job_of_an_archived_run_is_purged(master: SocketlessMaster) -> None:
    client, run = done(master, "PURGE", Outcome.EXITED, 3)
    assert client.ask(msg.PurgeDead(0, run), msg.Purged).jobs == 1
    archived(master, run)
    assert client.ask(msg.ListDead(0, run), msg.DeadJobs).dead == []


def test_a_restored_run_that_is_archived_again_at_once_stays_in_the_history(
    master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge restores the run and archives it again at once. The old row's deletion comes only
    after the new row is written, and must not delete the new row."""
    client, run = done(master, "LATE", Outcome.EXITED, 3)
    written, put, forget = threading.Event(), History.put, History.forget

    def noted_put(history: History, kept: Iterable[KeptRun]) -> None:
        put(history, kept)
        written.set()

    def late_forget(history: History, of_run: str) -> None:
        written.wait(5.0)
        forget(history, of_run)

    monkeypatch.setattr(History, "put", noted_put)
    monkeypatch.setattr(History, "forget", late_forget)
    client.ask(msg.PurgeDead(0, run), msg.Purged)
    archived(master, run)
    master.until(lambda: not master.inside.past._tasks or None, "the removal")
    master.inside.past.forget(run)
    assert client.ask(msg.GetRun(0, run), msg.RunStatus).jobs[0].state == JobState.DEAD


@answers(msg.Decide, msg.StopService)
@refuses(msg.Decide)
def test_a_repeated_decision_about_an_archived_gate_gets_the_same_answer_and_another_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(alike("ship", JobTemplate(kind="gate", gate=Gate("Ship it?"), retries=0)))
    decision = msg.Decide(0, run, "ship", True, "bob", key="k")
    decided = client.ask(decision, msg.Decided)
    archived(master, run)
    assert client.ask(decision, msg.Decided).at == decided.at
    client.refused(msg.Decide(0, run, "ship", False, "eve"), "conflict", f"gate {run}/ship was approved already, by bob")
    assert client.ask(msg.StopService(0, run), msg.ServicesStopped).jobs == 0


def test_stories_name_the_actors_also_after_a_restart(tmp_path: Path) -> None:
    with SocketlessMaster(tmp_path) as first:
        ann, bob = first.client(ANN), first.client("bob@there")
        run = ann.submit(needing("NOBODY", "a", "b"))
        bob.ask(msg.Cancel(0, run, "a"), msg.Cancelled)
        before = story_of(ann, run, "a")
        assert ANN in before and "bob@there" in before
    with SocketlessMaster(tmp_path) as second:
        assert story_of(second.client(), run, "a") == before
        assert second.client().ask(msg.GetRun(0, run), msg.RunStatus).run.actor == ANN
