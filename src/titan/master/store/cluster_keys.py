"""Cluster state as keys of TitanStore, for any Redis client. Each read computes its values from the
state.

    titan:run:RUN        hash
    titan:job:RUN/JOB    hash
    titan:worker:NAME    hash
    titan:workers        hash of NAME to the state of the worker
    titan:queue:TAG      list of RUN/JOB, the next job first; at most 10,000
    titan:dlq            hash of RUN/JOB to the reason why the job is DEAD
    titan:events         stream of events since this master started, the last 10,000

Other keys below the prefix are ordinary keys, which programs of the Titan SDK use. Archived runs
are not included. SCAN and KEYS omit the jobs of runs with more than 10,000 jobs. The keys of these
jobs can still be read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from heapq import merge
from itertools import islice
from operator import attrgetter
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

import msgspec

from titan.core.events import events as ev
from titan.core.state.state import Job, Run, State
from titan.errors import TitanError
from titan.master import views
from titan.model.states import JobState, RunState
from titan.protocol import messages as msg
from titan.scheduling.lane import Lane, sort_key
from titan.store.stream_log import Stream
from titan.store.values import Value

PREFIX = b"titan:"
EVENTS_KEY = b"titan:events"
QUEUED = 10_000
LISTED = 10_000
EVENTS = 10_000
"""Maximum number of entries of titan:events, and of entries that are still to be made."""


_HIDDEN = (*ev.VOLATILE, ev.StoreChanged)


_FAMILIES = (b"run:", b"job:", b"worker:", b"queue:")
_SINGLES = (b"workers", b"dlq", b"events")


class ClusterKeys:
    """Mount of keys that are computed at each read (see `titan.store.keyspace`)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.events = EventStream(state)

    def owns(self, key: bytes) -> bool:
        name = key[len(PREFIX) :]
        return name.startswith(_FAMILIES) or name in _SINGLES

    def find(self, key: bytes) -> Value | None:
        kind, _, name = key[len(PREFIX) :].decode("utf-8", "replace").partition(":")
        state = self._state
        match kind:
            case "run" if name in state.runs:
                return _run(state.runs[name])
            case "job":
                return self._job(name)
            case "worker":
                return _worker(state, name)
            case "queue":
                return deque(self._queue(name)) or None
            case "workers" if not name:
                return {row.name.encode(): row.state.encode() for row in views.workers(state, msg.ListWorkers(0)).workers} or None
            case "dlq" if not name:
                return {_name(state.jobs[j]): state.jobs[j].reason.encode() for j in state.dead} or None
            case "events" if not name:
                return self.events.stream()
        return None

    def keys(self) -> Iterable[bytes]:
        state = self._state
        for name in _SINGLES:
            key = PREFIX + name
            if self.find(key) is not None:
                yield key
        for worker in state.workers.values():
            yield b"titan:worker:%b" % worker.name.encode()
        for tag in self._tags():
            yield b"titan:queue:%b" % tag.encode()
        for run in state.runs.values():
            if run.state is not RunState.OPENING:
                yield b"titan:run:%b" % run.id.encode()
                for number in run.numbers() if run.count <= LISTED else ():
                    yield b"titan:job:%b" % _name(state.jobs[number])

    def _job(self, name: str) -> Value | None:
        run_id, _, job_name = name.partition("/")
        try:
            run = views.find_run(self._state, run_id)
            job = self._state.jobs[views.find_job(self._state, run, job_name)]
        except TitanError:
            return None
        row = views.job_row(self._state, job)
        return _hash(
            {
                **{field: getattr(row, field) for field in row.__struct_fields__ if field not in ("id", "state")},
                "run": run.id,
                "job": job.name,
                "state": job.state.name,
                "dag": run.name,
                "requirement": job.template.requirement,
                "priority": job.template.priority,
            }
        )

    def _lanes(self) -> list[Lane]:
        return [lane for lane in (*self._state.lanes.values(), *self._state.pinned.values()) if lane.count]

    def _tags(self) -> list[str]:
        jobs = self._state.jobs
        return list(dict.fromkeys(jobs[j].template.requirement for lane in self._lanes() for j in lane.first(1)))

    def _queue(self, tag: str) -> Iterator[bytes]:
        """Return the jobs that wait for a slot of a capability, the next job first."""
        jobs = self._state.jobs
        rows: list[list[tuple[int, int]]] = []
        for lane in self._lanes():
            first = lane.first(QUEUED)
            rows.append([(sort_key(jobs[j].template.priority, j), j) for j in first if jobs[j].template.requirement == tag])
        return (_name(jobs[j]) for _, j in islice(merge(*rows), QUEUED))


