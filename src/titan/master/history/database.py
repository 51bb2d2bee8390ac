"""The history: finished runs, for as long as they are kept, in one SQLite file of the master's
home.

A run is a row, and its jobs are chunks of the same columns that a snapshot has, compressed; so what
was a view of a live run is a view of an old one too. What is here was written before the run left
the state, and can be made again from as much of the journal as is there. Every method blocks: the
master calls them in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import zstandard

from titan.core.state import snapshot
from titan.core.state.content_references import of_run
from titan.core.state.state import NO_WORKER, Run, State, Worker
from titan.errors import EnvironmentFault
from titan.master import views
from titan.model.states import JobState
from titan.protocol import messages as msg

log = logging.getLogger("titan.master")

CHUNK_JOBS = 5_000
CHECKED_BYTES = 256 * 1024 * 1024
"""A file up to this size is checked from end to end when it is opened, which takes a second at
most."""
_SCHEMA = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    BEGIN IMMEDIATE;  -- one sync for all of it, in place of one a statement
    CREATE TABLE IF NOT EXISTS runs (
        id TEXT PRIMARY KEY, dag TEXT NOT NULL, version TEXT NOT NULL, state INTEGER NOT NULL, jobs INTEGER NOT NULL,
        tally BLOB NOT NULL, dead INTEGER NOT NULL, submitted_at REAL NOT NULL, finished_at REAL NOT NULL, bytes INTEGER NOT NULL,
        grp TEXT NOT NULL DEFAULT '', referenced INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS runs_dag ON runs (dag, id);
    CREATE INDEX IF NOT EXISTS runs_group ON runs (grp, id) WHERE grp <> '';
    CREATE INDEX IF NOT EXISTS runs_finished ON runs (finished_at);
    CREATE INDEX IF NOT EXISTS runs_dead ON runs (id) WHERE dead > 0;
    CREATE TABLE IF NOT EXISTS chunks (run TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, number));
    CREATE TABLE IF NOT EXISTS files (run TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (run, hash)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS workers (number INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS runs_unread ON runs (id) WHERE referenced = 0;
    PRAGMA user_version = 3;
    COMMIT;
"""
# Format 1 had no group, format 2 no `referenced`: whether `files` has all content that the run
# refers to, and not only its files.


class KeptRun(NamedTuple):
    """A run on its way into the history."""

    run: Run
    dead: int
    """Of its jobs, in the dead letter queue."""
    workers: dict[int, str]
    """Those that its jobs ran on, by number."""
    chunks: list[bytes]
    output_bytes: int
    """What its logs take."""
    files: frozenset[str] = frozenset()
    """Hashes of all content that it refers to."""


def kept_run(state: State, run: Run, chunks: list[bytes], output_bytes: int) -> KeptRun:
    """`chunks`: those of `snapshot.dump_run`, compressed."""
    jobs = [state.jobs[number] for number in run.numbers()]
    ran_on = dict.fromkeys(job.worker for job in jobs if job.worker != NO_WORKER)
    workers = {number: state.worker_name(number) for number in ran_on}
    dead = sum(job.in_dlq for job in jobs) if run.tally[JobState.DEAD] else 0
    return KeptRun(run, dead, workers, chunks, output_bytes, frozenset(of_run(state, run)))


