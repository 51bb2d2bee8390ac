"""The judge of the chaos test finds the violations in false histories. It excuses no job that died
by itself."""

from __future__ import annotations

import pytest

from chaos.judge import Stories, Strike
from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.worker.drivers.function import DIED

STRUCK = [Strike("ada", 9.0, 10.0), Strike("bob", 29.0, 30.0)]
JOB = 1


def submitted(*, function: str = "", retries: int = 3) -> ev.Event:
    template = JobTemplate(function=function, command="" if function else "true", retries=retries)
    return ev.RunSubmitted("r", "k", "n", "1", [template], ["a"], [0], [()], [()], JOB, 1.0)


def joined(worker: int, name: str, incarnation: str, at: float = 1.0) -> ev.Event:
    return ev.WorkerJoined(worker, name, incarnation, ("GENERAL",), 1, {}, at)


def ran(worker: int, at: float) -> list[ev.Event]:
    return [ev.JobsDispatched(worker, [JOB], 1, at), ev.JobsStarted(worker, [JOB], [at], at)]


def completed(at: float) -> ev.Event:
    return ev.JobsCompleted(1, [JOB], [at], [at], [0.0], [0], at)


def failed(at: float, reason: str, *, worker: int = 1, retry_at: float = 0.0) -> ev.Event:
    return ev.JobsFailed(worker, [JOB], [int(Outcome.BROKEN)], [1], [reason], [at], [at], [0.0], [0], [retry_at], at)


def died(at: float, reason: str = "") -> ev.Event:
    return ev.JobsDied([JOB], reason, at)


def lost(worker: int, at: float, *, ran: bool = True) -> ev.Event:
    return ev.JobsLost(worker, [JOB], [JOB] if ran else [], f"worker {worker} was started anew", at, [], [] if ran else [JOB])


START = [submitted(), joined(1, "ada", "ada:h:1"), joined(2, "bob", "bob:h:1")]


def verdicts(*events: ev.Event) -> dict[str, list[str]]:
    return {what: found for what, found in Stories(STRUCK).read(events).verdicts().items() if found}


def test_a_job_that_completed_once_is_no_finding() -> None:
    assert verdicts(*START, *ran(1, 2.0), completed(3.0)) == {}


def test_poison_by_the_rule_after_two_faults_is_no_finding() -> None:
    assert verdicts(*START, *ran(1, 8.0), lost(1, 11.0), *ran(2, 12.0), died(31.0, "poison: 2 workers were lost")) == {}


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([], "stuck"),
        (ran(1, 2.0), "stuck"),
        ([*ran(1, 2.0), failed(3.0, "exit code 1", retry_at=4.0)], "stuck"),
        ([*ran(1, 2.0), completed(3.0), completed(4.0)], "doubled"),
        ([ev.JobsCancelled([JOB], "its ancestor x is DEAD", 3.0)], "dead"),
        ([*ran(2, 29.0), died(31.0, "poison: 2 workers were lost while they ran it")], "dead"),
        ([*ran(1, 8.0), lost(1, 11.0, ran=False), *ran(2, 12.0), died(31.0, "poison: 1 worker was lost")], "dead"),
        ([*ran(1, 8.0), lost(1, 8.5), *ran(2, 12.0), died(90.0, "poison: 2 workers were lost")], "dead"),
        ([*ran(1, 8.0), lost(1, 11.0), joined(1, "ada", "ada:h:1"), *ran(2, 12.0), died(31.0, "poison: 2 workers")], "dead"),
        ([*ran(1, 8.0), lost(1, 11.0), *ran(2, 12.0), died(31.0, "out of retries")], "dead"),
        ([*ran(1, 8.0), failed(9.5, "exit code 1"), died(9.5)], "dead"),
    ],
)
def test_each_of_these_is_a_finding(events: list[ev.Event], what: str) -> None:
    assert list(verdicts(*START, *events)) == [what]


def test_a_call_that_died_is_excused_by_a_fault_of_its_worker_alone() -> None:
    start = [submitted(function="f" * 64, retries=0), *START[1:]]
    assert verdicts(*start, *ran(1, 8.0), failed(10.0, DIED), died(10.0)) == {}
    assert list(verdicts(*start, *ran(1, 40.0), failed(41.0, DIED), died(41.0))) == ["dead"]
    assert list(verdicts(*start, *ran(1, 8.0), failed(10.0, "ValueError: 1"), died(10.0))) == ["dead"]
