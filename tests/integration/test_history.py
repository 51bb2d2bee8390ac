"""Finished runs leave the master's memory, and clients read them as before. No run is lost when the
master is killed meanwhile."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.core.events.events import RunArchived
from titan.core.state import snapshot
from titan.errors import NotFound, TitanError
from titan.journal import write_snapshot
from titan.master.recovery import replay
from titan.master.storage import open_storage
from titan.model.settings import Settings

KEEP_TWO = {**QUIET, "keep_runs": 2}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Cluster]:
    """Master that keeps two finished runs in memory."""
    cluster = Cluster(tmp_path, KEEP_TWO)
    try:
        cluster.start_master()
        cluster.start_workers("w1")
        yield cluster
    finally:
        cluster.close()


def job_words(i: int) -> Job:
    return Job("speak", command=f"echo out of {i}; echo err of {i} >&2", retries=0)


def finish(client: Client, count: int, name: str = "d") -> list[str]:
    runs = [client.submit(DAG(name, [job_words(i), Job("fail", command="exit 3", retries=0)])) for i in range(count)]
    for run in runs:
        run.wait(timeout=30)
    return [run.id for run in runs]


def archived(cluster: Cluster) -> list[str]:
    return [event.run for event in cluster.events() if isinstance(event, RunArchived)]


def test_requests_about_an_archived_run_are_answered_as_before(small: Cluster) -> None:
    client = small.client
    runs = finish(client, 5)
    before = {run: client.status(run).to_dict() for run in runs}
    attempts = {run: client.attempts(run) for run in runs}
    until(lambda: len(archived(small)) == 3, "three runs leave")
    small.restart_master()
    old = archived(small)[0]
    assert {run: client.status(run).to_dict() for run in runs} == before
    assert {run: client.attempts(run) for run in runs} == attempts
    (fail,) = client.attempts(f"{old}/fail")
    assert (fail.outcome, fail.exit_code, fail.worker) == ("EXITED", 3, "w1")
    times = (fail.queued_at, fail.sent_at, fail.started_at, fail.finished_at)
    assert times == tuple(sorted(filter(None, times))), times
    assert client.graph(old).jobs == ["speak", "fail"]
    job, story = client.job(f"{old}/fail")
    assert job.state == "DEAD" and job.exit_code == 3 and job.worker == "w1" and "EXITED with code 3" in story[-2]
    i = runs.index(old)
    assert sorted(client.logs(f"{old}/speak")) == [(1, f"out of {i}\n".encode()), (2, f"err of {i}\n".encode())]
    assert client.run(old).wait(timeout=5).state == "FAILED"
    assert [summary.run for summary in client.runs()] == sorted(runs, reverse=True)
    assert sorted(dead.run for dead in client.dead_jobs()) == sorted(runs)
    assert [dead.run for dead in client.dead_jobs(old)] == [old]
    assert client.cancel(old) == 0
    with pytest.raises(NotFound, match="there is no run"):
        client.status("000000000000")
    with pytest.raises(NotFound, match="has no job 'nobody'"):
        client.job(f"{old}/nobody")
    with pytest.raises(NotFound, match="there is no run"):
        client.dead_jobs("000000000000")


def test_runs_are_found_by_dag_state_and_time(small: Cluster) -> None:
    client = small.client
    failed = finish(client, 3, "nightly")
    good = client.submit(DAG("hourly", [Job("a", command="true")]))
    good.wait(timeout=30)
    finish(client, 2, "nightly")
    until(lambda: len(archived(small)) == 4, "four runs leave")
    assert [run.run for run in client.runs(dag="hourly")] == [good.id]
    assert [run.run for run in client.runs(states=["completed"])] == [good.id]
    assert len(client.runs(states=["FAILED", "COMPLETED"])) == 6
    assert [run.run for run in client.runs(dag="nightly", before=good.id)] == failed[::-1]
    assert [run.run for run in client.runs(limit=2, before=good.id)] == failed[:0:-1]
    at = client.runs(dag="hourly")[0].submitted_at
    assert [run.run for run in client.runs(since=at)][-1] == good.id and len(client.runs(since=at)) == 3
    listed = small.json("runs", "--dag", "hourly", "--state", "completed", "--since", "1h")
    assert [run["run"] for run in listed] == [good.id]
    assert small.json("runs", "--since", "2040-01-01") == []
    refused = small.cli("runs", "--since", "yesterday")
    assert refused.returncode == 2 and "write 90s, 15m, 12h" in refused.stderr
    with pytest.raises(TitanError, match="'BUSY' is not a state of a run"):
        client.runs(states=["BUSY"])


def test_a_submission_that_is_repeated_finds_its_run_and_its_results(small: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client repeats a submission like this after a connection that broke just before the
    answer."""
    client = small.client

    def call(*args: int) -> int:
        with monkeypatch.context() as patch:
            patch.setattr("secrets.token_hex", lambda _: "the same key")
            return client.call(pow, *args).result(timeout=30)

    assert call(2, 10) == 1024
    finish(client, 3)
    until(lambda: len(archived(small)) == 2, "two runs leave")
    assert call(2, 11) == 1024, "its key was known, so it is the run of the first"


