"""Jobs leave the dead letter queue. A retry continues their run, with the jobs that were cancelled
because of them. A purge leaves them DEAD."""

from __future__ import annotations

from support.core import (
    CLIENT,
    FIRST,
    Master,
    booted,
    cancel,
    dag,
    fragile_run,
    picture,
    refusal,
    register,
    replay,
    results,
    submit,
)
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.run import MAX_EARLIER_RETRIES
from titan.core.state.state import NO_WORKER
from titan.core.state.story import story
from titan.model.dag import Gate, JobTemplate
from titan.model.states import JobState, Outcome, RunState

HANDLER = JobTemplate(command="h", kind="handler", retries=0)
OPTIONAL = JobTemplate(command="x", retries=0, on_failure="continue")
WAITING, QUEUED, DISPATCHED, COMPLETED = JobState.WAITING, JobState.QUEUED, JobState.DISPATCHED, JobState.COMPLETED
DEAD, CANCELLED, PAUSED = JobState.DEAD, JobState.CANCELLED, JobState.PAUSED


def retry(job: str = "", *, key: str = "", chunks: list[bytes] | None = None) -> inputs.DeadRetried:
    return inputs.DeadRetried(CLIENT, 8, "r", job, "ann", key, chunks or [])


def purge(job: str = "", *, chunks: list[bytes] | None = None) -> inputs.DeadDismissed:
    return inputs.DeadDismissed(CLIENT, 8, "r", job, chunks or [])


def leave(master: Master) -> list[bytes]:
    chunks = list(snapshot.dump_run(master.state, master.state.runs["r"], 2))
    master.see(inputs.HistoryKept(["r"]))
    assert "r" not in master.state.runs
    return chunks


def test_a_retried_job_revives_the_jobs_cancelled_because_of_it_and_the_run_completes() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "b"})
    master.end("a", outcome=Outcome.EXITED)
    assert master.run_state() is RunState.FAILED
    assert master.see(retry("a", key="k"), at=5.0) == (
        [
            ev.JobsRevived("r", [FIRST, FIRST + 1, FIRST + 2], 1, "ann", "k", 5.0),
            ev.JobsQueued([FIRST], 5.0),
            ev.JobsDispatched(1, [FIRST], FIRST + 1, 5.0),
        ],
        [fx.ReplyRetried(CLIENT, 8, "r", 1, 2), fx.SendDispatch(1, [FIRST], FIRST + 1)],
    )
    assert (master.job().failures, master.job().attempt, master.run_state()) == (0, 2, RunState.RUNNING)
    assert not master.state.dead
    master.end("a", "b", "c")
    assert master.run_state() is RunState.COMPLETED
    assert "5.000  taken off the dead letter queue by ann: why" in story(master.state, FIRST)
    assert any("waits again: it was CANCELLED because its ancestor a is DEAD" in line for line in story(master.state, FIRST + 1))


def test_the_same_request_is_answered_alike_and_another_is_refused() -> None:
    master = fragile_run({"a": "", "b": "a"})
    master.end("a", outcome=Outcome.EXITED)
    first = master.see(retry("a", key="k"), at=5.0)
    assert master.see(retry("a", key="k")) == ([], first.effects[:1])
    assert refusal(master.see(retry("a", key="other"))) == (
        "conflict",
        "r/a is DISPATCHED, not DEAD: `titan dlq` lists the dead jobs",
    )
    assert refusal(master.see(retry()))[0] == "conflict"
    assert refusal(master.see(retry("x")))[0] == "not_found"
    assert refusal(master.see(inputs.DeadRetried(CLIENT, 8, "nope", "", "ann", "")))[0] == "not_found"


def test_a_request_that_arrives_again_after_a_later_one_is_not_applied_twice() -> None:
    master = fragile_run({"a": "", "b": "a"})
    master.end("a", outcome=Outcome.EXITED)
    first = master.see(retry("a", key="k"), at=5.0)
    for n in range(MAX_EARLIER_RETRIES):
        master.end("a", outcome=Outcome.EXITED)
        assert master.see(retry("a", key=f"later {n}"), at=6.0 + n).events
    master.end("a", outcome=Outcome.EXITED)
    assert master.see(retry("a", key="k"), at=90.0) == ([], first.effects[:1])
    assert len(master.state.runs["r"].earlier_retries) == MAX_EARLIER_RETRIES
    master.see(retry("a", key="last"), at=91.0)
    assert len(master.state.runs["r"].earlier_retries) == MAX_EARLIER_RETRIES


def test_a_job_with_another_dead_parent_stays_cancelled_after_a_retry() -> None:
    master = fragile_run({"a": "", "b": "", "c": "a b", "d": "a"})
    master.end("a", "b", outcome=Outcome.EXITED)
    master.see(retry("a"))
    assert master.states() == [DISPATCHED, DEAD, CANCELLED, WAITING]
    master.end("a", "d")
    assert master.run_state() is RunState.FAILED
    master.see(retry())
    assert master.states() == [COMPLETED, DISPATCHED, WAITING, COMPLETED]
    master.end("b", "c")
    assert master.run_state() is RunState.COMPLETED


