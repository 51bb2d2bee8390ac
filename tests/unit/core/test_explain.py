"""Typed reasons why a job does not run."""

from __future__ import annotations

import msgspec

from support.core import CLIENT, FIRST, PATIENT, Master, alike, cancel, dag, register, results, started, submit, succeeded
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.core.why import Explanation, explain
from titan.model.dag import Gate, JobTemplate, Needs
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome

PLAIN = JobTemplate(command="true")
GPU = JobTemplate(command="true", requirement="GPU", priority=9)
BIG = JobTemplate(command="true", needs=Needs(cpus=3, memory=4 << 30))


def rich(name: str, *, origin: int, cpus: float = 4, memory: int = 8 << 30, slots: int = 4) -> inputs.WorkerRegistered:
    return msgspec.structs.replace(register(name, origin=origin, slots=slots), facts={"cpus": cpus, "memory_bytes": memory})


def texts(told: Explanation) -> list[str]:
    return [reason.text for reason in told.reasons]


def of_workers(told: Explanation) -> dict[str, list[str]]:
    return {w.worker: [r.text for r in w.reasons] for w in told.workers}


def test_a_waiting_job_names_its_open_parents() -> None:
    master = Master()
    names = {f"p{i}": "" for i in range(10)}
    master.see(register(slots=2), submit(dag({**names, "c": " ".join(names)})))
    master.see(succeeded(1, master.lease(0)))
    told = master.explained(10)
    (reason,) = told.reasons
    assert (told.state, reason.code, reason.detail["open"], reason.detail["parents"]) == (JobState.WAITING, "parents", 9, 10)
    assert reason.text == (
        "waits for 9 of 10 parents: p1 (DISPATCHED), p2 (DISPATCHED), p3 (QUEUED), p4 (QUEUED), p5 (QUEUED), p6 (QUEUED), "
        "p7 (QUEUED), p8 (QUEUED) and 1 more"
    )


def test_a_delayed_job_says_until_when() -> None:
    master = Master()
    master.see(submit(alike("a", JobTemplate(command="true", delay_s=60.0))), at=100.0)
    master.now = 110.0
    (reason,) = master.explained().reasons
    assert (reason.code, reason.text, reason.detail) == ("delayed", "delayed for another 50.0 s", {"until": 160.0})


def test_a_job_that_failed_says_when_it_is_tried_again() -> None:
    master = Master()
    master.see(register(), submit(alike("a", PLAIN)))
    master.see(results(1, (master.lease(), Outcome.EXITED)), at=10.0)
    (reason,) = master.explained().reasons
    assert (reason.code, reason.detail["failures"], reason.detail["retries"]) == ("backoff", 1, 3)
    assert reason.text.startswith("attempt 1 failed (why); the next one is due in 0.")


def test_a_job_says_whether_it_was_sent_runs_or_has_ended() -> None:
    master = Master()
    master.see(register(), submit(alike("a", PLAIN)))
    assert texts(master.explained()) == ["sent to w1 as attempt 1: its start has not been reported"]
    master.see(started(1, {master.lease(): 2.0}), at=2.0)
    master.now = 5.0
    assert texts(master.explained()) == ["it runs: attempt 1 on w1, for 3.0 s"]
    master.see(succeeded(1, master.lease()), at=6.0)
    assert (master.explained().reasons[0].code, texts(master.explained())) == ("over", ["it is over: COMPLETED"])
    master.see(submit(alike("b", PLAIN), run="s"), cancel("s", "b"))
    assert texts(master.explained(1)) == ["it is over: CANCELLED: cancelled by a user"]


def test_a_prefetched_job_waits_on_a_busy_worker_for_a_slot() -> None:
    master = Master(Settings(prefetch=1))
    master.see(register(), submit(alike("a b", PLAIN)))
    assert texts(master.explained(1)) == ["sent to w1 as attempt 1: it waits there for a slot"]


def test_no_worker_has_the_capability() -> None:
    master = Master()
    master.see(register(), submit(alike("a", GPU)))
    told = master.explained()
    assert told.reasons[0].code == "no_worker"
    assert texts(told) == ["no worker offers GPU: start one: titan worker --master HOST:PORT --capability GPU"]
    assert of_workers(told) == {"w1": ["does not offer GPU"]}


