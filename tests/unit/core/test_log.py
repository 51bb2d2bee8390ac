"""Events on disk, snapshots, stories, and errors for impossible transitions."""

from __future__ import annotations

import msgspec
import pytest

from support.core import (
    FIRST,
    Master,
    alike,
    cancel,
    dag,
    picture,
    register,
    replay,
    results,
    started,
    submit,
    succeeded,
)
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import HISTORY_LIMIT, Past, State
from titan.core.state.story import story
from titan.errors import Bug
from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import Published
from titan.model.settings import LoggedSettings, Settings
from titan.model.states import Outcome
from titan.model.timing import Timing


def a_bit_of_everything() -> Master:
    """Return a master with jobs in every possible state, on workers in every state."""
    master = Master()
    near = JobTemplate(command="true", affinity=True, priority=-1)
    jobs = {
        "a": "",
        "b": "a",
        "late": "",
        "bad": "",
        "behind": "bad",
        "again": "",
        "run": "",
        "stop": "",
        "wait": "run",
        "near": "a",
    }
    kinds = {
        "near": near,
        "late": JobTemplate(command="true", delay_s=50.0),
        "bad": JobTemplate(command="false", retries=0),
    }
    master.see(register(slots=5), register("w2", origin=2), register("w3", origin=3), submit(dag(jobs, kinds), key="k"), at=1.0)
    number = {job.name: n for n, job in master.state.jobs.items()}
    lease = {name: master.state.jobs[n].lease for name, n in number.items()}
    of = {name: master.state.jobs[n].worker for name, n in number.items()}
    master.see(started(of["run"], {lease["run"]: 1.5}), started(of["stop"], {lease["stop"]: 1.5}), at=2.0)
    master.see(results(of["bad"], (lease["bad"], Outcome.EXITED)), results(of["again"], (lease["again"], Outcome.BROKEN)), at=3.0)
    master.see(submit(alike("p q r s t", JobTemplate(command="x")), run="s"), at=3.5)
    master.see(succeeded(of["a"], lease["a"]), cancel("r", "stop"), at=4.0)
    master.see(inputs.WorkerDraining(3), inputs.WorkerDisconnected(2, 2), at=5.0)
    return master


SPEC = DagSpec("d", "1", [JobTemplate(command="x")], ["a"], [0], [()], [])


