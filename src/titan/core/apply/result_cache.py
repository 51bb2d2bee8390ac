"""Writers of events about reused results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from titan.core.apply.transitions import hush, move
from titan.core.events import events as ev
from titan.core.state.result_cache import CachedResult
from titan.core.state.state import NO_WORKER, Extra, State
from titan.model.states import JobState, Outcome


def _cache_missed(state: State, e: ev.CacheMissed) -> None:
    for number, key in zip(e.jobs, e.keys, strict=True):
        job = state.jobs[number]
        job.extra = job.extra or Extra()
        job.extra.cache_key = key


def _jobs_reused(state: State, e: ev.JobsReused) -> None:
    for number, key, source in zip(e.jobs, e.keys, e.sources, strict=True):
        job, result = state.jobs[number], state.result_cache.results[key]
        move(state, number, job, JobState.COMPLETED, e.at)
        job.extra = job.extra or Extra()
        job.extra.cache_key, job.extra.cached_from, job.extra.outputs = key, source, result.outputs
        job.note_lost("")
        hush(job)
        job.value = result.value
        job.outcome, job.exit_code, job.reason = Outcome.SUCCEEDED, 0, f"cached from {source}"
        job.started_at, job.finished_at, job.pin = 0.0, e.at, NO_WORKER
        job.run.reused += 1
        for child in job.children or ():
            state.jobs[child].missing -= 1
        state.result_cache.put(key, replace(result, used_at=e.at))


def _results_cached(state: State, e: ev.ResultsCached) -> None:
    for number, key in zip(e.jobs, e.keys, strict=True):
        job = state.jobs[number]
        result = CachedResult(job.run.id, job.name, job.value, job.outputs, made_at=e.at, used_at=e.at)
        state.result_cache.put(key, result)


def _cache_dropped(state: State, e: ev.CacheDropped) -> None:
    for key in e.keys:
        state.result_cache.drop(key)


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.CacheMissed: _cache_missed,
    ev.JobsReused: _jobs_reused,
    ev.ResultsCached: _results_cached,
    ev.CacheDropped: _cache_dropped,
}