def test_no_worker_at_all() -> None:
    master = Master()
    master.see(submit(alike("a", PLAIN)))
    assert texts(master.explained()) == ["no worker offers GENERAL: start one: titan worker --master HOST:PORT"]


def test_several_capabilities_that_no_worker_has_together() -> None:
    master = Master()
    both = msgspec.structs.replace(GPU, needs=Needs(capabilities=("HIGH_MEM",)))
    master.see(register(capabilities=("GPU",)), register("w2", origin=2, capabilities=("HIGH_MEM",)), submit(alike("a", both)))
    told = master.explained()
    assert texts(told)[0].startswith("no worker offers GPU and HIGH_MEM: start one: titan worker")
    assert of_workers(told) == {"w1": ["does not offer HIGH_MEM"], "w2": ["does not offer GPU"]}


def test_no_worker_has_enough_in_all() -> None:
    master = Master()
    master.see(rich("w1", origin=1, cpus=2), rich("w2", origin=2, memory=2 << 30), submit(alike("a", BIG)))
    told = master.explained()
    assert texts(told) == [
        "no worker with GENERAL has enough: it asks for cpus 3 (the most is 4), memory 4 GiB (the most is 8 GiB): start one: "
        f"titan worker --master HOST:PORT --cpus 3 --memory {4 << 30}"
    ]
    assert of_workers(told) == {
        "w1": ["not enough cpus: asks for 3, has 2 in all"],
        "w2": ["not enough memory: asks for 4 GiB, has 2 GiB in all"],
    }


def test_a_job_names_the_resources_that_are_in_use() -> None:
    master = Master()
    master.see(rich("w1", origin=1), submit(alike("a b", BIG)))
    told = master.explained(1)
    assert texts(told) == ["it is next: it goes to the first worker that has room for it"]
    assert of_workers(told) == {"w1": ["not enough cpus: asks for 3, 1 of 4 free"]}
    assert told.workers[0].reasons[0].detail == {"resource": "cpus", "asked": 3000, "free": 1000, "total": 4000}


def test_room_is_held_for_another() -> None:
    master = Master(Settings(prefetch=0, hold_s=1.0))
    one = msgspec.structs.replace(BIG, needs=Needs(cpus=1))
    master.see(rich("w1", origin=1, cpus=4), submit(alike("a b", BIG)), submit(alike("c", one), run="s"))
    assert master.job(2).state is JobState.DISPATCHED, "it may be passed for a while"
    master.see(succeeded(1, master.lease(2)), submit(alike("d", one), run="t"), at=2.0)
    told = master.explained(3)
    assert texts(told) == ["behind 1 job of higher priority or greater age"]
    assert of_workers(told) == {"w1": ["its room is reserved for a job that comes first"]}


def test_each_worker_is_listed_with_the_reason_why_it_does_not_take_the_job() -> None:
    master = Master()
    master.see(*(register(f"w{i}", origin=i) for i in range(1, 6)), submit(alike("a b c d e f g", PLAIN)))
    master.see(inputs.WorkerDisconnected(2, 2), inputs.WorkerDraining(3), inputs.WorkerLeaving(4), at=1.0)
    told = master.explained(6)
    assert told.state is JobState.QUEUED
    assert texts(told) == ["behind 2 jobs of higher priority or greater age"]
    busy = "no free slot: 1 attempt is in 1 slot"
    assert of_workers(told) == {
        "w1": [busy],
        "w5": [busy],
        "w2": ["its connection broke: it may come back", busy],
        "w3": ["is draining: it takes no new jobs", busy],
        "w4": ["is LEFT"],
    }
    assert [w.worker for w in told.workers] == ["w1", "w5", "w2", "w3", "w4"], "those that could take it soonest first"


def test_a_pinned_job_names_its_node() -> None:
    master = Master()
    near = JobTemplate(command="true", affinity=True)
    fill = JobTemplate(command="true", priority=5)
    master.see(register(), submit(dag({"a": "", "b": "a", "x": "a"}, {"b": near, "x": fill})))
    master.see(succeeded(1, master.lease()))
    master.see(register("w2", origin=2), at=1.0)
    told = master.explained(1)
    assert texts(told)[0] == "bound by affinity to w1, where 1 attempt is in 1 slot"
    assert told.reasons[0].detail == {"worker": "w1", "state": "ALIVE", "held": 1}
    assert of_workers(told)["w2"] == ["affinity binds the job to w1"]
    master.see(inputs.WorkerDisconnected(1, 1), at=2.0)
    assert texts(master.explained(1))[0] == "bound by affinity to w1, whose connection broke"


