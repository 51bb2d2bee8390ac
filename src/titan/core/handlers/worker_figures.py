"""What a worker says of time and of amounts, as far as that can be: what it cannot be is brought to
the nearest that it can.

A worker's clock may be wrong and its word may be a lie. An attempt was started after it was
dispatched, ended after it was started, and all of that was before the master heard of it. So
nothing that a worker says moves a time of the cluster.
"""

from __future__ import annotations

from msgspec.structs import replace

from titan.core.inputs import ResultsReported
from titan.core.state.state import Job
from titan.model.dag import MAX_MEMORY, MAX_SECONDS

MAX_CPU_S = 1e10
"""CPU time of an attempt: 65,536 CPUs for two days."""
_SOME = 1e-9
"""The least time of something reported as having happened; 0 means that it has not."""


def started_within(job: Job, at: float, now: float) -> float:
    """When the current attempt of a job started: after it was dispatched (or reported as started)
    and not later than now."""
    return max(min(max(at, job.since), now), _SOME)


def passed_within(job: Job, at: float, now: float) -> float:
    """A time in the current attempt of a job that is over; 0 for none."""
    return max(min(max(at, job.started_at), now), _SOME) if at else 0.0


def due_within(at: float, now: float) -> float:
    """A time that is to come; 0 for none."""
    return max(min(max(at, now - MAX_SECONDS), now + MAX_SECONDS), _SOME) if at else 0.0


def made_possible(jobs: dict[int, Job], received: ResultsReported, rows: dict[int, int], now: float) -> ResultsReported:
    """The same results with times and amounts that may be. `rows`: position -> number of the job."""
    started, finished, cpu_s, peak_bytes = (
        list(received.started),
        list(received.finished),
        list(received.cpu_s),
        list(received.peak_bytes),
    )
    # written out: of a worker whose clock is a little ahead, all rows come this way
    for i, number in rows.items():
        since, began, ended = jobs[number].since, started[i], finished[i]
        if began:  # else it never started
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
