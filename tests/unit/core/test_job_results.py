"""Results of parents in the texts of jobs: what a worker gets, and which jobs die instead."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FRAGILE, Master, dag, fragile_run, picture, register, replay, results, submit
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.step import Decision
from titan.gateway.outbound import dispatches
from titan.model.dag import Cache, DagSpec, JobTemplate
from titan.model.states import JobState, Outcome

COMPLETED, DEAD, DISPATCHED, WAITING = JobState.COMPLETED, JobState.DEAD, JobState.DISPATCHED, JobState.WAITING


def taking(**more: object) -> JobTemplate:
    template = JobTemplate(command="show", retries=0, env=(("V", "${a.result.x}"),), fills_results=True)
    return msgspec.structs.replace(template, **more)


def end_with(master: Master, name: str, value: bytes) -> Decision:
    job = next(job for job in master.state.jobs.values() if job.name == name)
    report = msgspec.structs.replace(results(1, (job.lease, Outcome.SUCCEEDED)), values=[value])
    return master.see(report, at=master.now + 1.0)


def sent(master: Master, decision: Decision) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the results that the workers get with each dispatched job."""
    messages = [b.message for e in decision.effects if isinstance(e, fx.SendDispatch) for b in dispatches(master.state, e)]
    return {name: row for m in messages for name, row in zip(m.jobs, m.results or [()] * len(m.jobs), strict=True)}


def test_a_job_gets_the_results_that_its_texts_name_and_others_get_none() -> None:
    master = fragile_run({"a": "", "b": "a", "c": "a"}, {"b": taking()})
    decision = end_with(master, "a", b'j{"x": [1, "y"]}')
    assert sent(master, decision) == {"b": (("a.result.x", '[1,"y"]'),), "c": ()}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "${a.result.x} cannot be put in: a set no result: call context.result in it, or `titan context result`"),
        (b"j7", "${a.result.x} cannot be put in: a.result has no 'x': it is 7"),
        (b"k" + bytes(40), "${a.result.x} cannot be put in: the result of a is larger than 64 KiB: set a smaller one"),
    ],
)
def test_a_job_whose_texts_cannot_be_filled_is_dead_without_an_attempt(value: bytes, reason: str) -> None:
    master = fragile_run({"a": "", "b": "a", "c": "b"}, {"b": taking()})
    decision = end_with(master, "a", value)
    assert master.states() == [COMPLETED, DEAD, JobState.CANCELLED] and sent(master, decision) == {}
    assert master.job(1).reason == reason and master.job(1).attempt == 0
    retry = master.explained(1).reasons[0].text
    assert reason in retry


def test_texts_that_become_too_long_are_a_reason_too() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"b": taking(env=(("V", "${a.result}" * 3),))})
    end_with(master, "a", b'j"' + b"x" * 60_000 + b'"')
    assert master.job(1).state is DEAD and "a variable of env takes 180,003 bytes; the limit is 131,072" in master.job(1).reason


def test_a_job_that_is_bound_to_a_worker_dies_like_others() -> None:
    master = fragile_run({"a": "", "b": "a"}, {"b": taking(affinity=True)})
    end_with(master, "a", b"")
    assert master.job(1).state is DEAD and picture(replay(master.events)) == picture(master.state)


@pytest.mark.parametrize("job", [{"when": "always"}, {}])
def test_a_job_that_runs_after_a_failure_gets_an_empty_text(job: dict[str, object]) -> None:
    parent = FRAGILE if job else msgspec.structs.replace(FRAGILE, on_failure="continue")
    master = fragile_run({"a": "", "b": "a"}, {"a": parent, "b": taking(**job)})
    decision = master.see(results(1, (master.lease(0), Outcome.EXITED)), at=master.now + 1.0)
    assert master.job(1).state is DISPATCHED and sent(master, decision) == {"b": (("a.result.x", ""),)}


def test_a_retry_and_a_master_that_replays_the_journal_send_the_same_text() -> None:
    master = Master()
    master.see(register(slots=2), submit(dag({"a": "", "b": "a"}, {"b": taking(retries=1)})))
    first = end_with(master, "a", b'j{"x": 0.1}')
    master.see(results(1, (master.lease(1), Outcome.EXITED)), at=master.now + 1.0)
    again = master.see(inputs.TimePassed(), at=master.job(1).due)
    assert sent(master, first) == sent(master, again) == {"b": (("a.result.x", "0.1"),)}
    replayed = replay(master.events)
    assert picture(replayed) == picture(master.state)
    effect = next(e for e in again.effects if isinstance(e, fx.SendDispatch))
    assert dispatches(replayed, effect)[0].message == dispatches(master.state, effect)[0].message


def test_other_results_are_another_work_for_the_cache() -> None:
    spec = dag({"a": "", "b": "a"}, {"b": taking(cache=Cache())})
    master = Master()
    master.see(register(slots=2))
    reused = [
        _reuses(master, spec, run, value) for run, value in (("r1", b'j{"x": 1}'), ("r2", b'j{"x": 2}'), ("r3", b'j{"x": 1}'))
    ]
    assert reused == [False, False, True]


def _reuses(master: Master, spec: DagSpec, run: str, value: bytes) -> bool:
    master.see(submit(spec, run=run, key=run), at=master.now + 1.0)
    a, b = [job for job in master.state.jobs.values() if job.run.id == run]
    report = msgspec.structs.replace(results(1, (a.lease, Outcome.SUCCEEDED)), values=[value])
    decision = master.see(report, at=master.now + 1.0)
    if not any(isinstance(event, ev.JobsReused) for event in decision.events):
        master.see(results(1, (b.lease, Outcome.SUCCEEDED)), at=master.now + 1.0)
        return False
    return b.state is COMPLETED
