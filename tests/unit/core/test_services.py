"""Services in the core: readiness, end, replacement, slots and resources, and the reasons that
`why` gives."""

from __future__ import annotations

import msgspec
import pytest

from support.core import CLIENT, FIRST, Master, cancel, dag, picture, refusal, register, replay, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.services import addresses_of
from titan.core.state import snapshot
from titan.core.state.story import story
from titan.model.dag import DagSpec, JobTemplate, Needs, Service
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome

SERVICE = JobTemplate(command="serve", kind="service", service=Service())
KEPT = JobTemplate(command="serve", kind="service", service=Service(keep=True))
FIXED = JobTemplate(command="serve", kind="service", service=Service(port=8080, keep=True))
GPU = JobTemplate(command="serve", kind="service", service=Service(keep=True), needs=Needs(gpus=1))
HANDLER = JobTemplate(command="alarm", kind="handler")
COMPLETED, CANCELLED, RUNNING, WAITING = JobState.COMPLETED, JobState.CANCELLED, JobState.RUNNING, JobState.WAITING
QUEUED, DISPATCHED = JobState.QUEUED, JobState.DISPATCHED


def says(
    lease: int, *, worker: int = 1, ready: float = 0.0, serial: int = 1, restarts: int = 0, why: str = "", next_start: float = 0.0
) -> inputs.ServicesSeen:
    """Return a worker's report about one service, which has port 80."""
    return inputs.ServicesSeen(worker, [lease], [serial], [1.0], [ready], [80], [restarts], [why], [next_start])


def stop(job: str = "s") -> inputs.ServiceStopRequested:
    return inputs.ServiceStopRequested(CLIENT, 8, "r", job)


def replace(job: str = "s", *, command: str = "") -> inputs.ServiceReplaceRequested:
    return inputs.ServiceReplaceRequested(CLIENT, 8, "r", job, "", "", command, (), None)


def with_child(service: JobTemplate = SERVICE) -> DagSpec:
    return dag({"s": "", "c": "s"}, {"s": service})


def rich(name: str = "w1", *, origin: int = 1, gpus: int = 1) -> inputs.WorkerRegistered:
    return msgspec.structs.replace(register(name, origin=origin, slots=4), facts={"gpus": gpus})


def texts(master: Master, n: int) -> list[str]:
    return [reason.text for reason in master.explained(n).reasons]


# -- READY -----------------------------------------------------------------------------------------
def test_ready_unblocks_children_and_tells_them_where() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()))
    assert master.states() == [DISPATCHED, WAITING]
    master.see(says(master.lease(0)))
    assert master.states() == [RUNNING, WAITING]
    master.see(says(master.lease(0), ready=2.0, serial=2))
    assert master.states() == [RUNNING, DISPATCHED]
    assert addresses_of(master.state, master.job(1)) == (("s", "127.0.0.1:80"),)


def test_a_late_report_changes_nothing() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()))
    lease = master.lease(0)
    master.see(says(lease, ready=2.0, serial=5))
    assert master.see(says(lease, serial=4)).events == []
    assert master.see(says(lease + 100, ready=3.0, serial=9)).events == []
    assert master.job(0).is_done


def test_a_queued_child_waits_again_while_its_service_is_not_ready() -> None:
    master = Master()
    master.see(register(slots=1), submit(with_child()))
    lease = master.lease(0)
    master.see(says(lease, ready=2.0))
    assert master.states() == [RUNNING, QUEUED], "the service has the only slot"
    decided = master.see(says(lease, serial=2, restarts=1, why="exit code 1"), at=3.0)
    assert decided.events[-1] == ev.JobsHeld([FIRST + 1], 3.0)
    assert master.states() == [RUNNING, WAITING]
    master.see(says(lease, ready=4.0, serial=3, restarts=1))
    assert master.states() == [RUNNING, QUEUED]


def test_a_service_moves_with_its_worker_lost_and_its_children_wait() -> None:
    master = Master(Settings(prefetch=0, loss_s=30.0))
    master.see(register(slots=1), submit(with_child()), at=1.0)
    master.see(says(master.lease(0), ready=2.0))
    assert master.states() == [RUNNING, QUEUED]
    master.see(register("w2", origin=2, slots=0 + 1), at=20.0)
    assert master.states() == [RUNNING, DISPATCHED], "a dispatched job is left alone"
    master.see(inputs.TimePassed(), at=32.0)
    assert master.job(0).state is QUEUED and not master.job(0).is_done and master.job(0).losses == 0
    master.see(succeeded(2, master.lease(1)))
    assert master.job(0).state is COMPLETED, "nobody needs it any more"


