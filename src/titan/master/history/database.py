"""History: finished runs in a SQLite file in the master's home.

A run is a row. Its jobs are compressed chunks in the format of a snapshot, so the views of live
runs also work for archived runs. A run is written before it leaves the state. It can be rebuilt as
far as the journal goes back. Methods block, so the master calls them in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
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
"""Maximum size of a file that is checked completely when it is opened.

The check takes at most 1 s.
"""
_SCHEMA = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    BEGIN IMMEDIATE;  -- one sync for all statements, instead of one for each
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
# Format 1 had no group. Format 2 had no `referenced`. `referenced` is 1 if the table `files` lists
# all content that the run refers to, not only its files.


class KeptRun(NamedTuple):
    """Run that is to be written to the history."""

    run: Run
    dead: int
    """Number of the run's jobs in the dead letter queue."""
    workers: dict[int, str]
    """Worker number -> name, for the workers that ran its jobs."""
    chunks: list[bytes]
    output_bytes: int
    """Size of the output of its jobs."""
    files: frozenset[str] = frozenset()
    """Hashes of all content that the run refers to."""


def kept_run(state: State, run: Run, chunks: list[bytes], output_bytes: int) -> KeptRun:
    """Return a run for the history, with the compressed chunks of `snapshot.dump_run`."""
    jobs = [state.jobs[number] for number in run.numbers()]
    ran_on = dict.fromkeys(job.worker for job in jobs if job.worker != NO_WORKER)
    workers = {number: state.worker_name(number) for number in ran_on}
    dead = sum(job.in_dlq for job in jobs) if run.tally[JobState.DEAD] else 0
    return KeptRun(run, dead, workers, chunks, output_bytes, frozenset(of_run(state, run)))


