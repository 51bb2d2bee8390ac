"""The state as a snapshot: chunks of bytes that replace all earlier records of the journal.

The templates of a run are written once, and its jobs in columns. Each chunk holds a bounded number
of jobs, so neither writing nor reading needs a second copy of the state in memory. A snapshot does
not contain derived indexes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from titan.core.events.records import chunks
from titan.core.state.burst_worker import Burst
from titan.core.state.result_cache import CachedResult
from titan.core.state.service import ServiceState
from titan.core.state.state import Extra, Job, Past, Run, SavedPipeline, Schedule, State, Worker
from titan.errors import JournalCorrupt
from titan.model.causes import Cause, cause_of_old, is_release_of_old
from titan.model.files import Published
from titan.model.settings import LoggedSettings
from titan.model.states import JobState, Outcome
from titan.model.timing import MAX_TIME

T = TypeVar("T")
CHUNK_JOBS = 20_000
CHUNK_COMMANDS = 1_000
CHUNK_RESULTS = 1_000
CHUNK_BYTES = 16 << 20
"""Approximate maximum size of a chunk of store commands. A single command that is larger makes one
chunk."""
FORMAT = 1


class Head(msgspec.Struct, array_like=True, tag="head"):
    format: int
    cluster: str
    term: int
    next_job: int
    next_lease: int
    workers: list[Worker]
    archived: dict[str, tuple[str, int]] = {}
    next_worker: int = 0
    bursts: list[Burst] = []
    forgotten: dict[int, str] = {}
    published: dict[str, list[Published]] = {}
    draws: dict[int, str] = {}
    heard_term: int = 0
    notices: list[tuple[float, str]] = []
    decided_at: float = 0.0
    settings: LoggedSettings | None = None
    secret_versions: dict[str, tuple[int, float]] = {}


class ScheduleChunk(msgspec.Struct, array_like=True, tag="schedule"):
    schedule: Schedule


class SavedChunk(msgspec.Struct, array_like=True, tag="saved"):
    pipeline: SavedPipeline


class StoreChunk(msgspec.Struct, array_like=True, tag="store"):
    """Commands that restore a part of TitanStore's data, each with its database."""

    databases: list[int]
    commands: list[list[bytes]]


class CacheChunk(msgspec.Struct, array_like=True, tag="cache"):
    """Results that are kept for jobs with caching, the longest unused first."""

    keys: list[str]
    results: list[CachedResult]


class RunChunk(msgspec.Struct, array_like=True, tag="run"):
    run: Run


class JobChunk(msgspec.Struct, array_like=True, tag="jobs"):
    """Consecutive jobs of the run whose RunChunk came last, in columns. The first job has the
    number `first`."""

    first: int
    names: list[str]
    templates: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    missing: list[int]
    states: list[JobState]
    children: list[list[int] | None]
    since: list[float]
    due: list[float]
    attempts: list[int]
    failures: list[int]
    losses: list[int]
    workers: list[int]
    leases: list[int]
    pins: list[int]
    started: list[float]
    finished: list[float]
    outcomes: list[Outcome]
    exit_codes: list[int]
    cpu_s: list[float]
    peak_bytes: list[int]
    reasons: list[str]
    histories: list[list[Past] | None]
    payloads: list[bytes] = []
    values: list[bytes] = []
    extras: dict[int, Extra] = {}
    """Position in the columns -> extra fields of the job there."""
    services: list[ServiceState | None] = []
    causes: list[Cause] = []
    """Causes of cancellation. Empty if no job is CANCELLED, and in snapshots of older Titan
    versions."""
    queued: list[float] = []
    sent: list[float] = []
    """Times of each job's newest attempt. Empty in snapshots of older Titan versions."""


_encode = msgspec.msgpack.Encoder().encode
Chunk = Head | ScheduleChunk | SavedChunk | RunChunk | JobChunk | StoreChunk | CacheChunk
_decoder = msgspec.msgpack.Decoder(Chunk)


def dump(state: State) -> Iterator[bytes]:
    workers = list(state.workers.values())
    head = Head(FORMAT, state.cluster, state.term, state.next_job, state.next_lease, workers, state.archived)
    head.next_worker, head.bursts, head.forgotten = state.next_worker, list(state.bursts.values()), state.forgotten
    head.published = state.published
    head.draws, head.heard_term, head.notices = state.draws, state.heard_term, state.notices
    head.decided_at, head.settings, head.secret_versions = state.decided_at, state.logged, state.secret_versions
    yield _encode(head)
    for schedule in state.schedules.values():
        yield _encode(ScheduleChunk(schedule))
    for pipeline in state.saved.values():
        yield _encode(SavedChunk(pipeline))
    for part in chunks(state.store.rewrite(), CHUNK_COMMANDS, CHUNK_BYTES):
        yield _encode(StoreChunk([db for db, _ in part], [args for _, args in part]))
    results = iter(state.result_cache.results.items())
    while chunk := list(islice(results, CHUNK_RESULTS)):
        yield _encode(CacheChunk([key for key, _ in chunk], [result for _, result in chunk]))
    for run in state.runs.values():
        yield from dump_run(state, run, CHUNK_JOBS)


def dump_run(state: State, run: Run, chunk_jobs: int) -> Iterator[bytes]:
    """Yield the chunks of one run with its jobs, for `load`.

    `load` accepts these chunks without the rest of a snapshot. The jobs then refer to workers by
    numbers of the state that was dumped.
    """
    yield _encode(RunChunk(run))
    index = {id(t): i for i, t in enumerate(run.templates)}
    for part in run.ranges(0, run.count if run.added < 0 else run.added):
        for first in range(part.start, part.stop, chunk_jobs):
            jobs = [state.jobs[j] for j in range(first, min(first + chunk_jobs, part.stop))]
            yield _encode(_columns(first, jobs, index))