# -- the end ---------------------------------------------------------------------------------------
def test_a_service_is_stopped_when_all_jobs_that_needed_it_have_ended() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()))
    lease = master.lease(0)
    master.see(says(lease, ready=2.0))
    decided = master.see(succeeded(1, master.lease(1)))
    assert fx.SendStop(1, [lease]) in decided.effects
    assert master.states() == [COMPLETED, COMPLETED] and master.state.runs["r"].open == 0
    worker = master.state.workers[1]
    assert (list(worker.ending), worker.used, worker.serving) == ([lease], 1, 0), (
        "the service keeps its slot until its process has ended"
    )
    master.see(results(1, (lease, Outcome.STOPPED)))
    assert worker.used == 0


@pytest.mark.parametrize("service", [KEPT, SERVICE], ids=["keep", "nothing depends on it"])
def test_a_kept_or_unneeded_service_runs_until_it_is_stopped(service: JobTemplate) -> None:
    master = Master()
    graph = {"s": "", "c": "s"} if service is KEPT else {"s": "", "c": ""}
    master.see(register(slots=2), submit(dag(graph, {"s": service})))
    master.see(says(master.lease(0), ready=2.0))
    master.see(succeeded(1, master.lease(1)))
    assert master.states() == [RUNNING, COMPLETED]
    decided = master.see(stop())
    assert fx.ReplyServicesStopped(CLIENT, 8, 1) in decided.effects
    assert master.states() == [COMPLETED, COMPLETED]
    assert fx.ReplyServicesStopped(CLIENT, 8, 0) in master.see(stop()).effects, "stopping a service that has ended is no error"


def test_stopping_a_service_cancels_its_descendants_that_have_not_started() -> None:
    master = Master()
    master.see(register(slots=1), submit(dag({"s": "", "c": "s", "d": "c"}, {"s": KEPT})))
    master.see(stop())
    assert master.states() == [COMPLETED, CANCELLED, CANCELLED]


def test_only_a_service_is_stopped() -> None:
    master = Master()
    master.see(register(), submit(with_child()))
    for job, code, text in (("c", "caller", "ends by itself"), ("x", "not_found", "has no job")):
        (refusal,) = [e for e in master.see(stop(job)).effects if isinstance(e, fx.Refuse)]
        assert refusal.code == code and text in refusal.message, refusal


def test_a_job_after_the_handler_of_a_service_keeps_the_services_that_it_needs() -> None:
    """`a` runs only if `s` dies. `late` would follow `a` and need `db`, and `web` would serve jobs
    after `a`."""
    master = Master()
    graph = {"s": "", "a": "s", "db": "", "late": "a db", "web": "a", "user": "web", "c": "db"}
    master.see(register(slots=4), submit(dag(graph, {"s": KEPT, "a": HANDLER, "db": SERVICE, "web": SERVICE})))
    s, db = master.lease(0), master.lease(2)
    master.see(says(s, ready=2.0), says(db, ready=2.0))
    master.see(succeeded(1, master.lease(6)))
    assert master.states() == [RUNNING, WAITING, RUNNING, WAITING, WAITING, WAITING, COMPLETED]
    master.see(stop())
    assert master.states() == [COMPLETED, CANCELLED, COMPLETED, CANCELLED, CANCELLED, CANCELLED, COMPLETED]
    assert master.state.runs["r"].open == 0


def test_jobs_that_wait_in_a_circle_for_the_ends_of_services_are_cancelled() -> None:
    """`x` needs `t` and waits for the end of `s`. `y` needs `s` and waits for the end of `t`."""
    master = Master()
    graph = {"s": "", "t": "", "hs": "s", "ht": "t", "x": "hs t", "y": "ht s"}
    master.see(register(slots=4), submit(dag(graph, {"s": SERVICE, "t": SERVICE, "hs": HANDLER, "ht": HANDLER})))
    master.see(says(master.lease(0)))
    assert master.states() == [COMPLETED, COMPLETED, CANCELLED, CANCELLED, CANCELLED, CANCELLED]


