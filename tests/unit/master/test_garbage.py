"""Time of a garbage collection, and runs that move between state and history during a collection.
See also tests/property/master/test_garbage.py."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from support.core import CLIENT, Master, dag, register, results, submit
from titan.content.blobs import Removed, put
from titan.content.directory import DirectoryStore
from titan.core import inputs
from titan.core.state import content_references as references
from titan.core.state import snapshot
from titan.core.state.state import Run, State
from titan.errors import EnvironmentFault
from titan.host.clock import SteadyClock
from titan.master.content_names import Registry
from titan.master.core_loop import CoreLoop
from titan.master.garbage_collection import GarbageCollector
from titan.master.history.database import CHUNK_JOBS, History, compressed, kept_run
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import Outcome

HASH = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
"""SHA-256 of b"foo"."""
SCRIPT = JobTemplate(file="s.sh", file_hash=HASH, retries=0)


OPENED: list[History] = []


@pytest.fixture(autouse=True)
def _closed_histories() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def opened(path: Path) -> History:
    """Provide a history, which is closed after the test."""
    OPENED.append(History(path))
    return OPENED[-1]


class Bench:
    """Store with one old blob, b"foo". The blob is needed by a DEAD run, which is only in the
    history."""

    def __init__(self, home: Path, *, grace_s: float = 1.0) -> None:
        self.store = DirectoryStore(home / "files", spare_bytes=0)
        self.history = opened(home / "history.sqlite")
        self.master = Master(Settings(prefetch=0, file_grace_s=grace_s))
        self.clock = SteadyClock()
        self.on_settled: Callable[[], None] = lambda: None
        self.collector = GarbageCollector(cast(CoreLoop, self), self.history, self.store, Registry(home / "perm_files", self.store))
        self.collector._started -= 5.0
        put(self.store, HASH, b"foo")
        os.utime(self.store.folder / HASH, (1.0, 1.0))
        self.master.see(register(), submit(dag({"a": ""}, {"a": SCRIPT})))
        self.master.see(results(1, (self.master.lease(), Outcome.EXITED)), at=3.0)
        self.archive()

    @property
    def state(self) -> State:
        return self.master.state

    async def settled(self) -> None:
        self.on_settled()

    def archive(self) -> None:
        run = self.state.runs["r"]
        chunks = [compressed(chunk) for chunk in snapshot.dump_run(self.state, run, CHUNK_JOBS)]
        self.history.put([kept_run(self.state, run, chunks, 0)])
        self.master.see(inputs.HistoryKept(["r"]))

    def retry(self) -> None:
        self.master.see(inputs.DeadRetried(CLIENT, 8, "r", "", "ann", "", self.history.chunks("r")))

    def collect(self) -> Removed:
        self.collector.history_is_whole.set()
        return asyncio.run(self.collector.collect())


def test_content_of_an_archived_run_stays_as_long_as_the_run_is_in_the_history(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert not bench.state.runs and bench.collect() == Removed(0, 0)
    bench.history.prune(before=4.0, most_bytes=1 << 40)
    assert bench.collect() == Removed(1, 3) and not bench.store.has(HASH)


def test_a_run_that_leaves_and_returns_during_a_collection_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collection reads the run in the state while none of its jobs is there. When the
    collection then reads the history, the run is no longer in it."""
    bench = Bench(tmp_path)
    bench.retry()
    bench.history.forget("r")
    bench.master.see(results(1, (bench.master.lease(), Outcome.EXITED)), at=6.0)
    value = b"h" + bytes.fromhex(HASH) + (3).to_bytes(8, "big")
    bench.state.runs["r"].templates[:] = [JobTemplate(command="true", retries=0)]
    bench.master.job().template = bench.state.runs["r"].templates[0]
    bench.master.job().payload = value  # only the payload of this job refers to the content
    real, moves = references.numbers_of, list[list[int]]()

    def numbers_of(run: Run) -> list[int]:
        numbers = list(real(run))
        if not moves:
            moves.append(numbers)
            bench.archive()
            bench.retry()
            bench.history.forget("r")
            return []  # the jobs have left the state
        return numbers

    monkeypatch.setattr(references, "numbers_of", numbers_of)
    assert bench.collect() == Removed(0, 0) and moves


def test_nothing_is_removed_before_the_history_is_whole(tmp_path: Path) -> None:
    async def run() -> None:
        bench = Bench(tmp_path)
        bench.history.prune(before=4.0, most_bytes=1 << 40)
        work = asyncio.ensure_future(bench.collector.collect())
        await asyncio.sleep(0.1)
        assert not work.done() and bench.store.has(HASH)
        bench.collector.history_is_whole.set()
        assert await work == Removed(1, 3)

    asyncio.run(run())


def test_a_collection_waits_for_the_grace_time_after_a_start(tmp_path: Path) -> None:
    """A client that was told before the restart that the content is on the master may not have come
    back yet."""
    bench = Bench(tmp_path, grace_s=0.3)
    bench.history.prune(before=4.0, most_bytes=1 << 40)
    bench.collector._started = bench.clock.now()
    begun = bench.clock.now()
    assert bench.collect() == Removed(1, 3)
    assert bench.clock.now() - begun >= 0.29


def older(path: Path) -> None:
    """Convert the history to format 2, which recorded only outputs and published files."""
    db = sqlite3.connect(path)
    db.executescript("DROP INDEX runs_unread; ALTER TABLE runs DROP COLUMN referenced; DELETE FROM files; PRAGMA user_version = 2;")
    db.close()


def test_the_runs_of_an_older_history_are_read_for_what_they_need(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.history.close()
    older(tmp_path / "history.sqlite")
    bench.history = bench.collector._history = opened(tmp_path / "history.sqlite")
    assert bench.history.references() == set()
    assert bench.collect() == Removed(0, 0) and bench.history.references() == {HASH}
    assert bench.history.find_references() == 0, "once"


def test_nothing_is_removed_while_a_run_of_an_older_history_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path)
    bench.history.close()
    older(tmp_path / "history.sqlite")
    db = sqlite3.connect(tmp_path / "history.sqlite")
    db.execute("UPDATE chunks SET data = x'00'")
    db.commit()
    db.close()
    bench.history = bench.collector._history = opened(tmp_path / "history.sqlite")
    with pytest.raises(EnvironmentFault, match="is damaged"):
        bench.history.find_references()
    assert bench.collect() == Removed(0, 0) and bench.store.has(HASH)
    assert "unreferenced content could not be removed: run r in the history" in caplog.text