def load(state: State, chunks: Iterable[bytes]) -> None:
    """Load the chunks of a snapshot into an empty state. Raises JournalCorrupt for an unknown
    format.

    The caller then applies the rest of the log and calls `reindex`.
    """
    run: Run | None = None
    is_timeless = False
    for chunk in chunks:
        part = _decoder.decode(chunk)
        if isinstance(part, Head):
            is_timeless = not part.decided_at
            if part.format != FORMAT:
                raise JournalCorrupt(
                    f"the snapshot has format {part.format}, but this Titan reads only format {FORMAT}: "
                    "start the Titan version that wrote it"
                )
            state.cluster, state.term = part.cluster, part.term
            state.next_job, state.next_lease = part.next_job, part.next_lease
            state.workers = {w.number: w for w in part.workers}
            state.archived = part.archived
            state.next_worker = part.next_worker or 1 + max(state.workers, default=0)
            state.bursts, state.forgotten = {b.name: b for b in part.bursts}, part.forgotten
            state.published = part.published
            state.draws, state.heard_term, state.notices = part.draws, part.heard_term, part.notices
            state.decided_at, state.logged = part.decided_at, part.settings
            state.in_force = part.settings or state.in_force
            state.secret_versions = part.secret_versions
        elif isinstance(part, ScheduleChunk):
            state.schedules[part.schedule.name] = part.schedule
        elif isinstance(part, SavedChunk):
            state.saved[part.pipeline.name] = part.pipeline
        elif isinstance(part, StoreChunk):
            for db, args in zip(part.databases, part.commands, strict=True):
                state.store.replay(db, args)
        elif isinstance(part, CacheChunk):
            for key, result in zip(part.keys, part.results, strict=True):
                state.result_cache.put(key, result)
        elif isinstance(part, RunChunk):
            run = state.runs[part.run.id] = part.run
            run.tally += [0] * (len(JobState) - len(run.tally))  # an older Titan has fewer states
        else:
            assert run is not None
            _restore(state, run, part)
    if is_timeless:
        state.decided_at = _latest_time(state)


def _columns(first: int, jobs: list[Job], index: dict[int, int]) -> JobChunk:
    return JobChunk(
        first,
        [j.name for j in jobs],
        [index[id(j.template)] for j in jobs],
        [j.args for j in jobs],
        [j.parents for j in jobs],
        [j.missing for j in jobs],
        [j.state for j in jobs],
        [j.children for j in jobs],
        [j.since for j in jobs],
        [j.due for j in jobs],
        [j.attempt for j in jobs],
        [j.failures for j in jobs],
        [j.losses for j in jobs],
        [j.worker for j in jobs],
        [j.lease for j in jobs],
        [j.pin for j in jobs],
        [j.started_at for j in jobs],
        [j.finished_at for j in jobs],
        [j.outcome for j in jobs],
        [j.exit_code for j in jobs],
        [j.cpu_s for j in jobs],
        [j.peak_bytes for j in jobs],
        [j.reason for j in jobs],
        [j.history for j in jobs],
        _unless_empty([j.payload for j in jobs]),
        _unless_empty([j.value for j in jobs]),
        {i: j.extra for i, j in enumerate(jobs) if j.extra is not None},
        _unless_empty([j.service for j in jobs]),
        _unless_empty([j.cause for j in jobs]),
        _unless_empty([j.queued_at for j in jobs]),
        _unless_empty([j.sent_at for j in jobs]),
    )


def _causes_of_old(c: JobChunk) -> list[Cause]:
    return [cause_of_old(why) if s is JobState.CANCELLED else Cause.NONE for s, why in zip(c.states, c.reasons, strict=True)]


def _latest_time(state: State) -> float:
    """Return the latest time in a snapshot of an older Titan. Times that workers reported, and
    times after the year 9999, are ignored."""
    times = [job.since for job in state.jobs.values() if job.state is not JobState.RUNNING]
    times += [run.submitted_at for run in state.runs.values()]
    times += [schedule.changed_at for schedule in state.schedules.values()]
    return max((at for at in times if 0.0 <= at <= MAX_TIME), default=0.0)


def _unless_empty(column: list[T]) -> list[T]:
    return column if any(column) else []


def _restore(state: State, run: Run, c: JobChunk) -> None:
    templates = [run.templates[i] for i in c.templates]
    nothing = [b""] * len(c.names)
    rows = zip(
        c.names, templates, c.args, c.parents, c.missing, c.states, c.children, c.since, c.due, c.attempts, c.failures, c.losses,
        c.workers, c.leases, c.pins, c.started, c.finished, c.outcomes, c.exit_codes, c.cpu_s, c.peak_bytes, c.reasons,
        c.causes or _causes_of_old(c), c.histories, c.payloads or nothing, c.values or nothing, c.services or [None] * len(c.names),
        strict=True,
    )  # fmt: skip
    state.jobs.update((c.first + i, Job(name, run, *rest)) for i, (name, *rest) in enumerate(rows))
    for i, extra in c.extras.items():
        state.jobs[c.first + i].extra = extra
    for i, at in enumerate(c.queued):
        state.jobs[c.first + i].queued_at = at
    for i, at in enumerate(c.sent):
        state.jobs[c.first + i].sent_at = at
    for history in filter(None, c.histories):
        history[:] = [replace(p, released=True) if is_release_of_old(p.outcome, p.reason) else p for p in history]