def test_a_service_whose_dependents_have_ended_is_stopped_with_the_others() -> None:
    """`x` waits for the end of `s` and for `c`. `c` needed `s` and has ended."""
    master = Master()
    graph = {"s": "", "t": "", "c": "s", "d": "t", "h": "s", "x": "h c"}
    master.see(register(slots=4), submit(dag(graph, {"s": SERVICE, "t": SERVICE, "h": HANDLER})))
    master.see(says(master.lease(0), ready=2.0), says(master.lease(1), ready=2.0))
    master.see(succeeded(1, master.lease(2)), succeeded(1, master.lease(3)))
    assert master.states() == [COMPLETED, COMPLETED, COMPLETED, COMPLETED, CANCELLED, CANCELLED]


def test_a_circle_of_services_is_seen_behind_a_helper_that_is_stopped() -> None:
    master = Master()
    graph = {"s": "", "t": "", "hs": "s", "ht": "t", "x": "hs t", "y": "ht s", "u": "", "d": "u"}
    master.see(register(slots=4), submit(dag(graph, {"s": SERVICE, "t": SERVICE, "u": SERVICE, "hs": HANDLER, "ht": HANDLER})))
    master.see(says(master.lease(6), ready=2.0))
    master.see(succeeded(1, master.lease(7)))
    assert master.states() == [COMPLETED, COMPLETED, CANCELLED, CANCELLED, CANCELLED, CANCELLED, COMPLETED, COMPLETED]
    assert master.state.runs["r"].open == 0


def test_a_service_that_ends_by_itself_unblocks_no_child_twice() -> None:
    once = JobTemplate(command="serve", kind="service", service=Service(restart="never"))
    master = Master()
    master.see(register(slots=2), submit(dag({"s": "", "c": "s x", "x": ""}, {"s": once})))
    master.see(says(master.lease(0), ready=2.0))
    assert master.job(1).missing == 1
    master.see(succeeded(1, master.lease(0)))
    assert (master.job(0).state, master.job(1).missing) == (COMPLETED, 1)


def test_a_service_that_its_worker_cannot_start_moves_and_is_dead_when_no_worker_is_left() -> None:
    master = Master()
    master.see(register(slots=2), register("w2", origin=2, slots=2), submit(with_child(FIXED)))
    assert master.job(0).worker == 1
    master.see(results(1, (master.lease(0), Outcome.REFUSED)), at=5.0)
    master.see(inputs.TimePassed(), at=5.0)
    assert (master.job(0).worker, master.job(0).state) == (2, DISPATCHED)
    master.see(results(2, (master.lease(0), Outcome.REFUSED)), at=6.0)
    assert master.states() == [JobState.DEAD, CANCELLED]


# -- replacement -----------------------------------------------------------------------------------
def test_the_old_service_process_serves_until_its_replacement_is_ready() -> None:
    master = Master()
    master.see(register(slots=3), submit(with_child(KEPT)))
    old = master.lease(0)
    master.see(says(old, ready=2.0))
    decided = master.see(replace(command="serve better"))
    assert fx.ReplyServiceReplaced(CLIENT, 8, True) in decided.effects
    new, worker = master.lease(0), master.state.workers[1]
    assert new != old and worker.retiring == {old: FIRST} and worker.serving == 2
    assert master.job(0).is_done and master.job(0).template.command == "serve better"
    assert "goes on until what replaces it is READY" in texts(master, 0)[0] or master.job(0).state is DISPATCHED
    master.see(says(new, restarts=2, serial=3, why="exit code 1"))
    assert master.job(0).is_done, "the old process serves while the new one fails"
    decided = master.see(says(new, ready=4.0, serial=4, restarts=2))
    assert fx.SendStop(1, [old]) in decided.effects
    assert (worker.retiring, list(worker.ending), worker.serving) == ({}, [old], 1)
    assert picture(replay(master.events)) == picture(master.state)


def test_a_replaced_service_keeps_its_resources_until_the_old_process_has_ended() -> None:
    master = Master()
    master.see(rich(gpus=2), submit(with_child(GPU)))
    old = master.lease(0)
    master.see(says(old, ready=2.0))
    master.see(replace())
    worker = master.state.workers[1]
    assert (worker.taken, len(worker.retiring)) == ((0, 0, 2), 1)
    assert replay(master.events).workers[1].taken == (0, 0, 2)
    master.see(says(master.lease(0), ready=4.0))
    assert worker.taken == (0, 0, 2), "its process is still there"
    master.see(results(1, (old, Outcome.STOPPED)))
    assert worker.taken == (0, 0, 1)


