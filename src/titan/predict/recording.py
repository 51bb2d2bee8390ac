"""Measurements from ended runs: the duration of each job alone, and the overheads between jobs.

A job that shared the CPUs of its machine with too many others took longer than it needs. The
recorded duration is corrected for this. The correction uses the load of the machine during the job,
which follows from the CPU times of all its jobs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from statistics import median

import msgspec

from titan.predict.plan import JobDuration, Overheads

BUSY, FULL = 0.65, 0.95
"""Loads of a machine, as shares of its CPUs.

Below BUSY no job waited for a CPU, above FULL every job did, and between them some jobs did.
"""
MAX_SAMPLES = 100_000


class Host(msgspec.Struct, frozen=True):
    """The machine of a worker. `cpus` 0: unknown."""

    name: str = ""
    cpus: float = 0.0
    slots: int = 1


class Row(msgspec.Struct, frozen=True, gc=False):
    """A job that COMPLETED. Times in seconds since the epoch."""

    id: str
    worker: str
    started: float
    finished: float
    cpu_s: float
    attempts: int = 1


class Recording(msgspec.Struct):
    """The measurements of an ended run."""

    submitted_at: float
    rows: list[Row]
    hosts: Mapping[str, Host] = {}
    """Name of the worker -> its machine."""


def recorded_durations(recordings: Iterable[Recording]) -> dict[str, JobDuration]:
    """Return the median duration over the recordings, by job id.

    Each failed attempt is assumed to have taken as long as the last attempt.
    """
    found: dict[str, list[tuple[float, float, int]]] = {}
    for recording in recordings:
        for row, seconds in zip(recording.rows, _own_seconds(recording), strict=True):
            found.setdefault(row.id, []).append((seconds, row.cpu_s, row.attempts))
    durations = {}
    for name, samples in found.items():
        seconds, cpu_s, attempts = (median(column) for column in zip(*samples, strict=True))
        durations[name] = JobDuration((seconds,) * max(1, round(attempts)), min(cpu_s, seconds * 1024))
    return durations


def overheads_of(recordings: Iterable[Recording], parents: Mapping[str, Sequence[str]]) -> Overheads:
    """Return the median of each overhead, or the default if the recordings do not show it.

    `parents` maps the id of each job that starts without a delay to the ids of its parents.
    """
    begins: list[float] = []
    links: list[float] = []
    turns: list[float] = []
    for recording in recordings:
        if recording.rows:
            begins.append(min(row.started for row in recording.rows) - recording.submitted_at)
        if len(links) + len(turns) < MAX_SAMPLES:
            _gaps(recording, parents, links, turns)
    default = Overheads()
    return Overheads(
        begin_s=max(0.0, median(begins)) if begins else default.begin_s,
        link_s=max(0.0, median(links)) if links else default.link_s,
        turn_s=max(0.0, median(turns)) if turns else default.turn_s,
    )


def _gaps(recording: Recording, parents: Mapping[str, Sequence[str]], links: list[float], turns: list[float]) -> None:
    """Append the gap before each job that started without a delay to `links` or `turns`.

    The gap begins when the parent or slot that the job waited for last became available.
    """
    ends = {row.id: row.finished for row in recording.rows}
    busy: dict[str, list[float]] = {}
    free: dict[str, list[float]] = {}
    """By worker: `busy` has the ends of the running attempts. `free` has, for each free slot, the
    time since which the slot is free; 0 for a slot that was never used."""
    for row in sorted(recording.rows, key=lambda row: row.started):
        running = busy.setdefault(row.worker, [])
        slots = free.setdefault(row.worker, [0.0] * recording.hosts.get(row.worker, Host()).slots)
        while running and running[0] <= row.started:
            slots.append(heappop(running))
        heappush(running, row.finished)
        needed = parents.get(row.id)
        known = [ends[p] for p in needed or () if p in ends]
        ready = max(known, default=recording.submitted_at)
        idle = max((at for at in slots if at <= ready), default=None)
        freed = min(slots, default=None) if idle is None else None
        for taken in (idle, freed):
            if taken is not None:
                slots.remove(taken)
        if needed is None or len(known) < len(needed):
            continue  # the job was delayed or added later, or one of its parents did not run
        if freed is not None:
            turns.append(row.started - freed)
        elif idle is not None and known and row.started > ready:
            links.append(row.started - ready)


def _own_seconds(recording: Recording) -> list[float]:
    """Return the duration of each job as if it had a CPU of its own."""
    by_host: dict[str, list[int]] = {}
    for i, row in enumerate(recording.rows):
        by_host.setdefault(recording.hosts.get(row.worker, Host()).name, []).append(i)
    own = [max(0.0, row.finished - row.started) for row in recording.rows]
    for members in by_host.values():
        cpus = recording.hosts.get(recording.rows[members[0]].worker, Host()).cpus
        if cpus:
            _correct_for_load(recording.rows, members, own, cpus)
    return own


def _correct_for_load(rows: list[Row], members: list[int], own: list[float], cpus: float) -> None:
    """Subtract from the durations `own` the time for which the jobs `members` waited for a CPU."""
    changes: list[tuple[float, float, int]] = []
    for i in members:
        rate = rows[i].cpu_s / own[i] if own[i] else 0.0
        changes += [(rows[i].started, rate, 1), (rows[i].finished, -rate, -1)]
    changes.sort()
    times = [at for at, _, _ in changes]
    loads = list(accumulate(rate for _, rate, _ in changes))
    counts = list(accumulate(n for _, _, n in changes))
    spans = [later - at for at, later in zip(times, [*times[1:], times[-1]], strict=True)]
    load_until = [0.0, *accumulate(load * span for load, span in zip(loads, spans, strict=True))]
    count_until = [0.0, *accumulate(count * span for count, span in zip(counts, spans, strict=True))]

    def integral(sums: list[float], rates: Sequence[float], at: float) -> float:
        """Return the integral of `rates` up to the time `at`."""
        i = bisect_right(times, at) - 1
        return sums[i] + rates[i] * (at - times[i])

    for i in members:
        row, seconds = rows[i], own[i]
        if not seconds:
            continue
        load = (integral(load_until, loads, row.finished) - integral(load_until, loads, row.started)) / seconds
        count = (integral(count_until, counts, row.finished) - integral(count_until, counts, row.started)) / seconds
        if count > cpus:
            waited = min(1.0, max(0.0, (load / cpus - BUSY) / (FULL - BUSY)))
            alone = max(min(row.cpu_s, seconds), seconds * min(load, cpus) / count)
            own[i] = seconds + waited * (alone - seconds)