def events_of_every_kind() -> list[ev.Event]:
    template = JobTemplate(file="x.py", file_hash="0" * 64, argv=(), env=(("K", "v"),), priority=-3, affinity=True)
    return [
        ev.MasterStarted(2, "c", 1.0, "d", "why"),
        ev.TermRaised(9, 8, "d", "why", 1.0),
        ev.SettingsChanged(LoggedSettings.of(Settings()), 1.0),
        ev.ClockSetBack(["s"], [2.0], "why", 1.0),
        ev.WorkerSetAside(1, "why", 2.0, 1.0),
        ev.WorkerProbed(1, 1.0),
        ev.WorkerTakenBack(1, 1.0),
        ev.WorkerFactsChanged(1, {"disk_free_bytes": 7}, 1.0),
        ev.RunSubmitted("r", "k", "d", "1", [template], ["a", "b"], [0, 0], [("x",), ()], [(), (0,)], FIRST, 1.0),
        ev.RunOpened("r", "k", "d", "1", [template], FIRST, 2, 1.0),
        ev.JobsAdded("r", ["a", "b"], [0, 0], [("x",), ()], [(), (0,)], 1.0),
        ev.RunSealed("r", 1.0),
        ev.RunDropped("r", 1.0),
        ev.RunArchived("r", 1.0),
        ev.JobsQueued([FIRST], 1.0, [3]),
        ev.JobsDelayed([FIRST], [2.0], 1.0),
        ev.JobsReleased([FIRST], 1, "why", 1.0),
        ev.JobsBound([FIRST], [2], 1.0),
        ev.JobsDispatched(1, [FIRST], FIRST, 1.0),
        ev.JobsStarted(1, [FIRST], [1.0], 1.0),
        ev.JobsCompleted(1, [FIRST], [1.0], [2.0], [0.5], [7], 1.0),
        ev.JobsFailed(1, [FIRST], [1], [9], ["why"], [1.0], [2.0], [0.5], [7], [3.0], 1.0),
        ev.JobsLost(1, [FIRST], [FIRST], "why", 1.0, [-1]),
        ev.JobsDied([FIRST], "why", 1.0),
        ev.JobsCancelled([FIRST], "why", 1.0, "ada@host", 2),
        ev.JobsSkipped([FIRST], "why", 1.0, 9),
        ev.RunRestored("r", [b"chunk"], 1.0),
        ev.JobsRevived("r", [FIRST, FIRST + 1], 1, "ann", "k", 1.0),
        ev.DeadPurged([FIRST], 1.0),
        ev.GatesOpened([FIRST], [9.0], 1.0),
        ev.TokenIssued(FIRST, b"digest", 1.0),
        ev.WebhookEnded(FIRST, "delivered", 1.0),
        ev.GatesDecided([FIRST], True, "ann", "well", "k", 1.0),
        ev.RunCancelled("r", 1.0),
        ev.RunExpired("r", 1.0),
        ev.ScheduleAdded("s", 1, "k", SPEC, [()], Timing("* * * * *", "UTC"), "skip", "last", False, 2.0, 1.0),
        ev.ScheduleChanged("s", True, 1.0),
        ev.ScheduleRemoved("s", 1.0),
        ev.ScheduleFired("s", 2.0, "r", 3.0, 2.5, True),
        ev.ScheduleWaited("s", [2.0], "overlap", 3.0, 2.5),
        ev.ScheduleSkipped("s", 100, True, 2.0, 900.0, "missed", 901.0, 900.5),
        ev.RunFinished("r", 1, 1.0),
        ev.WorkerJoined(1, "w", "1", ("GENERAL",), 4, {"host": "h", "cpus": 2, "load": 0.5}, 1.0),
        ev.WorkerDrained(1, 1.0),
        ev.WorkerLost(1, "why", 1.0),
        ev.WorkerLeft(1, 1.0),
        ev.LeasesEnding(1, [FIRST], 1.0),
        ev.LeasesEnded(1, [FIRST], 1.0),
        ev.WorkerAsked(1, True, 1.0),
        ev.BurstRequested(["burst-1-1"], "GENERAL", ("GENERAL",), 2, "3 queued for 1 slot", 1.0),
        ev.BurstRetired(["burst-1-1"], "nothing is queued", 2.0),
        ev.BurstEnded(["burst-1-1"], "it ended with code 0", 3.0),
        ev.WorkersForgotten([2], 3.0),
        ev.ServicesReported(1, [FIRST], [3], [1.0], ["h:80"], [2], ["why"], 1.0),
        ev.ServicesStopped([FIRST], "why", 1.0),
        ev.ServiceReplaced(FIRST, template, ("x",), True, "why", 1.0, 3),
        ev.ServicesRetired(1, [FIRST], 1.0),
        ev.JobsHeld([FIRST], 1.0),
        ev.RunGrown("r", FIRST, 1, "k", [template], ["c"], [0], [("x",)], [(0,)], [(FIRST + 1, (2,))], FIRST + 2, 1.0),
        ev.PipelineSaved("p", SPEC, 1.0),
        ev.PipelineRemoved("p", 1.0),
        ev.StoreChanged([0, 1 << 32], [[b"SET", b"k", b"v"], [b"DEL", b"k"]], 1.0),
        ev.ArtifactPublished("r", "models/best", Published("a" * 64, 7, 1, 1.0, "r/a"), 1.0),
        ev.StatusReported([FIRST], ["warming up"], 1.0),
        ev.ArtifactRemoved("models/best", 1.0),
        ev.SecretChanged("TOKEN", 2, 1.0, "ada@host"),
        ev.CacheMissed([FIRST], ["a" * 64], 1.0),
        ev.JobsReused([FIRST], ["a" * 64], ["r/a"], 1.0),
        ev.ResultsCached([FIRST], ["a" * 64], 1.0),
        ev.CacheDropped(["a" * 64], 1.0, "ada@host"),
    ]


VOLATILE: list[ev.Event] = [
    ev.WorkerConnected(1, 2, 1.0),
    ev.WorkerHeard(1, 1.0),
    ev.LeasesRecalled(1, [FIRST]),
    ev.SlotsLent(1, [FIRST], 1.0),
    ev.WorkerSuspected(1, 1.0),
    ev.RootsReleased("r", 2),
    ev.ProgressReported([FIRST], [0.5], ["half"], 1.0),
    ev.ScaleReviewed(["GENERAL"], ["no change: nothing is queued"], [False], [False], 1.0),
]


def test_every_durable_event_comes_back_from_the_journal_as_it_was() -> None:
    events = events_of_every_kind()
    assert {type(e) for e in events + VOLATILE} == set(ev.Event.__args__)
    payload, count = ev.encode(events)
    assert count == len(events)
    assert ev.decode(payload) == events
    assert ev.decode(memoryview(payload)) == events


def test_volatile_events_are_not_written_to_the_journal() -> None:
    assert ev.encode(VOLATILE) == (b"", 0)
    assert ev.encode([]) == (b"", 0)
    payload, count = ev.encode([VOLATILE[0], ev.RunCancelled("r", 1.0), VOLATILE[1]])
    assert (ev.decode(payload), count) == ([ev.RunCancelled("r", 1.0)], 1)


def test_an_event_of_a_newer_version_is_read_without_its_new_fields() -> None:
    payload = msgspec.msgpack.encode([["run_cancelled", "r", 1.0, "ada@host", "a new field"]])
    assert ev.decode(payload) == [ev.RunCancelled("r", 1.0, "ada@host")]