def test_without_room_for_both_the_old_service_process_is_stopped_first() -> None:
    master = Master()
    master.see(rich(gpus=1), submit(with_child(GPU)))
    old = master.lease(0)
    master.see(says(old, ready=2.0))
    decided = master.see(replace())
    assert fx.ReplyServiceReplaced(CLIENT, 8, False) in decided.effects and fx.SendStop(1, [old]) in decided.effects
    assert (master.job(0).state, master.job(0).is_done) == (QUEUED, False)
    assert "resources_busy" in [r.code for w in master.explained(0).workers for r in w.reasons]
    master.see(results(1, (old, Outcome.STOPPED)))
    assert master.job(0).state is DISPATCHED


def test_a_fixed_port_needs_another_worker() -> None:
    master = Master()
    master.see(register(slots=3), submit(with_child(FIXED)))
    master.see(says(master.lease(0), ready=2.0))
    master.see(register("w2", origin=2, slots=1))
    assert fx.ReplyServiceReplaced(CLIENT, 8, True) in master.see(replace()).effects
    assert (master.job(0).worker, list(master.state.workers[1].retiring.values())) == (2, [FIRST])


def test_the_loss_of_the_old_service_process_leaves_the_children_waiting() -> None:
    master = Master()
    master.see(register(slots=1), register("w2", origin=2, slots=1), submit(with_child(FIXED)))
    old = master.lease(0)
    master.see(says(old, ready=2.0))
    assert master.job(1).state is DISPATCHED
    master.see(succeeded(2, master.lease(1)))
    master.see(replace())
    master.see(results(1, (old, Outcome.BROKEN)))
    assert (master.job(0).is_done, master.state.workers[1].used) == (False, 0)


# -- slots -----------------------------------------------------------------------------------------
def test_nothing_is_prefetched_behind_services() -> None:
    master = Master(Settings(prefetch=1))
    master.see(register(slots=1), submit(dag({"s": ""}, {"s": KEPT})))
    master.see(submit(dag({"a": ""}), run="q"))
    assert (master.state.workers[1].serving, master.job(1).state) == (1, QUEUED)
    master.see(register("w2", origin=2))
    assert master.job(1).state is DISPATCHED


def test_a_prefetched_job_is_recalled_when_a_service_takes_its_slot() -> None:
    master = Master(Settings(prefetch=2))
    master.see(register(slots=1), submit(dag({"a": "", "s": "", "b": ""}, {"s": KEPT})))
    a, b = master.lease(0), master.lease(2)
    assert a and b and master.lease(1), "the only worker has all attempts"
    assert list(master.state.workers[1].recalled) == [b], (
        "only the attempt behind the service is recalled, because the one before it will end"
    )
    master.see(results(1, (b, Outcome.RETURNED)))
    assert master.states() == [DISPATCHED, DISPATCHED, QUEUED]
    master.see(succeeded(1, a))
    assert (master.job(2).state, master.state.workers[1].recalled) == (QUEUED, {})


def test_a_service_does_not_wait_behind_another() -> None:
    master = Master(Settings(prefetch=2))
    master.see(register(slots=1), submit(dag({"s": "", "t": ""}, {"s": KEPT, "t": KEPT})))
    assert list(master.state.workers[1].recalled) == [master.lease(1)]
    master.see(results(1, (master.lease(1), Outcome.RETURNED)))
    assert master.states() == [DISPATCHED, QUEUED]