def compressed(chunk: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(chunk)


class History:
    """Opens the file, or makes it.

    With `set_aside` one that is damaged is renamed, and said so: the master starts without it.
    Else, or if there is no room or permission, raises EnvironmentFault.
    """

    def __init__(self, path: Path, *, set_aside: bool = True) -> None:
        self.path = path
        self.fresh = False
        """The file was not there, was empty, or was set aside."""
        self._lock = threading.Lock()
        self._doomed: dict[str, None] = {}
        """Runs that are live again, whose rows are to go unless they are written anew before."""
        try:
            self._db, self.fresh = _open(path)
        except sqlite3.DatabaseError as error:
            if not set_aside or not path.exists() or (isinstance(error, sqlite3.OperationalError) and not _is_damage(error)):
                raise EnvironmentFault(f"the history {path} cannot be opened ({error}): see to its folder and the disk") from error
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.rename(aside)
            self.fresh = True
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            log.error("the history was damaged (%s) and is now %s: what the journal has of it is made anew", error, aside)
            self._db, _ = _open(path)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- in ----------------------------------------------------------------------------------------
    def put(self, kept: Iterable[KeptRun]) -> None:
        """Durable when it returns. A run that is there already is replaced."""
        with self._writing() as db:
            for run, dead, workers, chunks, output_bytes, files in kept:
                size = sum(map(len, chunks)) + output_bytes
                tally = msgspec.msgpack.encode(run.tally)
                for table in ("chunks", "files"):
                    db.execute(f"DELETE FROM {table} WHERE run = ?", (run.id,))
                db.executemany("INSERT INTO files VALUES (?, ?)", ((run.id, hash_) for hash_ in files))
                db.execute(
                    "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
                    (run.id, run.name, run.version, int(run.state), run.count, tally, dead, run.submitted_at,
                     run.finished_at, size, run.group),
                )  # fmt: skip
                db.executemany("INSERT INTO chunks VALUES (?, ?, ?)", ((run.id, i, chunk) for i, chunk in enumerate(chunks)))
                # A number stands for one name: what is known already may be more than the master
                # still knows.
                db.executemany("INSERT OR IGNORE INTO workers VALUES (?, ?)", workers.items())
                self._doomed.pop(run.id, None)

    def prune(self, *, before: float, most_bytes: int) -> list[str]:
        """Removes runs that ended before that time, and the oldest while there is more than that;
        returns which."""
        with self._writing() as db:
            gone = [name for (name,) in db.execute("SELECT id FROM runs WHERE finished_at < ?", (before,))]
            self._delete(db, gone)
            (total,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM runs").fetchone()
            if total > most_bytes:
                more = []
                for name, size in db.execute("SELECT id, bytes FROM runs ORDER BY finished_at"):
                    if total <= most_bytes:
                        break
                    more.append(name)
                    total -= size
                self._delete(db, more)
                gone += more
        if gone:
            with self._lock:
                self._db.execute("PRAGMA incremental_vacuum")
        return gone

    def doom(self, run: str) -> None:
        """A run is live again: what is here is no longer true of it, and `forget` is to remove it.
        Does not wait for the disk."""
        self._doomed[run] = None

    def forget(self, run: str) -> None:
        """Removes a run that is doomed. One that was `put` since then has left again, and stays."""
        with self._writing() as db:
            if self._doomed.pop(run, self) is None:
                self._delete(db, [run])

    # -- out ---------------------------------------------------------------------------------------
    def chunks(self, run: str) -> list[bytes]:
        """A run as in a snapshot, [] if it is not here. Raises EnvironmentFault if what is here is
        damaged."""
        unpack = zstandard.ZstdDecompressor().decompress
        try:
            with self._lock:
                found = [data for (data,) in self._db.execute("SELECT data FROM chunks WHERE run = ? ORDER BY number", (run,))]
            return [unpack(chunk) for chunk in found]
        except (sqlite3.DatabaseError, zstandard.ZstdError) as error:
            how = "stop the master, put history.sqlite back from a backup or move it away, and start again: it is made anew"
            raise EnvironmentFault(f"run {run} in the history {self.path} is damaged ({error}): {how}") from error

    def load(self, run: str) -> State | None:
        """A state that holds this run, its jobs and the names of their workers, and nothing else."""
        chunks = self.chunks(run)
        with self._lock:
            names = self._db.execute("SELECT number, name FROM workers").fetchall() if chunks else []
        if not chunks:
            return None
        state = State()
        snapshot.load(state, chunks)
        state.workers = {number: Worker(number, name, "", (), 0, {}, 0.0) for number, name in names}
        for number, job in state.jobs.items():
            if job.in_dlq:
                state.dead[number] = None
        return state

    def runs(self, ask: msg.ListRuns) -> list[msg.RunRow]:
        """The newest first."""
        where, values = ["1"], list[str | int | float]()
        for clause, value in (
            ("id < ?", ask.before),
            ("dag = ?", ask.dag),
            ("grp = ?", ask.group),
            ("submitted_at >= ?", ask.since),
        ):
            if value:
                where.append(clause)
                values.append(value)
        if ask.states:
            where.append(f"state IN ({', '.join('?' * len(ask.states))})")
            values += ask.states
        columns = "id, dag, version, state, jobs, tally, submitted_at, finished_at, grp"
        with self._lock:
            rows = self._db.execute(
                f"SELECT {columns} FROM runs WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?", (*values, views.run_limit(ask))
            ).fetchall()
        unpack = msgspec.msgpack.Decoder(list[int]).decode
        return [msg.RunRow(r[0], r[1], r[2], r[3], r[4], unpack(r[5]), r[6], r[7], group=r[8]) for r in rows]

    def dead_runs(self, run: str = "") -> Iterator[str]:
        """Runs with jobs in the dead letter queue, the newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id FROM runs WHERE dead > 0" + (" AND id = ?" if run else "") + " ORDER BY id DESC", (run,) if run else ()
            ).fetchall()
        return (name for (name,) in rows)

    def there(self, runs: Iterable[str]) -> set[str]:
        """Which of these runs it has. Raises EnvironmentFault."""
        with self._lock:
            try:
                known = {run for (run,) in self._db.execute("SELECT id FROM runs")}
            except sqlite3.Error as error:
                raise EnvironmentFault(f"the history {self.path} could not be read: {error}") from error
        return known.intersection(runs)

    def references(self) -> set[str]:
        """The hashes of all content that runs here refer to; `find_references` comes first."""
        with self._lock:
            return {hash_ for (hash_,) in self._db.execute("SELECT DISTINCT hash FROM files")}

    def find_references(self) -> int:
        """Reads the runs that an older Titan put here, once, for the content that they refer to;
        returns how many those were.

        Raises EnvironmentFault if one is damaged: what it refers to is not known then.
        """
        with self._lock:
            unread = [run for (run,) in self._db.execute("SELECT id FROM runs WHERE referenced = 0")]
        for run in unread:
            state = self.load(run)
            found = of_run(state, state.runs[run]) if state is not None else set()
            with self._writing() as db:
                # else it has left
                if db.execute("UPDATE runs SET referenced = 1 WHERE id = ?", (run,)).rowcount:
                    db.executemany("INSERT OR IGNORE INTO files VALUES (?, ?)", ((run, hash_) for hash_ in found))
        return len(unread)

    def size(self) -> tuple[int, int, int]:
        """(runs, jobs, bytes with the output of the jobs)"""
        total = "SELECT COUNT(*), COALESCE(SUM(jobs), 0), COALESCE(SUM(bytes), 0) FROM runs"
        with self._lock:
            runs, jobs, size = self._db.execute(total).fetchone()
        return runs, jobs, size

    # -- within ------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. Raises EnvironmentFault if the disk refuses, and nothing is written."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise EnvironmentFault(f"the history {self.path} could not be written: {error}") from error

    def _delete(self, db: sqlite3.Connection, runs: list[str]) -> None:
        for table, column in (("chunks", "run"), ("files", "run"), ("runs", "id")):
            db.executemany(f"DELETE FROM {table} WHERE {column} = ?", ((run,) for run in runs))


def _open(path: Path) -> tuple[sqlite3.Connection, bool]:
    """And whether it was empty. Raises sqlite3.DatabaseError if it is damaged, as far as that shows
    in a bounded time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > 3:
            raise EnvironmentFault(f"the history {path} is of a later Titan (format {version}): use that one")
        if path.stat().st_size <= CHECKED_BYTES and (found := db.execute("PRAGMA integrity_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(found[0])
        if version == 1:
            db.execute("ALTER TABLE runs ADD COLUMN grp TEXT NOT NULL DEFAULT ''")
        if version in (1, 2):
            db.execute("ALTER TABLE runs ADD COLUMN referenced INTEGER NOT NULL DEFAULT 0")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db, version == 0


def _is_damage(error: sqlite3.OperationalError) -> bool:
    """A truncated file shows as an operational error too."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        error.sqlite_errorcode == sqlite3.SQLITE_IOERR_SHORT_READ
    )