def test_an_event_of_an_older_version_gets_the_defaults_of_the_fields_that_it_lacks() -> None:
    payload = msgspec.msgpack.encode([["jobs_queued", [FIRST], 1.0]])
    assert ev.decode(payload) == [ev.JobsQueued([FIRST], 1.0, [])]


def test_the_bytes_of_an_event_never_change() -> None:
    """Journals of older versions must stay readable."""
    payload, _ = ev.encode([ev.JobsDispatched(1, [FIRST, FIRST + 1], FIRST, 2.5)])
    assert payload.hex() == (
        "9195af" + b"jobs_dispatched".hex() + "0192cf0000000100000000cf0000000100000001cf0000000100000000cb4004000000000000"
    )


def test_a_replay_gives_the_state_of_the_master() -> None:
    master = a_bit_of_everything()
    assert picture(replay(master.events)) == picture(master.state)


def test_a_snapshot_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "CHUNK_JOBS", 3)
    master = a_bit_of_everything()
    chunks = list(snapshot.dump(master.state))
    assert len(chunks) == 1 + 2 + 4 + 2, "the head, two runs, 10 and 5 jobs in threes"
    copy = State(Settings(prefetch=0))
    snapshot.load(copy, chunks)
    copy.reindex()
    check(copy)
    assert list(snapshot.dump(copy)) == chunks
    for name in ("cluster", "term", "next_job", "next_lease", "keys", "worker_numbers", "dead"):
        assert getattr(copy, name) == getattr(master.state, name)
    assert copy.jobs == master.state.jobs and copy.runs == master.state.runs and copy.workers == master.state.workers


def test_a_snapshot_and_the_log_behind_it_are_the_whole_log() -> None:
    master = a_bit_of_everything()
    middle = len(master.events) // 2
    first = replay(master.events[:middle])
    copy = State(Settings(prefetch=0))
    snapshot.load(copy, snapshot.dump(first))
    copy.reindex()
    for event in master.events[middle:]:
        apply(copy, event)
    assert picture(copy) == picture(master.state)


def test_the_story_of_a_job_that_failed_and_was_retried() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": "", "b": "a"}), run="r"), at=1.0)
    master.see(succeeded(1, FIRST), at=2.0)
    master.see(started(1, {FIRST + 1: 2.5}), at=2.5)
    master.see(results(1, (FIRST + 1, Outcome.EXITED), jitter=0.0), at=3.0)
    due = master.job(1).due
    told = ["1.000  submitted in run r (d) as b", "1.000  depends on a", "2.500  attempt 1 on w1: EXITED with code 1: why"]
    assert story(master.state, FIRST + 1) == [*told, f"3.000  FAILED attempt 1: why; next one at {due:.3f}"]
    master.see(inputs.TimePassed(), at=due)
    assert story(master.state, FIRST + 1) == [*told, f"{due:.3f}  DISPATCHED as attempt 2 on w1 (lease {FIRST + 2})"]
    master.see(started(1, {FIRST + 2: 5.0}), at=5.0)
    master.see(inputs.WorkerLeaving(1), at=6.0)
    assert story(master.state, FIRST + 1) == [
        *told,
        "6.000  attempt 2 on w1: RETURNED: worker w1 left",
        "6.000  QUEUED for a worker with GENERAL",
    ]


def test_every_state_has_a_story() -> None:
    state = a_bit_of_everything().state
    last = {state.jobs[n].name: story(state, n)[-1].split("  ")[1] for n in state.jobs}
    assert last["late"] == "DELAYED until 51.000"
    assert last["bad"] == "DEAD: why"
    assert last["behind"] == "CANCELLED: its ancestor bad is DEAD: why"
    assert last["again"].startswith("FAILED attempt 1: why; next one at 3.")
    assert last["wait"] == "WAITING for 1 of 1 parents"
    assert last["a"] == "COMPLETED"
    assert last["stop"] == "CANCELLED: cancelled by a user"


def test_an_impossible_transition_is_a_bug_and_tells_the_story() -> None:
    master = Master()
    master.see(register(), submit(dag({"a": ""})), at=1.0)
    with pytest.raises(
        Bug, match=r"job r/a cannot go from DISPATCHED to DELAYED; its story:\n  1\.000  submitted in run r \(d\) as a"
    ):
        apply(master.state, ev.JobsDelayed([FIRST], [5.0], 2.0))


def test_a_history_is_bounded_and_keeps_the_newest() -> None:
    job = a_bit_of_everything().job()
    for n in range(HISTORY_LIMIT + 10):
        job.note(Past(float(n), n, 1, -1, -1, ""))
    assert [past.attempt for past in job.history or ()] == list(range(10, HISTORY_LIMIT + 10))
