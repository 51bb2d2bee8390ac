"""Events as text, with names instead of numbers, and only the parts that a request is about."""

from __future__ import annotations

from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.master.event_format import fields_of, is_about, text
from titan.model.dag import JobTemplate

LIFE: list[ev.Event] = [
    ev.MasterStarted(1, "c", 1.0),
    ev.WorkerJoined(1, "w1", "1", ("GENERAL",), 2, {"host": "h"}, 2.0),
    ev.RunSubmitted("r", "k", "d", "", [JobTemplate(command="x")], ["a", "b"], [0, 0], [("1",), ()], [(), ()], 1 << 32, 3.0),
    ev.JobsQueued([1 << 32, (1 << 32) + 1], 3.0),
    ev.JobsDispatched(1, [1 << 32, (1 << 32) + 1], 1 << 32, 3.0),
    ev.JobsFailed(1, [(1 << 32) + 1], [1], [3], ["exit code 3"], [3.0], [4.0], [0.5], [7], [0.0], 4.0),
    ev.JobsDied([(1 << 32) + 1], "", 4.0),
    ev.StoreChanged([0], [[b"SET", b"k", b"\xff v"]], 5.0),
    ev.RunFinished("r", 2, 6.0),
]


def told(run: str = "", job: str = "") -> list[str]:
    state, lines = State(), []
    for event in LIFE:
        apply(state, event) if not isinstance(event, ev.RunFinished) else None
        if not run or is_about(state, event, run, job):
            lines.append(f"{type(event).__name__} {text(fields_of(state, event, run=run, job=job))}")
    return lines


def test_names_stand_for_numbers() -> None:
    assert told() == [
        "MasterStarted term=1 cluster=c",
        "WorkerJoined worker=w1 name=w1 incarnation=1 capabilities=GENERAL slots=2",
        "RunSubmitted run=r key=k name=d jobs=2 first_job=4294967296 deadline_s=0 scheduled_at=0 fresh=False",
        "JobsQueued jobs=r/a,r/b",
        "JobsDispatched worker=w1 jobs=r/a,r/b first_lease=4294967296",
        "JobsFailed worker=w1 jobs=r/b outcomes=EXITED exit_codes=3 reasons='exit code 3' started=3 finished=4 cpu_s=0.5"
        " peak_bytes=7 retry_at=0",
        "JobsDied jobs=r/b",
        "StoreChanged databases=0 commands='SET k � v'",
        "RunFinished run=r state=FAILED",
    ]


def test_only_events_about_the_requested_job_are_shown() -> None:
    assert [line.split()[0] for line in told("r", "a")] == ["RunSubmitted", "JobsQueued", "JobsDispatched", "RunFinished"]
    assert told("r", "a")[2] == "JobsDispatched worker=w1 jobs=r/a first_lease=4294967296"
    assert told("other") == []
