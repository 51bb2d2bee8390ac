"""What runs that are over tell of the next one: how long each job takes by itself, and what lies
between two jobs.

A job that shared its machine's CPUs with too many others took longer than it needs; that is taken
out as well as a recording lets one: by how full the machine was meanwhile, as the jobs' own CPU
time says.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from statistics import median

import msgspec

from titan.predict.plan import Overheads, Takes

BUSY, FULL = 0.65, 0.95
"""Shares of a machine's CPUs: below the first nobody waited for one, above the second everybody
did, between them in part."""
MAX_SAMPLES = 100_000


class Host(msgspec.Struct, frozen=True):
    """Of a worker. `cpus` 0: not known."""

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
    """A run that is over."""

    submitted_at: float
    rows: list[Row]
    hosts: Mapping[str, Host] = {}
    """By worker."""


def takes_of(recordings: Iterable[Recording]) -> dict[str, Takes]:
    """By job id, the median over the recordings. Failed attempts are taken to have been as long as
    the last."""
    found: dict[str, list[tuple[float, float, int]]] = {}
    for recording in recordings:
        for row, seconds in zip(recording.rows, _own_seconds(recording), strict=True):
            found.setdefault(row.id, []).append((seconds, row.cpu_s, row.attempts))
    takes = {}
    for name, samples in found.items():
        seconds, cpu_s, attempts = (median(column) for column in zip(*samples, strict=True))
        takes[name] = Takes((seconds,) * max(1, round(attempts)), min(cpu_s, seconds * 1024))
    return takes


def overheads_of(recordings: Iterable[Recording], parents: Mapping[str, Sequence[str]]) -> Overheads:
    """The medians of what was recorded; what was not is as `Overheads` says.

    `parents` by job id, of those that begin as soon as they can.
    """
    begins: list[float] = []
    links: list[float] = []
    turns: list[float] = []
    for recording in recordings:
        if recording.rows:
            begins.append(min(row.started for row in recording.rows) - recording.submitted_at)
        if len(links) + len(turns) < MAX_SAMPLES:
            _gaps(recording, parents, links, turns)
    usual = Overheads()
    return Overheads(
        begin_s=max(0.0, median(begins)) if begins else usual.begin_s,
        link_s=max(0.0, median(links)) if links else usual.link_s,
        turn_s=max(0.0, median(turns)) if turns else usual.turn_s,
    )


def _gaps(recording: Recording, parents: Mapping[str, Sequence[str]], links: list[float], turns: list[float]) -> None:
    """Before each job that began as soon as it could: from what it waited for last, a parent or a
    slot, to its start."""
    ends = {row.id: row.finished for row in recording.rows}
    busy: dict[str, list[float]] = {}
    free: dict[str, list[float]] = {}
    """By worker: when the attempts that ran end, and when the slots that are free fell free; 0:
    they never had one."""
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
            continue  # it is delayed, was added while the run ran, or a parent of it did not run
        if freed is not None:
            turns.append(row.started - freed)
        elif idle is not None and known and row.started > ready:
            links.append(row.started - ready)


def _own_seconds(recording: Recording) -> list[float]:
    """How long each job would have taken with a CPU of its own."""
    by_host: dict[str, list[int]] = {}
    for i, row in enumerate(recording.rows):
        by_host.setdefault(recording.hosts.get(row.worker, Host()).name, []).append(i)
    own = [max(0.0, row.finished - row.started) for row in recording.rows]
    for members in by_host.values():
        cpus = recording.hosts.get(recording.rows[members[0]].worker, Host()).cpus
        if cpus:
            _relieve(recording.rows, members, own, cpus)
    return own


def _relieve(rows: list[Row], members: list[int], own: list[float], cpus: float) -> None:
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

    def through(sums: list[float], rates: Sequence[float], at: float) -> float:
        i = bisect_right(times, at) - 1
        return sums[i] + rates[i] * (at - times[i])

    for i in members:
        row, seconds = rows[i], own[i]
        if not seconds:
            continue
        load = (through(load_until, loads, row.finished) - through(load_until, loads, row.started)) / seconds
        count = (through(count_until, counts, row.finished) - through(count_until, counts, row.started)) / seconds
        if count > cpus:
            waited = min(1.0, max(0.0, (load / cpus - BUSY) / (FULL - BUSY)))
            alone = max(min(row.cpu_s, seconds), seconds * min(load, cpus) / count)
            own[i] = seconds + waited * (alone - seconds)