class EventStream:
    """Stream titan:events. Events become entries of the stream when a client reads it.

    Until then, events about jobs are kept unchanged, which costs no work per job. Other events may
    hold whole DAGs, so only their plain fields are kept.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._fresh: deque[tuple[int, ev.Event | _Noted, int]] = deque()
        """(time, event, number of its entries) of each event that is not in the stream yet."""
        self._waiting = 0
        """Number of entries that the events in `_fresh` will become."""
        self._stream = Stream()

    def note(self, now_ms: int, events: list[ev.Event]) -> None:
        for event in events:
            if type(event) in _HIDDEN:
                continue
            numbers = getattr(event, "jobs", None)
            if isinstance(numbers, list):
                self._fresh.append((now_ms, event, len(numbers)))
                self._waiting += len(numbers)
            else:
                self._fresh.append((now_ms, _noted(self._state, event), 1))
                self._waiting += 1
        while self._fresh and self._waiting - self._fresh[0][2] >= EVENTS:
            self._waiting -= self._fresh.popleft()[2]

    @property
    def has_news(self) -> bool:
        return bool(self._fresh)

    def stream(self) -> Stream | None:
        stream = self._stream
        self._waiting = 0
        while self._fresh:
            now_ms, event, _ = self._fresh.popleft()
            for fields in (_fields(_kind(event.kind), _facts(event)),) if isinstance(event, _Noted) else self._entries(event):
                stream.append(max(stream.last + 1, now_ms << 64), fields)
        for entry in stream.excess(EVENTS, None, None):
            stream.delete(entry)
        return stream if stream.added else None

    def _entries(self, event: ev.Event) -> Iterator[tuple[bytes, ...]]:
        """Yield an entry for each of the event's last EVENTS jobs.

        Jobs that have left the state since the event are skipped.
        """
        numbers: list[int] = event.jobs  # type: ignore[union-attr]
        kind, plain = _kind(type(event)), _facts(_noted(self._state, event))
        columns = {
            name: column
            for name in event.__struct_fields__
            if name != "jobs" and isinstance(column := getattr(event, name), list) and len(column) == len(numbers)
        }
        for i in range(max(0, len(numbers) - EVENTS), len(numbers)):
            job = self._state.jobs.get(numbers[i])
            if job is not None:
                mine = {name: column[i] for name, column in columns.items() if isinstance(column[i], (str, int, float))}
                yield _fields(kind, {"run": job.run.id, "job": job.name, **plain, **mine})


class _Noted(NamedTuple):
    """Fields of an event whose types permit plain values (texts, numbers).

    The values themselves are checked when a client reads.
    """

    kind: type[ev.Event]
    values: tuple[Any, ...]
    worker: str | None
    """Name of the event's worker, or None. It is kept here because the worker may be forgotten."""


def _noted(state: State, event: ev.Event) -> _Noted:
    worker = getattr(event, "worker", None)
    return _Noted(type(event), _plain_of(type(event))[1](event), state.worker_name(worker) if isinstance(worker, int) else None)


def _facts(noted: _Noted) -> dict[str, Any]:
    names = _plain_of(noted.kind)[0]
    facts = {name: value for name, value in zip(names, noted.values, strict=True) if isinstance(value, (str, int, float))}
    return facts if noted.worker is None else {**facts, "worker": noted.worker}


def _kind(kind: type[ev.Event]) -> bytes:
    return str(kind.__struct_config__.tag).encode()


@cache
def _plain_of(kind: type[ev.Event]) -> tuple[tuple[str, ...], Callable[[ev.Event], tuple[Any, ...]]]:
    """Return the names of an event's possibly plain fields, and a function that reads them."""
    names = tuple(field.name for field in msgspec.structs.fields(kind) if _may_be_plain(field.type))
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda event: tuple(getattr(event, name) for name in names)


def _may_be_plain(kind: Any) -> bool:
    if get_origin(kind) in (Union, UnionType):
        return any(map(_may_be_plain, get_args(kind)))
    return isinstance(kind, type) and issubclass(kind, (str, int, float))


def _fields(kind: bytes, facts: dict[str, Any]) -> tuple[bytes, ...]:
    return (b"event", kind, *(part for name, value in facts.items() for part in (name.encode(), _text(value))))


def _run(run: Run) -> Value | None:
    if run.state is RunState.OPENING:
        return None
    tally = {state.name.lower(): run.tally[state] for state in JobState if run.tally[state]}
    return _hash(
        {
            "run": run.id,
            "dag": run.name,
            "version": run.version,
            "state": run.state.name,
            "jobs": run.count,
            "submitted_at": run.submitted_at,
            "finished_at": run.finished_at,
            **tally,
        }
    )


def _worker(state: State, name: str) -> Value | None:
    number = state.worker_numbers.get(name)
    if number is None:
        return None
    row = next(row for row in views.workers(state, msg.ListWorkers(0)).workers if row.name == name)
    return _hash(
        {
            "name": row.name,
            "state": row.state,
            "capabilities": " ".join(row.capabilities),
            "slots": row.slots,
            "held": row.held,
            "heard_at": row.heard_at,
            **row.facts,
        }
    )


def _name(job: Job) -> bytes:
    return f"{job.run.id}/{job.name}".encode()


def _hash(facts: dict[str, Any]) -> dict[bytes, bytes]:
    return {name.encode(): _text(value) for name, value in facts.items()}


def _text(value: Any) -> bytes:
    if isinstance(value, float):
        return b"%.3f" % value
    if isinstance(value, bool):
        return b"1" if value else b"0"
    return str(value).encode()