def test_a_job_that_a_user_cancelled_stays_cancelled_with_its_descendants() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "b", "d": "a c", "e": "a"})
    master.see(cancel("r", "b"))
    master.end("a", outcome=Outcome.EXITED)
    master.see(retry())
    assert master.states() == [DISPATCHED, CANCELLED, CANCELLED, CANCELLED, WAITING]
    master.end("a", "e")
    assert master.run_state() is RunState.FAILED


def test_all_dead_jobs_of_a_run_are_retried_and_a_child_waits_for_its_parent() -> None:
    master = fragile_run({"a": "", "b": "a", "c": ""}, {"a": OPTIONAL})
    master.end("a", "b", "c", outcome=Outcome.EXITED)
    master.see(retry())
    assert master.states() == [DISPATCHED, WAITING, DISPATCHED]
    master.end("a", "b", "c")
    assert master.run_state() is RunState.COMPLETED


def test_a_completed_child_of_an_optional_job_is_not_run_again_by_its_retry() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "b"}, {"a": OPTIONAL})
    master.end("a", outcome=Outcome.EXITED)
    master.end("b")
    master.see(retry("a"))
    assert master.states() == [DISPATCHED, COMPLETED, DISPATCHED]
    master.end("c")
    master.end("a", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, COMPLETED, COMPLETED]
    assert master.run_state() is RunState.FAILED


def test_a_dead_job_with_a_cancelled_parent_cannot_be_retried() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"a": OPTIONAL})
    master.end("a", "b", outcome=Outcome.EXITED)
    master.see(retry("a"))
    master.see(cancel("r", "a"))
    assert master.states() == [CANCELLED, DEAD]
    assert refusal(master.see(retry("b")))[1] == "r/b cannot run again: its parent a is CANCELLED"


def test_after_a_retry_a_completed_handler_stays_and_an_unneeded_handler_waits_again() -> None:
    master = fragile_run({"a": "", "b": "a", "ha": "a", "hb": "b", "after": "hb"}, {"ha": HANDLER, "hb": HANDLER})
    master.end("a", outcome=Outcome.EXITED)
    master.end("ha")
    assert master.states() == [DEAD, CANCELLED, COMPLETED, CANCELLED, CANCELLED]
    master.see(retry())
    assert master.states() == [DISPATCHED, WAITING, COMPLETED, WAITING, WAITING]
    master.end("a")
    master.end("b", outcome=Outcome.EXITED)
    assert master.states() == [COMPLETED, DEAD, COMPLETED, DISPATCHED, WAITING]


def test_a_handler_that_died_runs_again_for_jobs_that_are_dead() -> None:
    """Earlier, the retried handler waited for ever, because no further event made it ready."""
    master = fragile_run({"a": "", "h": "a", "after": "h"}, {"h": HANDLER})
    master.end("a", "h", outcome=Outcome.EXITED)
    master.see(retry("h"))
    assert master.states() == [DEAD, DISPATCHED, WAITING]
    master.end("h", "after")
    assert master.run_state() is RunState.FAILED


def test_a_handler_that_died_runs_again_at_once_though_another_of_its_jobs_goes_on() -> None:
    """Earlier, the retried handler was CANCELLED as not needed when the other job completed."""
    master = fragile_run({"a": "", "b": "", "h": "a b"}, {"h": HANDLER})
    master.end("a", "h", outcome=Outcome.EXITED)
    assert master.states() == [DEAD, DISPATCHED, DEAD]
    master.see(retry("h"))
    assert master.states() == [DEAD, DISPATCHED, DISPATCHED]
    master.end("b", "h")
    assert master.states() == [DEAD, COMPLETED, COMPLETED]


def test_a_handler_that_died_is_not_needed_once_its_jobs_have_come_through() -> None:
    master = fragile_run({"a": "", "h": "a", "after": "h"}, {"h": HANDLER})
    master.end("a", "h", outcome=Outcome.EXITED)
    master.see(retry("a"))
    master.end("a")
    effects = master.see(retry("h")).effects
    assert master.states() == [COMPLETED, CANCELLED, CANCELLED]
    assert fx.ReplyRetried(CLIENT, 8, "r", 1, 1) in effects
    assert master.run_state() is RunState.COMPLETED
    assert picture(replay(master.events)) == picture(master.state)


def test_a_rejected_gate_stays_rejected() -> None:
    gate = JobTemplate(kind="gate", gate=Gate("", 10.0))
    master = fragile_run({"a": "", "g": "", "b": "a g", "c": "a"}, {"g": gate})
    master.see(inputs.GateDecisionMade(CLIENT, 8, "r", "g", False, "ann", "", "k"))
    master.end("a", outcome=Outcome.EXITED)
    master.see(retry())
    assert master.states() == [DISPATCHED, CANCELLED, CANCELLED, WAITING]


