"""Times and amounts that workers report, clamped to the possible range.

A worker's clock may be wrong, and its report may be false. But an attempt starts after its
dispatch, ends after its start, and ends before the master receives the report. Clamping enforces
this order, so no report can put an impossible time into the state.
"""

from __future__ import annotations

from msgspec.structs import replace

from titan.core.inputs import ResultsReported
from titan.core.state.state import Job
from titan.model.dag import MAX_MEMORY, MAX_SECONDS

MAX_CPU_S = 1e10
"""Maximum CPU time of an attempt: 65,536 CPUs for two days."""
_SOME = 1e-9
"""Least time of something that happened, because the time 0 means that it did not happen."""


def started_within(job: Job, at: float, now: float) -> float:
    """Return the start time of a job's current attempt, clamped to between the job's last
    transition and now."""
    return max(min(max(at, job.since), now), _SOME)


def passed_within(job: Job, at: float, now: float) -> float:
    """Return a past time of a job's current attempt, clamped to between the attempt's start and
    now; 0 for none."""
    return max(min(max(at, job.started_at), now), _SOME) if at else 0.0


def due_within(at: float, now: float) -> float:
    """Return a future time, clamped to a possible range around now; 0 for none."""
    return max(min(max(at, now - MAX_SECONDS), now + MAX_SECONDS), _SOME) if at else 0.0


def made_possible(jobs: dict[int, Job], received: ResultsReported, rows: dict[int, int], now: float) -> ResultsReported:
    """Return the results with clamped times and amounts. `rows` are the rows to clamp: position in
    the columns -> job number."""
    started, finished, cpu_s, peak_bytes = (
        list(received.started),
        list(received.finished),
        list(received.cpu_s),
        list(received.peak_bytes),
    )
    # inlined for speed: if a worker's clock is a little ahead, all its rows are clamped here
    for i, number in rows.items():
        since, began, ended = jobs[number].since, started[i], finished[i]
        if began:  # else the attempt never started
            if not since <= began <= now:
                started[i] = began = started_within(jobs[number], began, now)
            since = max(since, began)
        if ended and not since <= ended <= now:
            finished[i] = now if ended > now or since > now else since
        if not 0.0 <= cpu_s[i] <= MAX_CPU_S:
            cpu_s[i] = min(max(cpu_s[i], 0.0), MAX_CPU_S)
        if not 0 <= peak_bytes[i] <= MAX_MEMORY:
            peak_bytes[i] = min(max(peak_bytes[i], 0), MAX_MEMORY)
    return replace(received, started=started, finished=finished, cpu_s=cpu_s, peak_bytes=peak_bytes)