# -- why -------------------------------------------------------------------------------------------
def test_why_tells_of_the_backoff_to_the_service_and_to_its_children() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()), at=10.0)
    assert texts(master, 1)[1] == ("waits for the service s to be READY: sent to w1 as attempt 1: its start has not been reported")
    master.see(says(master.lease(0)))
    assert texts(master, 0) == ["its process on w1 is not READY yet"]
    master.see(says(master.lease(0), serial=2, restarts=23, why="exit code 7", next_start=12.5))
    backs_off = "backs off: its process on w1 restarts in 2.5 s, for the 23rd time: exit code 7"
    (reason,) = master.explained(0).reasons
    assert (reason.code, reason.text, reason.detail["until"]) == ("restarting", backs_off, 12.5)
    parents, service = master.explained(1).reasons
    assert (parents.code, parents.text) == ("parents", "waits for 1 of 1 parents: s (RUNNING)")
    assert (service.code, service.text) == ("service", f"waits for the service s to be READY: {backs_off}")
    master.now = 13.0
    assert texts(master, 0) == ["its process on w1, restarted 23 times, is not READY yet: exit code 7"]
    master.see(says(master.lease(0), ready=14.0, serial=3, restarts=24, why="exit code 7"), at=15.0)
    assert texts(master, 0) == ["it serves: READY at 127.0.0.1:80 on w1, for 1.0 s; restarted 24 times, the last time: exit code 7"]
    assert any("READY at 127.0.0.1:80, 24 restarts, the last one: exit code 7" in line for line in story(master.state, FIRST))


def test_why_tells_where_a_service_was_refused() -> None:
    master = Master()
    master.see(register(), register("w2", origin=2), submit(with_child(FIXED)), submit(dag({"x": ""}), run="q"))
    master.see(results(1, (master.lease(0), Outcome.REFUSED)), at=5.0)
    master.see(inputs.TimePassed(), at=5.0)
    assert master.job(0).state is QUEUED
    assert texts(master, 0)[0] == "goes to w2, where 1 attempt is in 1 slot: other workers could not start it"
    of = {w.worker: [r.code for r in w.reasons] for w in master.explained(0).workers}
    assert of == {"w1": ["elsewhere", "refused"], "w2": ["slots"]}


# -- durability ------------------------------------------------------------------------------------
def test_a_snapshot_and_the_log_give_the_same_state() -> None:
    master = Master()
    gate = msgspec.structs.replace(JobTemplate(command="true"), on_failure="continue")
    master.see(register(slots=2), submit(dag({"s": "", "c": "s", "d": ""}, {"s": KEPT, "d": gate})))
    master.see(says(master.lease(0), ready=2.0, restarts=3, why="exit code 1"))
    assert picture(replay(master.events)) == picture(master.state)
    assert master.state.jobs[FIRST].service == replay(master.events).jobs[FIRST].service


def test_later_columns_stand_behind_what_older_snapshots_have() -> None:
    """A chunk is read by position, so new columns are only added at the end."""
    assert snapshot.JobChunk.__struct_fields__[-5:] == ("extras", "services", "causes", "queued", "sent")


def test_a_cancelled_run_ends_its_services_and_what_they_replace() -> None:
    master = Master()
    master.see(register(slots=3), submit(with_child(KEPT)))
    old = master.lease(0)
    master.see(says(old, ready=2.0))
    master.see(replace())
    new = master.lease(0)
    decided = master.see(cancel("r"))
    assert [sorted(e.leases) for e in decided.effects if isinstance(e, fx.SendStop) and old in e.leases], decided.effects
    worker = master.state.workers[1]
    assert sorted(worker.ending)[:2] == sorted((old, new)) or {old, new} <= set(worker.ending)
    assert worker.serving == 0 and not worker.retiring


# -- refusals --------------------------------------------------------------------------------------
def test_stopping_an_unknown_job_or_a_job_that_is_no_service_is_refused() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()))
    for job, code, text in (
        ("nope", "not_found", "run r has no job 'nope'"),
        ("c", "caller", "r/c is not a service"),
    ):
        found = refusal(master.see(stop(job)))
        assert found[0] == code and found[1].startswith(text), found
    gone = inputs.ServiceStopRequested(CLIENT, 8, "none", "s")
    assert refusal(master.see(gone)) == ("not_found", "there is no run 'none': `titan runs` lists them")


def test_a_finished_service_or_an_invalid_replacement_is_refused() -> None:
    master = Master()
    master.see(register(slots=2), submit(with_child()))
    code, text = refusal(master.see(inputs.ServiceReplaceRequested(CLIENT, 8, "r", "s", "", "", "x" * 2_000_000, (), None)))
    assert code == "invalid_graph" and "characters" in text
    master.see(cancel("r"), at=1.0)
    master.see(results(1, (master.lease(0), Outcome.STOPPED)), at=2.0)
    assert refusal(master.see(replace(command="new"))) == ("conflict", "r/s is CANCELLED: submit it again")
    assert refusal(master.see(replace("c", command="new"))) == ("caller", "r/c is not a service: `titan services` lists them")