def test_the_history_is_rebuilt_from_the_journal(small: Cluster) -> None:
    client = small.client
    runs = finish(client, 5)
    until(lambda: len(archived(small)) == 3, "three runs leave")
    before = client.status(archived(small)[0]).to_dict()
    refused = small.cli("history", "rebuild", "--home", str(small.home))
    assert refused.returncode != 0 and "is in use by the process" in refused.stderr
    assert small.json("history", "stats", "--home", str(small.home))["runs"] == 3
    small.kill_master()
    for name in ("history.sqlite", "history.sqlite-wal", "history.sqlite-shm"):
        (small.home / name).unlink(missing_ok=True)
    assert small.json("history", "rebuild", "--home", str(small.home)) == {"runs": 3, "complete": True}
    small.start_master()
    assert client.status(archived(small)[0]).to_dict() == before
    assert len(client.runs()) == len(runs)


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def flip(path: Path) -> None:
    """Flip a bit in the page of the table of runs, in the byte that holds the type of the page."""
    data = bytearray(path.read_bytes())
    data[4096 * 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [delete, empty, cut, overwrite, flip])
def test_a_damaged_history_is_noticed_at_the_start_and_made_anew_beside_the_work(
    small: Cluster, harm: Callable[[Path], None]
) -> None:
    client = small.client
    runs = finish(client, 5)
    until(lambda: len(archived(small)) == 3, "three runs leave")
    old = archived(small)
    before = [client.status(run).to_dict() for run in old]
    assert small.master is not None
    small.master.terminate()
    small.master.wait()
    harm(small.home / "history.sqlite")
    for name in ("history.sqlite-wal", "history.sqlite-shm"):
        (small.home / name).unlink(missing_ok=True)
    small.start_master()
    until(lambda: "runs are in the history again" in small.master.err if small.master else False, "it is made anew", 60.0)
    assert "3 finished runs are missing in the history" in small.master.err
    assert [client.status(run).to_dict() for run in old] == before
    assert len(client.runs()) == len(runs)


def test_a_rebuild_reports_the_runs_that_are_no_longer_in_the_journal(small: Cluster) -> None:
    finish(small.client, 5)
    until(lambda: len(archived(small)) == 3, "three runs leave")
    old = archived(small)
    assert small.master is not None
    small.master.terminate()
    small.master.wait()
    (small.home / "history.sqlite").unlink()
    follower = replay(open_storage(small.store), Settings())
    for segment in small.store.glob("*.seg"):
        segment.unlink()
    (small.store / "synced").unlink()
    write_snapshot(small.store, seq=follower.seq, term=follower.state.term, chunks=snapshot.dump(follower.state))
    small.start_master()
    until(lambda: "finished runs are lost with the history" in small.master.err if small.master else False, "it is said", 60.0)
    assert old[0] in small.master.err and "put history.sqlite back from a backup" in small.master.err


def test_old_runs_are_removed_with_their_output(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, {**KEEP_TWO, "history_bytes": 1})
    try:
        cluster.start_master()
        cluster.start_workers("w1")
        runs = finish(cluster.client, 4)
        until(lambda: len(archived(cluster)) == 2, "two runs leave")
        cluster.restart_master()
        gone = archived(cluster)
        until(lambda: not any((cluster.home / "logs" / f"{run}.log").exists() for run in gone), "their output goes")
        with sqlite3.connect(cluster.home / "history.sqlite") as db:
            assert db.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
        assert sorted(run.run for run in cluster.client.runs()) == sorted(set(runs) - set(gone))
    finally:
        cluster.close()