def test_blame_is_forgotten_and_not_taken_back_twice() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": ""})))
    for round_ in (1, 2):
        master.see(inputs.AttemptsStarted(1, [master.lease()], [1.0]))
        if round_ == 2:
            master.see(results(1, (master.lease(), Outcome.REFUSED)))
        else:
            master.see(inputs.WorkerDisconnected(1, 1), at=1.0)
            master.see(inputs.TimePassed(), at=60.0)
            master.see(register("w2", origin=2))
            master.see(inputs.AttemptsStarted(2, [master.lease()], [61.0]))
            master.see(results(2, (master.lease(), Outcome.REFUSED)), at=62.0)
            break
    assert (master.job().state, master.job().losses) == (DEAD, 1)
    master.see(retry())
    master.see(register("w1", origin=9), at=63.0)  # w1 comes back as the same process as before
    assert master.job().losses == 0


def test_a_run_of_the_history_comes_back_and_ends_well() -> None:
    master = fragile_run({"a": "", "b": "a"}, key="key")
    master.end("a", outcome=Outcome.EXITED)
    chunks = leave(master)
    assert refusal(master.see(retry()))[0] == "not_found"
    assert refusal(master.see(retry("b", chunks=chunks)))[0] == "conflict"
    events, _ = master.see(retry("a", chunks=chunks, key="k"), at=9.0)
    assert events[0] == ev.RunRestored("r", chunks, 9.0)
    assert master.states() == [DISPATCHED, WAITING]
    again = master.see(submit(dag({"a": ""}), run="other", key="key"))
    assert again == ([], [fx.ReplySubmitted(CLIENT, 5, "r", 2)])
    master.end("a", "b")
    assert master.run_state() is RunState.COMPLETED
    leave(master)
    assert picture(replay(master.events)) == picture(master.state)


def test_a_run_that_comes_back_knows_where_its_jobs_ran_though_that_worker_is_forgotten() -> None:
    """Earlier, the job's affinity was released because the worker was forgotten, and the job's
    story did not record this."""
    master = fragile_run({"a": "", "b": "", "c": "a b"}, {"c": JobTemplate(command="x", affinity=True)})
    master.end("a")
    master.end("b", outcome=Outcome.EXITED)
    chunks = leave(master)
    master.see(inputs.WorkerLeaving(1), at=10.0)
    master.see(register("w2", origin=2), at=11.0)
    gone = master.see(inputs.TimePassed(), at=20.0 + master.state.settings.forget_s)
    assert ev.WorkersForgotten([1], master.now) in gone.events
    master.see(register("w2", origin=3), retry("b", chunks=chunks), at=master.now + 1.0)
    assert (master.job(0).worker, master.job(1).worker) == (1, 2)
    job = master.job(1)
    master.see(results(2, (job.lease, Outcome.SUCCEEDED)), at=master.now + 1.0)
    assert master.states() == [COMPLETED, COMPLETED, DISPATCHED]
    told = "affinity released: worker a forgotten worker, where its parent ran, is gone"
    assert any(told in line for line in story(master.state, FIRST + 2))
    assert picture(replay(master.events)) == picture(master.state)


def test_a_run_of_another_journal_comes_back_and_its_workers_are_unknown() -> None:
    master = fragile_run({"a": "", "b": ""})
    master.end("a", "b", outcome=Outcome.EXITED)
    chunks = leave(master)
    other = Master()
    other.see(booted(other.state))
    other.see(retry("a", chunks=chunks))
    assert (other.job(1).state, other.job(1).worker) == (DEAD, NO_WORKER)


def test_a_purged_job_stays_dead_and_is_no_longer_listed() -> None:
    master = fragile_run({"a": "", "b": ""})
    master.end("a", "b", outcome=Outcome.EXITED)
    assert master.see(purge("a"), at=5.0) == ([ev.DeadPurged([FIRST], 5.0)], [fx.ReplyPurged(CLIENT, 8, 1)])
    assert list(master.state.dead) == [FIRST + 1] and master.states() == [DEAD, DEAD]
    assert master.see(purge("a")) == ([], [fx.ReplyPurged(CLIENT, 8, 0)])
    assert list(replay(master.events).dead) == [FIRST + 1]
    master.see(retry("a"))
    master.end("a", outcome=Outcome.EXITED)
    assert list(master.state.dead) == [FIRST + 1, FIRST]


def test_a_run_that_changed_while_the_history_stored_it_is_not_archived() -> None:
    master = fragile_run({"a": ""})
    master.end("a", outcome=Outcome.EXITED)
    master.see(purge(), inputs.HistoryKept(["r"], [0]))
    assert "r" in master.state.runs
    master.see(retry("a"), inputs.HistoryKept(["r"], [1]))
    master.end("a")
    assert master.see(inputs.HistoryKept(["r"], [1])).events == []
    assert master.see(inputs.HistoryKept(["r"], [2])).events == [ev.RunArchived("r", master.now)]


def test_a_run_of_the_history_is_purged() -> None:
    master = fragile_run({"a": ""})
    master.end("a", outcome=Outcome.EXITED)
    chunks = leave(master)
    master.see(purge(chunks=chunks))
    assert not master.state.dead and master.run_state() is RunState.FAILED
    leave(master)
    assert refusal(master.see(purge("a")))[0] == "not_found"
