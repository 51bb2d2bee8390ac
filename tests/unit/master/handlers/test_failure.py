"""Handlers of gates and the dead letter queue."""

from __future__ import annotations

from support.core import alike, dag
from support.handlers import SocketlessMaster, Speaker, WorkerSpeaker, answers, needing, records, refuses, story_of
from titan.core.events import events as ev
from titan.model.dag import Gate, JobTemplate
from titan.model.states import JobState, Outcome
from titan.protocol import messages as msg

GATE = JobTemplate(kind="gate", gate=Gate("Ship it?"), retries=0)


def with_a_dead_job(master: SocketlessMaster, capability: str) -> tuple[Speaker, WorkerSpeaker, str]:
    """Return a client, a worker, and a run whose job `a` is DEAD and whose job `b` is CANCELLED
    because of it."""
    client, worker = master.client(), master.worker(capability.lower(), offers=capability)
    alike = JobTemplate(command="true", requirement=capability, retries=0)
    run = client.submit(dag({"a": "", "b": "a"}, {"a": alike, "b": alike}))
    worker.finish(worker.start(run, "a"), Outcome.EXITED, 3)
    return client, worker, run


@answers(msg.ListDead)
def test_dead_jobs_are_listed(master: SocketlessMaster) -> None:
    client, _, run = with_a_dead_job(master, "LISTED")
    (row,) = client.ask(msg.ListDead(0, run), msg.DeadJobs).dead
    assert (row.run, row.job.id, row.job.exit_code) == (run, "a", 3)
    assert run in [row.run for row in client.ask(msg.ListDead(0), msg.DeadJobs).dead]


@refuses(msg.ListDead)
def test_dead_jobs_of_an_unknown_run_are_refused(master: SocketlessMaster) -> None:
    master.client().refused(msg.ListDead(0, "nope"), "not_found", "there is no run 'nope'")


@records(msg.RetryDead, ev.JobsRevived)
@answers(msg.RetryDead)
def test_a_retried_dead_job_runs_again_with_the_jobs_cancelled_because_of_it(master: SocketlessMaster) -> None:
    client, worker, run = with_a_dead_job(master, "RETRIED")
    asked = msg.RetryDead(0, run, "a", key="k")
    first = client.ask(asked, msg.Retried)
    assert (first.run, first.retried, first.revived) == (run, 1, 1)
    again = client.ask(asked, msg.Retried)
    assert (again.retried, again.revived) == (1, 1), "the same request sent twice is one retry"
    assert "ann@here" in story_of(client, run, "a")
    worker.finish(worker.start(run, "a"))
    worker.finish(worker.start(run, "b"))
    assert client.state_of(run, "b") == JobState.COMPLETED


@refuses(msg.RetryDead)
def test_a_job_that_is_not_dead_cannot_be_retried(master: SocketlessMaster) -> None:
    client, _, run = with_a_dead_job(master, "FINE")
    client.refused(msg.RetryDead(0, run, "b"), "conflict", f"{run}/b is CANCELLED, not DEAD")
    client.refused(msg.RetryDead(0, run, "c"), "not_found", f"run {run} has no job 'c'")
    client.refused(msg.RetryDead(0, "nope"), "not_found", "there is no run 'nope'")
    client.refused(msg.RetryDead(0, run, key="k" * 129), "caller", "a request key is at most 128 characters")
    client.refused(msg.RetryDead(0, run, by="\n"), "caller", "1 to 128 printable characters")


@records(msg.PurgeDead, ev.DeadPurged)
@answers(msg.PurgeDead)
def test_a_dead_job_is_taken_off_the_queue(master: SocketlessMaster) -> None:
    client, _, run = with_a_dead_job(master, "PURGED")
    assert client.ask(msg.PurgeDead(0, run), msg.Purged).jobs == 1
    assert client.ask(msg.PurgeDead(0, run), msg.Purged).jobs == 0
    assert client.ask(msg.ListDead(0, run), msg.DeadJobs).dead == []
    assert client.state_of(run, "a") == JobState.DEAD


@refuses(msg.PurgeDead)
def test_a_job_that_is_not_dead_cannot_be_purged(master: SocketlessMaster) -> None:
    client, _, run = with_a_dead_job(master, "KEPT")
    client.refused(msg.PurgeDead(0, run, "b"), "conflict", f"{run}/b is CANCELLED, not DEAD")
    client.refused(msg.PurgeDead(0, "nope"), "not_found", "there is no run 'nope'")


@answers(msg.ListGates)
def test_open_gates_are_listed_until_they_are_decided(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(alike("ship", GATE))
    (row,) = client.ask(msg.ListGates(0, run), msg.Gates).gates
    assert (row.run, row.job, row.message, row.webhook) == (run, "ship", "Ship it?", "")
    client.ask(msg.Decide(0, run, "ship", True, "bob"), msg.Decided)
    assert client.ask(msg.ListGates(0, run), msg.Gates).gates == []


@refuses(msg.ListGates)
def test_gates_of_an_unknown_run_are_refused(master: SocketlessMaster) -> None:
    master.client().refused(msg.ListGates(0, "nope"), "not_found", "there is no run 'nope'")


@records(msg.Decide, ev.GatesDecided)
@answers(msg.Decide)
def test_the_first_decision_counts_and_names_its_actor(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(alike("ship", GATE))
    decided = client.ask(msg.Decide(0, run, "ship", False, "bob", "not today", "k"), msg.Decided)
    assert (decided.run, decided.job, decided.approved, decided.by) == (run, "ship", False, "bob")
    assert client.ask(msg.Decide(0, run, "ship", False, "bob", "not today", "k"), msg.Decided).at == decided.at
    assert client.state_of(run, "ship") == JobState.CANCELLED
    assert "bob" in story_of(client, run, "ship")


@refuses(msg.Decide)
def test_invalid_decisions_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(dag({"ship": "", "plain": "ship"}, {"ship": GATE, "plain": needing("NOBODY", "x").templates[0]}))
    client.refused(msg.Decide(0, run, "ship", True, ""), "caller", "a decision needs the name of the person who decides")
    client.refused(msg.Decide(0, run, "ship", True, "b" * 129), "caller", "1 to 128 printable characters")
    client.refused(msg.Decide(0, run, "ship", True, "bob", "c" * 5000), "caller", "a comment is at most")
    client.refused(msg.Decide(0, run, "ship", True, "bob", token="t"), "caller", "a token identifies its gate")
    client.refused(msg.Decide(0, "", "", True, "bob", token="t"), "not_found", "no gate of a live run has this token")
    client.refused(msg.Decide(0, run, "plain", True, "bob"), "caller", f"{run}/plain is no gate")
    client.refused(msg.Decide(0, "nope", "ship", True, "bob"), "not_found", "there is no run 'nope'")
    client.ask(msg.Decide(0, run, "ship", True, "bob"), msg.Decided)
    client.refused(msg.Decide(0, run, "ship", False, "eve"), "conflict", f"gate {run}/ship was approved already, by bob")