def test_a_job_says_that_its_affinity_was_released() -> None:
    master = Master()
    near = JobTemplate(command="true", affinity=True)
    master.see(register(), submit(dag({"a": "", "b": "a"}, {"b": near})))
    master.see(inputs.WorkerDraining(1))
    master.see(succeeded(1, FIRST), at=3.0)
    told = master.explained(1)
    assert told.reasons[0].code == "no_worker"
    assert texts(told)[-1] == "affinity released: worker w1, where its parent ran, is draining"


def test_only_jobs_that_want_the_same_workers_come_before() -> None:
    master = Master()
    master.see(register(), submit(alike("a b", PLAIN)), submit(alike("g h i", GPU), run="s"))
    assert master.explained(1).reasons[0].code == "placeable"
    assert [r.code for r in master.explained(3).reasons] == ["no_worker"]


def test_a_run_of_the_history_stands_alone() -> None:
    """The history's state of a run contains only the run and the names of its workers."""
    master = Master()
    master.see(register(), submit(alike("a", PLAIN)))
    master.see(succeeded(1, master.lease()), at=2.0)
    alone = State()
    alone.jobs, alone.runs, alone.workers = master.state.jobs, master.state.runs, master.state.workers
    assert [r.text for r in explain(alone, FIRST, 9.0).reasons] == ["it is over: COMPLETED"]


def test_a_run_that_is_still_coming_in() -> None:
    master = Master()
    master.see(inputs.RunBegun(CLIENT, 1, "r", "k", "d", "1", [PLAIN], 2))
    master.see(inputs.JobsArrived(CLIENT, 1, "r", 0, ["a"], [0], [()], [()]))
    assert [r.code for r in master.explained().reasons] == ["releasing"]


def test_a_gate_that_is_open_waits_for_a_decision() -> None:
    master = Master()
    gate = JobTemplate(kind="gate", gate=Gate("Ship it?"), retries=0)
    master.see(submit(dag({"g": ""}, {"g": gate})), at=7.0)
    (reason,) = master.explained().reasons
    assert (reason.code, reason.text, reason.detail) == ("paused", "paused: it waits for a decision", {"since": 7.0})


def test_a_worker_that_drains_is_away_or_set_aside_says_so() -> None:
    master = Master(PATIENT)
    master.see(
        register("drains", origin=1), register("away", origin=2), register("aside", origin=3), register("well", origin=4, slots=1)
    )
    numbers = {worker.name: number for number, worker in master.state.workers.items()}
    master.see(inputs.WorkerDraining(numbers["drains"]), inputs.WorkerDisconnected(numbers["away"], 2))
    aside = master.state.workers[numbers["aside"]]
    apply(master.state, ev.WorkerSetAside(aside.number, "its disk is full", 60.0, 5.0))
    master.see(submit(alike("busy waits", PLAIN)), at=10.0)
    reasons = {w.worker: [(r.code, r.text) for r in w.reasons] for w in master.explained(1).workers}
    assert reasons["drains"] == [("draining", "is draining: it takes no new jobs")]
    assert ("suspect", "its connection broke: it may come back") in reasons["away"]
    assert reasons["aside"][0] == ("aside", "is set aside, until 1970-01-01T00:01:00Z: its disk is full")
    assert [code for code, _ in reasons["well"]] == ["slots"]


def test_a_job_bound_to_a_worker_by_affinity_says_which() -> None:
    near, urgent = JobTemplate(command="true", affinity=True), JobTemplate(command="true", priority=9)
    master = Master()
    master.see(register("w1", slots=1), submit(dag({"a": "", "next": "a"}, {"next": near})))
    master.see(submit(alike("blocker", urgent), run="b"))
    master.see(succeeded(1, master.lease(0)), at=1.0)
    master.see(register("w2", origin=2))
    told = master.explained(1)
    assert told.state is JobState.QUEUED
    assert of_workers(told)["w2"] == ["affinity binds the job to w1"]
    assert [reason.code for worker in told.workers for reason in worker.reasons if worker.worker == "w1"] == ["slots"]
