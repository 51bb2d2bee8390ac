"""The cluster as keys of TitanStore, which are computed from the state at each read."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import pytest

from support.core import FRAGILE, Master, alike, cancel, dag, register, results, started, submit, succeeded
from titan.core import inputs
from titan.core.events import events as ev
from titan.master.store import cluster_keys
from titan.master.store.cluster_keys import ClusterKeys
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.store.stream_log import MAX_ID, Stream

GPU = JobTemplate(command="true", requirement="GPU")


def hash_at(keys: ClusterKeys, key: bytes) -> dict[bytes, bytes]:
    found = keys.find(key)
    assert isinstance(found, dict), found
    return found


def entries(stream: Any) -> list[dict[bytes, bytes]]:
    """Return the fields of each entry."""
    assert isinstance(stream, Stream)
    all_fields = [stream.entries[entry] for entry in stream.entries.span(0, MAX_ID)]
    return [dict(zip(fields[::2], fields[1::2], strict=True)) for fields in all_fields]


@pytest.fixture
def master() -> Master:
    """Return a master with two runs and worker w1. In run r, a is COMPLETED, b is DEAD, and c is
    CANCELLED because of b. In run q, two jobs wait for GPU."""
    master = Master()
    master.see(register(slots=2), submit(dag({"a": "", "b": "", "c": "b"}, {"b": FRAGILE})), at=1.0)
    master.see(started(1, {master.lease(0): 1.5}), at=2.0)
    master.see(results(1, (master.lease(0), Outcome.SUCCEEDED), (master.lease(1), Outcome.EXITED)), at=3.0)
    master.see(
        submit(dag({"low": "", "high": ""}, {"low": GPU, "high": msgspec.structs.replace(GPU, priority=5)}), run="q"), at=4.0
    )
    return master


def test_a_run_is_a_hash_with_a_count_of_each_state(master: Master) -> None:
    run = hash_at(ClusterKeys(master.state), b"titan:run:r")
    assert run == {
        b"run": b"r",
        b"dag": b"d",
        b"version": b"1",
        b"state": b"FAILED",
        b"jobs": b"3",
        b"submitted_at": b"1.000",
        b"finished_at": b"3.000",
        b"completed": b"1",
        b"dead": b"1",
        b"cancelled": b"1",
    }


def test_a_job_is_a_hash_with_its_run_state_and_attempt(master: Master) -> None:
    keys = ClusterKeys(master.state)
    job = hash_at(keys, b"titan:job:r/b")
    assert (job[b"run"], job[b"job"], job[b"state"], job[b"attempt"]) == (b"r", b"b", b"DEAD", b"1")
    assert b"why" in job[b"reason"]
    assert hash_at(keys, b"titan:job:q/high")[b"priority"] == b"5"
    assert hash_at(keys, b"titan:job:q/high")[b"requirement"] == b"GPU"
    for absent in (b"titan:job:r/nope", b"titan:job:nope/a", b"titan:job:r", b"titan:job:\xff"):
        assert keys.find(absent) is None


def test_the_dead_and_the_workers_are_hashes(master: Master) -> None:
    keys = ClusterKeys(master.state)
    assert list(hash_at(keys, b"titan:dlq")) == [b"r/b"]
    assert keys.find(b"titan:workers") == {b"w1": b"ALIVE"}
    worker = hash_at(keys, b"titan:worker:w1")
    assert (worker[b"state"], worker[b"slots"], worker[b"held"], worker[b"capabilities"]) == (b"ALIVE", b"2", b"0", b"GENERAL")
    assert keys.find(b"titan:worker:w9") is None
    empty = ClusterKeys(Master().state)
    assert empty.find(b"titan:dlq") is None and empty.find(b"titan:workers") is None and empty.find(b"titan:events") is None


def test_only_the_names_of_derived_keys_are_reserved(master: Master) -> None:
    keys = ClusterKeys(master.state)
    listed = list(keys.keys())
    assert listed and all(keys.owns(key) for key in listed)
    for absent in ("run:none", "job:none/x", "worker:none", "queue:NONE", "dlq", "events", "workers"):
        assert keys.owns(b"titan:" + absent.encode())
    for other in ("", "run", "jobs", "workers:w1", "events:x", "hitl:status:hitl-gate-train"):
        assert not keys.owns(b"titan:" + other.encode()) and keys.find(b"titan:" + other.encode()) is None


def test_a_queue_is_a_list_in_the_order_of_priority_and_age(master: Master) -> None:
    keys = ClusterKeys(master.state)
    assert keys.find(b"titan:queue:GPU") == deque([b"q/high", b"q/low"])
    assert keys.find(b"titan:queue:GENERAL") is None
    master.see(submit(alike("third", GPU), run="q2"), at=5.0)
    assert keys.find(b"titan:queue:GPU") == deque([b"q/high", b"q/low", b"q2/third"])
    master.see(cancel("q"), at=6.0)
    assert keys.find(b"titan:queue:GPU") == deque([b"q2/third"])


def test_all_keys_are_listed_and_each_of_them_is_there(master: Master) -> None:
    keys = ClusterKeys(master.state)
    keys.events.note(1, [ev.RunFinished("r", 5, 3.0)])
    listed = list(keys.keys())
    assert set(listed) == {
        *(b"titan:workers", b"titan:dlq", b"titan:events", b"titan:worker:w1", b"titan:queue:GPU", b"titan:run:r", b"titan:run:q"),
        *(b"titan:job:r/a", b"titan:job:r/b", b"titan:job:r/c", b"titan:job:q/low", b"titan:job:q/high"),
    }
    assert all(keys.find(key) is not None for key in listed)
    for absent in (b"titan:run:nope", b"titan:nothing", b"titan:workers:x", b"titan:dlq:x", b"titan:events:x"):
        assert keys.find(absent) is None


def test_jobs_of_a_large_run_are_not_listed_and_can_be_read(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_keys, "LISTED", 2)
    keys = ClusterKeys(master.state)
    assert b"titan:run:r" in list(keys.keys()) and b"titan:job:r/a" not in list(keys.keys())
    assert b"titan:job:q/low" in list(keys.keys())
    assert hash_at(keys, b"titan:job:r/a")[b"state"] == b"COMPLETED"


def test_a_run_that_is_being_submitted_is_not_shown() -> None:
    master = Master()
    master.see(inputs.RunBegun(9, 5, "r", "k", "d", "1", [JobTemplate(command="true")], 2), at=1.0)
    keys = ClusterKeys(master.state)
    assert keys.find(b"titan:run:r") is None and keys.find(b"titan:job:r/a") is None
    assert list(keys.keys()) == []


def test_events_are_a_stream_with_an_entry_for_each_job(master: Master) -> None:
    keys = ClusterKeys(master.state)
    before = keys.events.has_news
    keys.events.note(1_000, master.events)
    assert (before, keys.events.has_news) == (False, True)
    told = entries(keys.events.stream())
    assert not keys.events.has_news
    kinds = [entry[b"event"] for entry in told]
    assert kinds.count(b"jobs_completed") == 1 and b"worker_heard" not in kinds and b"worker_connected" not in kinds
    (done,) = [entry for entry in told if entry[b"event"] == b"jobs_completed"]
    assert (done[b"run"], done[b"job"], done[b"worker"]) == (b"r", b"a", b"w1")
    (finished,) = [entry for entry in told if entry[b"event"] == b"run_finished"]
    assert finished[b"run"] == b"r"
    assert [entry[b"job"] for entry in told if entry[b"event"] == b"jobs_queued"] == [b"a", b"b", b"low", b"high"]


def test_events_go_on_in_order_though_the_clock_goes_back(master: Master) -> None:
    keys = ClusterKeys(master.state)
    for now_ms, run in ((9_000, "r"), (5_000, "q"), (9_000, "r")):
        keys.events.note(now_ms, [ev.RunFinished(run, 5, 3.0)])
    stream = keys.events.stream()
    assert stream is not None and [entry[b"run"] for entry in entries(stream)] == [b"r", b"q", b"r"]
    ids = list(stream.entries.span(0, MAX_ID))
    assert ids == sorted(set(ids)) and ids[0] == 9_000 << 64


def test_the_last_events_are_kept_whether_read_or_not(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_keys, "EVENTS", 3)
    keys = ClusterKeys(master.state)
    for n in range(5):
        keys.events.note(n, [ev.RunFinished("r", 5, float(n))])
    assert len(keys.events._fresh) == 3, "unread events do not pile up"
    assert [entry[b"at"] for entry in entries(keys.events.stream())] == [b"2.000", b"3.000", b"4.000"]
    keys.events.note(9, [ev.RunFinished("q", 5, 9.0)])
    assert [entry[b"at"] for entry in entries(keys.events.stream())] == [b"3.000", b"4.000", b"9.000"]


def test_an_event_of_a_job_that_has_left_the_state_is_passed_over(master: Master) -> None:
    keys = ClusterKeys(master.state)
    keys.events.note(1, [ev.JobsQueued([77], 1.0, [])])
    assert keys.events.stream() is None


def test_the_worker_of_an_event_is_named_after_it_was_forgotten(master: Master) -> None:
    keys = ClusterKeys(master.state)
    master.see(submit(alike("late", JobTemplate(command="true")), run="l"), at=5.0)
    number = master.state.find(master.state.runs["l"], "late")
    assert number is not None
    events = master.see(succeeded(1, master.state.jobs[number].lease), at=6.0).events
    keys.events.note(1, events)
    (done,) = [entry for entry in entries(keys.events.stream()) if entry[b"event"] == b"jobs_completed"]
    assert done[b"worker"] == b"w1"