def compressed(chunk: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(chunk)


class History:
    """Open history file. The constructor creates a missing file.

    A damaged file is renamed and replaced by a new file if `set_aside` is true. Otherwise the
    constructor raises EnvironmentFault, as it does if room or permission is missing.
    """

    def __init__(self, path: Path, *, set_aside: bool = True) -> None:
        self.path = path
        self.fresh = False
        """True if the file did not exist, was empty, or was set aside."""
        self._lock = threading.Lock()
        self._doomed: dict[str, None] = {}
        """Restored runs whose rows are to be deleted. A run leaves this set if it is archived
        again."""
        try:
            self._db, self.fresh = _open(path)
        except sqlite3.DatabaseError as error:
            if not set_aside or not path.exists() or (isinstance(error, sqlite3.OperationalError) and not _is_damage(error)):
                raise EnvironmentFault(f"the history {path} cannot be opened ({error}): check its folder and the disk") from error
            aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
            path.rename(aside)
            self.fresh = True
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            log.error("the history was damaged (%s) and renamed to %s: it is rebuilt from the journal", error, aside)
            self._db, _ = _open(path)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # -- in ----------------------------------------------------------------------------------------
    def put(self, kept: Iterable[KeptRun]) -> None:
        """Write runs durably. A run that is already here is replaced."""
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
                # A worker number always has the same name. A run may name a worker that the master
                # has forgotten.
                db.executemany("INSERT OR IGNORE INTO workers VALUES (?, ?)", workers.items())
                self._doomed.pop(run.id, None)

    def prune(self, *, before: float, most_bytes: int) -> list[str]:
        """Delete runs that ended before a time, and the oldest runs beyond a size. Return their
        ids."""
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
        """Mark the row of a restored run as stale, so that `forget` deletes it.

        This method does not wait for the disk.
        """
        self._doomed[run] = None

    def forget(self, run: str) -> None:
        """Delete the row of a run that `doom` marked.

        If the run was archived again after `doom`, its new row is kept.
        """
        with self._writing() as db:
            if self._doomed.pop(run, self) is None:
                self._delete(db, [run])

    # -- out ---------------------------------------------------------------------------------------
    def chunks(self, run: str) -> list[bytes]:
        """Return the chunks of a run, in the format of a snapshot, or [] if the run is not here.

        Raises EnvironmentFault if the run is damaged.
        """
        unpack = zstandard.ZstdDecompressor().decompress
        try:
            with self._lock:
                found = [data for (data,) in self._db.execute("SELECT data FROM chunks WHERE run = ? ORDER BY number", (run,))]
            return [unpack(chunk) for chunk in found]
        except (sqlite3.DatabaseError, zstandard.ZstdError) as error:
            how = "stop the master, put history.sqlite back from a backup or move it away, and start again: it is then rebuilt"
            raise EnvironmentFault(f"run {run} in the history {self.path} is damaged ({error}): {how}") from error

    def load(self, run: str) -> State | None:
        """Return a state with only this run, its jobs and the names of workers.

        Returns None if the run is not here.
        """
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
        """Return the requested runs, the newest first."""
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
        """Return the runs with jobs in the dead letter queue, the newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT id FROM runs WHERE dead > 0" + (" AND id = ?" if run else "") + " ORDER BY id DESC", (run,) if run else ()
            ).fetchall()
        return (name for (name,) in rows)

    def dags(self, runs: Sequence[str]) -> dict[str, str]:
        """Return the DAG of those of at most 1000 `runs` that are in the history."""
        with self._lock:
            rows = self._db.execute(f"SELECT id, dag FROM runs WHERE id IN ({', '.join('?' * len(runs))})", tuple(runs)).fetchall()
        return dict(rows)

    def there(self, runs: Iterable[str]) -> set[str]:
        """Return those of `runs` that are in the history. Raises EnvironmentFault."""
        with self._lock:
            try:
                known = {run for (run,) in self._db.execute("SELECT id FROM runs")}
            except sqlite3.Error as error:
                raise EnvironmentFault(f"the history {self.path} could not be read: {error}") from error
        return known.intersection(runs)

    def references(self) -> set[str]:
        """Return the hashes of all content that runs refer to. Call `find_references` before."""
        with self._lock:
            return {hash_ for (hash_,) in self._db.execute("SELECT DISTINCT hash FROM files")}

    def find_references(self) -> int:
        """Record the references of runs that an older Titan wrote. Return the number of these runs.

        Raises EnvironmentFault if a run is damaged, because its references are then unknown.
        """
        with self._lock:
            unread = [run for (run,) in self._db.execute("SELECT id FROM runs WHERE referenced = 0")]
        for run in unread:
            state = self.load(run)
            found = of_run(state, state.runs[run]) if state is not None else set()
            with self._writing() as db:
                # no row is updated if the run was deleted meanwhile
                if db.execute("UPDATE runs SET referenced = 1 WHERE id = ?", (run,)).rowcount:
                    db.executemany("INSERT OR IGNORE INTO files VALUES (?, ?)", ((run, hash_) for hash_ in found))
        return len(unread)

    def size(self) -> tuple[int, int, int]:
        """Return (runs, jobs, bytes including the output of the jobs)."""
        total = "SELECT COUNT(*), COALESCE(SUM(jobs), 0), COALESCE(SUM(bytes), 0) FROM runs"
        with self._lock:
            runs, jobs, size = self._db.execute(total).fetchone()
        return runs, jobs, size

    # -- private -----------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Run the body as a transaction.

        If the disk fails, nothing is written and EnvironmentFault is raised.
        """
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
    """Return the open database, and whether it was empty.

    Raises sqlite3.DatabaseError if the check finds damage.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > 3:
            raise EnvironmentFault(f"the history {path} is of a later Titan (format {version}): start that version")
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
    """Return whether an operational error means damage. SQLite reports a truncated file as an
    operational error."""
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or (
        error.sqlite_errorcode == sqlite3.SQLITE_IOERR_SHORT_READ
    )
