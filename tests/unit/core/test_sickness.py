"""Workers that break attempts. A broken attempt costs its job no retry, and such a worker is set
aside."""

from __future__ import annotations

from support.core import NO_PREFETCH, Master, alike, dag, register, results, submit, succeeded
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.sick_workers import ASIDE_MIN_S, BREAKS_LIMIT, SICK_AFTER
from titan.master import views
from titan.model.dag import JobTemplate, Service
from titan.model.states import JobState, Outcome
from titan.protocol import messages as msg

ONCE = JobTemplate(command="x")


def break_it(master: Master, n: int = 0) -> None:
    job = master.job(n)
    master.see(results(job.worker, (job.lease, Outcome.BROKEN)), at=master.now + 0.01)


def wait_for(master: Master, n: int = 0) -> None:
    """Let the time pass until the next attempt of the job is due."""
    master.see(inputs.TimePassed(), at=max(master.now, master.job(n).due))


def test_a_broken_attempt_costs_no_retry_and_the_next_attempt_runs_elsewhere() -> None:
    master = Master(NO_PREFETCH)
    master.see(register("sick"), submit(alike("a", ONCE)))
    master.see(register("well", origin=2), register("other", origin=3))
    break_it(master)
    assert (master.job().state, master.job().failures) == (JobState.FAILED, 0)
    wait_for(master)
    assert master.job().state is JobState.DISPATCHED and master.job().worker != 1
    master.see(succeeded(master.job().worker, master.lease()))
    assert master.job().state is JobState.COMPLETED


def test_a_job_with_broken_attempts_on_the_only_worker_is_retried_there_and_dead_in_the_end() -> None:
    master = Master(NO_PREFETCH)
    master.see(register(), submit(alike("a", ONCE)))
    for _ in range(200):
        if master.job().state is JobState.DISPATCHED:
            break_it(master)
        elif master.state.timers:
            master.see(inputs.TimePassed(), register(held={}), at=max(master.now, master.state.timers[0][0]))
        if master.job().state is JobState.DEAD:
            break
    assert master.job().state is JobState.DEAD
    assert master.job().attempt == BREAKS_LIMIT and f"workers broke {BREAKS_LIMIT} attempts" in master.job().reason


def test_a_runner_that_never_started_costs_its_call_no_retry_and_a_killed_runner_does() -> None:
    master = Master(NO_PREFETCH)
    master.see(register("sick"), submit(alike("a b", JobTemplate(function="f" * 64, retries=0))))
    master.see(register("well", origin=2))
    assert {master.job(n).worker for n in (0, 1)} == {1, 2}
    sick, other = sorted((0, 1), key=lambda n: master.job(n).worker)
    break_it(master, sick)
    assert (master.job(sick).state, master.job(sick).failures) == (JobState.FAILED, 0)
    master.see(results(2, (master.lease(other), Outcome.SIGNALED)), at=master.now + 0.01)
    assert master.job(other).state is JobState.DEAD
    wait_for(master, sick)
    assert (master.job(sick).state, master.job(sick).worker) == (JobState.DISPATCHED, 2)


def make_sick(master: Master) -> None:
    for n in range(SICK_AFTER):
        assert master.job(n).worker == 1
        break_it(master, n)


def sick_cluster() -> Master:
    master = Master(NO_PREFETCH)
    master.see(register("sick", slots=SICK_AFTER), submit(alike("a b c", ONCE)))
    make_sick(master)
    return master


def test_a_worker_that_breaks_several_attempts_in_a_row_is_set_aside_and_shown() -> None:
    master = sick_cluster()
    worker = master.state.workers[1]
    assert worker.aside_until == master.now + ASIDE_MIN_S and not worker.takes_work
    shown = views.workers(master.state, msg.ListWorkers(1))
    assert shown.workers[0].state == "ASIDE" and "set aside" in shown.notices[-1][1]
    master.see(inputs.TimePassed(), at=master.now + 1.0)
    assert [master.job(n).state for n in range(3)] == [JobState.QUEUED] * 3


def test_a_worker_set_aside_gets_one_trial_job_and_returns_when_the_job_succeeds() -> None:
    master = sick_cluster()
    master.see(inputs.WorkerBeat(1, [], []), inputs.TimePassed(), at=master.now + ASIDE_MIN_S)
    on_trial = [n for n in range(3) if master.job(n).state is JobState.DISPATCHED]
    assert len(on_trial) == 1
    events = master.see(succeeded(1, master.lease(on_trial[0]))).events
    assert any(isinstance(e, ev.WorkerTakenBack) for e in events)
    assert sum(master.job(n).state is JobState.DISPATCHED for n in range(3)) == 2


def test_a_broken_trial_job_sets_its_worker_aside_for_longer() -> None:
    master = sick_cluster()
    master.see(inputs.WorkerBeat(1, [], []), inputs.TimePassed(), at=master.now + ASIDE_MIN_S)
    (n,) = [n for n in range(3) if master.job(n).state is JobState.DISPATCHED]
    break_it(master, n)
    assert master.state.workers[1].aside_until == master.now + 2 * ASIDE_MIN_S
    assert not master.state.workers[1].probing


def test_jobs_that_end_in_between_keep_a_worker_in_use() -> None:
    master = Master(NO_PREFETCH)
    master.see(register("w", slots=1), submit(alike("a b c d e f", ONCE)))
    for n in range(6):
        if n % 2:
            master.see(succeeded(1, master.lease(n)), at=master.now + 0.01)
        else:
            break_it(master, n)
    assert not master.state.workers[1].aside_until


def test_a_new_process_of_the_worker_begins_anew() -> None:
    master = sick_cluster()
    master.see(inputs.WorkerDisconnected(1, 1))
    master.see(register("sick", incarnation="2", slots=3, origin=5))
    assert master.state.workers[1].takes_work


def test_a_job_that_ran_before_the_trial_does_not_use_up_the_trial() -> None:
    master = Master(NO_PREFETCH)
    master.see(register("sick", slots=SICK_AFTER + 1), submit(alike("a b c d", ONCE)))
    make_sick(master)
    assert master.job(SICK_AFTER).state is JobState.DISPATCHED, "it goes on while its worker is set aside"
    master.see(inputs.WorkerBeat(1, [], []), inputs.TimePassed(), at=master.now + ASIDE_MIN_S)
    assert sum(master.job(n).state is JobState.DISPATCHED for n in range(SICK_AFTER)) == 1


def test_a_service_that_is_ready_on_trial_takes_its_worker_back() -> None:
    master = Master(NO_PREFETCH)
    service = JobTemplate(command="serve", kind="service", service=Service(keep=True), priority=9)
    master.see(register("sick", slots=SICK_AFTER), submit(alike("a b c", ONCE)))
    make_sick(master)
    master.see(submit(dag({"s": ""}, {"s": service}, name="served"), run="r2"))
    master.see(inputs.WorkerBeat(1, [], []), inputs.TimePassed(), at=master.now + ASIDE_MIN_S)
    lease = master.lease(SICK_AFTER)
    assert master.job(SICK_AFTER).state is JobState.DISPATCHED
    report = inputs.ServicesSeen(1, [lease], [1], [master.now], [0.0], [80], [0], [""], [0.0])
    assert not any(isinstance(e, ev.WorkerTakenBack) for e in master.see(report).events)
    report = inputs.ServicesSeen(1, [lease], [2], [master.now], [master.now], [80], [0], [""], [0.0])
    assert any(isinstance(e, ev.WorkerTakenBack) for e in master.see(report).events)
    assert all(master.job(n).state is JobState.DISPATCHED for n in range(SICK_AFTER - 1))
