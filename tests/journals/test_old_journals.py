"""Journals of every version stay readable, with and without their snapshot, and mean what they
meant.

`v1` is the oldest, written by `make_journal.py`. The simulation with seed N left `v1.N` on the
master's disk. At that time settings, actors and causes were not journaled yet. Together these logs
hold 54 of the 62 kinds of durable events of that time. `settings.json` holds the settings that were
in force.
"""

from __future__ import annotations

import shutil
import typing
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from titan.core.events import events as ev
from titan.core.events.events import VOLATILE, Event, decode
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.journal import read_records, verify
from titan.master.recovery import replay
from titan.master.storage import open_storage
from titan.model.settings import Settings
from titan.model.states import JobState, RunState, WorkerState

VERSIONS = sorted(path.name for path in Path(__file__).parent.glob("v*"))


@pytest.fixture(params=VERSIONS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    target = tmp_path / "store"
    shutil.copytree(Path(__file__).parent / request.param, target)
    return target


LATER: set[type] = {
    *(ev.TermRaised, ev.ClockSetBack, ev.WorkerSetAside, ev.WorkerProbed, ev.WorkerTakenBack, ev.WorkerFactsChanged),
    *(ev.RunOpened, ev.JobsAdded, ev.RunSealed, ev.RunDropped, ev.RunArchived),
    *(
        ev.JobsSkipped,
        ev.RunRestored,
        ev.JobsRevived,
        ev.DeadPurged,
        ev.GatesOpened,
        ev.TokenIssued,
        ev.WebhookEnded,
        ev.GatesDecided,
    ),
    *(ev.RunExpired, ev.ScheduleAdded, ev.ScheduleChanged, ev.ScheduleRemoved),
    *(ev.ScheduleFired, ev.ScheduleWaited, ev.ScheduleSkipped),
    *(ev.WorkerAsked, ev.BurstRequested, ev.BurstRetired, ev.BurstEnded, ev.WorkersForgotten, ev.StoreChanged),
    *(ev.ArtifactPublished, ev.ArtifactRemoved),
    *(ev.ServicesReported, ev.ServicesStopped, ev.ServiceReplaced, ev.ServicesRetired, ev.JobsHeld),
    *(ev.RunGrown, ev.PipelineSaved, ev.PipelineRemoved),
    *(ev.StatusReported, ev.SettingsChanged, ev.JobsBound, ev.SecretChanged),
    *(ev.CacheMissed, ev.JobsReused, ev.ResultsCached, ev.CacheDropped),
}
"""Events that were added after version 0.1.0, so `v1` has none of them."""


def as_saved(state: State) -> list[bytes]:
    """Return the dumped state after clearing fields that are not durable or that the oldest version
    did not write."""
    state.decided_at = 0.0
    for worker in state.workers.values():
        worker.connection, worker.heard_at, worker.deadline, worker.watched = 0, 0.0, 0.0, False
        worker.pace_s = worker.idle_since = 0.0  # the oldest version did not measure them
        worker.recalled.clear()
        if worker.state is WorkerState.ALIVE:
            worker.state = WorkerState.SUSPECT
    for run in state.runs.values():
        run.earlier_retries = ()  # the oldest version remembered the last retry only
    for job in state.jobs.values():  # the oldest version kept only the times of the newest attempt's process
        job.queued_at = job.sent_at = 0.0
        job.history = job.history and [replace(past, queued_at=0.0, sent_at=0.0, started_at=0.0) for past in job.history]
    return list(snapshot.dump(state))


def settings_of(store: Path) -> Settings:
    noted = store / "settings.json"
    return msgspec.json.decode(noted.read_bytes(), type=Settings) if noted.exists() else Settings()


def expected(store: Path) -> State:
    state = State(settings_of(store))
    snapshot.load(state, decode_chunks((store / "state.bin").read_bytes()))
    return state


def decode_chunks(data: bytes) -> list[bytes]:
    chunks, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return chunks


def test_an_old_journal_is_found_whole(store: Path) -> None:
    report = verify(store)
    assert report.ok, report.problems


def test_the_snapshot_and_the_log_behind_it_give_the_state(store: Path) -> None:
    follower = replay(open_storage(store), settings_of(store))
    assert follower.events > 0 and not follower.warnings
    assert as_saved(follower.state) == as_saved(expected(store))


def test_the_log_alone_gives_the_same_state(store: Path) -> None:
    for path in store.glob("*.snap"):
        path.unlink()
    state = replay(open_storage(store), settings_of(store)).state
    assert as_saved(state) == as_saved(expected(store))


def test_version_1_holds_every_event_and_these_facts() -> None:
    store = Path(__file__).parent / "v1"
    kinds = {type(e) for record in read_records(store) for e in decode(record.payload)}
    assert kinds == set(typing.get_args(Event)) - set(VOLATILE) - LATER
    state = replay(open_storage(store), Settings()).state
    assert [run.state for run in state.runs.values()] == [RunState.RUNNING, RunState.CANCELLED, RunState.RUNNING]
    first = state.runs["run1"]
    assert [state.jobs[first.first + i].state for i in range(5)] == [
        JobState.COMPLETED, JobState.DEAD, JobState.COMPLETED, JobState.QUEUED, JobState.CANCELLED,
    ]  # fmt: skip
    assert [w.state for w in state.workers.values()] == [WorkerState.LOST, WorkerState.LEFT]


def test_what_simulations_left_holds_nearly_every_event() -> None:
    stores = Path(__file__).parent.glob("v1.*")
    kinds = {type(e) for store in stores for record in read_records(store) for e in decode(record.payload)}
    never = {ev.JobsSkipped, ev.ArtifactPublished, ev.ArtifactRemoved, ev.PipelineSaved, ev.PipelineRemoved, ev.ServicesRetired}
    never |= {ev.ClockSetBack, ev.TermRaised, ev.WorkerFactsChanged, ev.SettingsChanged, ev.JobsBound, ev.SecretChanged}
    never |= {ev.CacheMissed, ev.JobsReused, ev.ResultsCached, ev.CacheDropped}
    assert kinds == set(typing.get_args(Event)) - set(VOLATILE) - never
