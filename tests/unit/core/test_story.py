"""The story of a job, which `titan status RUN/JOB` prints and every Bug contains."""

from __future__ import annotations

import msgspec

from support.core import (
    CLIENT,
    FIRST,
    PATIENT,
    Master,
    alike,
    beat,
    cancel,
    dag,
    register,
    results,
    started,
    submit,
    succeeded,
)
from titan.core import inputs
from titan.core.state.story import about, story
from titan.model.dag import Gate, JobTemplate
from titan.model.states import Outcome
from titan.model.timing import Timing

TRUE = JobTemplate(command="true")


def told(master: Master, n: int = 0) -> list[str]:
    return story(master.state, FIRST + n)


def test_a_story_is_in_the_order_of_time() -> None:
    master = Master()
    master.see(register(), submit(alike("a", JobTemplate(command="true", retries=1))), at=1.0)
    master.see(started(1, {master.lease(): 1.5}), at=2.0)
    master.see(results(1, (master.lease(), Outcome.EXITED)), at=3.0)
    assert told(master) == [
        "1.000  submitted in run r (d) as a",
        "2.000  attempt 1 on w1: EXITED with code 1: why",
        f"3.000  FAILED attempt 1: why; next one at {master.job().due:.3f}",
    ]
    master.see(inputs.TimePassed(), at=master.job().due)
    master.see(started(1, {master.lease(): master.now}), at=master.now)
    assert told(master)[-1].endswith(f"RUNNING as attempt 2 on w1 (lease {master.lease()})")
    master.see(succeeded(1, master.lease()), at=master.now + 9.0)
    assert [line.partition("  ")[2] for line in told(master)][2:] == ["attempt 2 started on w1", "COMPLETED"]


def test_a_story_says_in_each_state_what_the_job_waits_for() -> None:
    templates = {
        "gate": JobTemplate(kind="gate", gate=Gate("Ship it?\nReally?", 60.0), retries=0),
        "late": JobTemplate(command="true", delay_s=5.0),
        "gpu": JobTemplate(command="true", requirement="GPU"),
    }
    master = Master()
    master.see(submit(dag({"gate": "", "late": "", "gpu": "", "c": "gate gpu"}, templates)), at=1.0)
    last = [told(master, n)[-1].partition("  ")[2] for n in range(4)]
    assert last == [
        "PAUSED until 61.000: Ship it? Really?",
        "DELAYED until 6.000",
        "QUEUED for a worker with GPU",
        "WAITING for 2 of 2 parents",
    ]
    assert "1.000  depends on gate, gpu" in told(master, 3)
    master.see(cancel("r"), at=2.0)
    assert told(master, 3)[-1] == "2.000  CANCELLED: cancelled by a user"


def test_a_job_of_many_parents_names_the_first_eight() -> None:
    names = [f"p{i}" for i in range(9)]
    master = Master()
    master.see(submit(dag({**dict.fromkeys(names, ""), "c": " ".join(names)})), at=1.0)
    assert "1.000  depends on p0, p1, p2, p3, p4, p5, p6, p7, ..." in told(master, 9)


def test_a_story_names_the_schedule_and_the_deadline_of_the_run() -> None:
    master = Master(PATIENT)
    spec = msgspec.structs.replace(alike("a", TRUE), deadline_s=90.0)
    timing = Timing(every_s=60.0, start=60.0)
    master.see(inputs.ScheduleRequested(CLIENT, 3, "", "nights", spec, timing, "skip", "last", False, False), at=0.0)
    master.see(inputs.TimePassed(), at=60.0)
    assert told(master)[:3] == [
        f"60.000  submitted in run {master.job().run.id} (d) as a",
        "60.000  by schedule nights for 1970-01-01T00:01:00Z",
        "60.000  the deadline of its run is 1970-01-01T00:02:30Z",
    ]


def test_a_story_says_that_the_worker_lost_the_job() -> None:
    master = Master()
    master.see(register(), submit(alike("a", TRUE)), at=1.0)
    master.see(beat(1, {}), at=100.0)
    assert [line for line in told(master) if line.startswith("100.000") and "worker w1 does not hold it" in line], told(master)


def test_a_bug_says_the_last_input_and_the_story_of_its_job() -> None:
    master = Master()
    master.see(register(), submit(alike("a", TRUE)), at=1.0)
    state, lease = master.state, master.lease()
    assert about(state, None) == "no input was handled yet"
    about_the_job: list[inputs.Input] = [succeeded(1, lease), cancel("r", "a"), beat(1, {lease: 0.0})]
    for last in about_the_job:
        lines = about(state, last).split("\n  ")
        assert lines[0] == f"the last input was {last!r}"[:520] and lines[1:] == told(master), type(last)
    about_none: list[inputs.Input] = [cancel("r", "nope"), cancel("nope", "a"), succeeded(7, lease), inputs.TimePassed()]
    for last in about_none:
        assert about(state, last) == f"the last input was {last!r}", type(last)
    long = about(state, cancel("r" * 1000))
    assert len(long) < 600 and long.endswith("...")
