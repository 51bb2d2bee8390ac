"""Reuse of results: a queued job with caching completes at once if the result of its key is kept.

The key is computed when the job is queued, because all its inputs are known then. It is computed
again when the job has completed. If it changed meanwhile, because a secret was set anew, the result
is not kept. Equal jobs that are queued before the first of them completes all run.

The result of a job that added jobs to its run is not kept: a job that reuses it would not add them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from titan.core.events import events as ev
from titan.core.handlers.cancel import dismiss
from titan.core.handlers.files import files_for
from titan.core.handlers.ready import unlock
from titan.core.state.result_cache import CachedResult
from titan.core.state.state import Job, State
from titan.core.turn import Turn
from titan.model.caching import KeyFacts, cache_key
from titan.model.states import JobState

MEMORY_BYTES = 64 << 20
"""Maximum estimated size of the kept results in the master's memory."""


def key_of(state: State, job: Job) -> str:
    """Return the cache key of a job whose inputs are known."""
    names = job.template.secrets
    secrets = [(name, *state.secret_versions.get(name, (0, 0.0))) for name in names]
    values = [(parent.name, parent.value) for number in job.parents if (parent := state.jobs[number])]
    return cache_key(job.template, KeyFacts(job.name, job.args, job.payload, files_for(state, job), values, secrets))


def reuse(turn: Turn, queued: Iterable[int]) -> None:
    """Complete the queued jobs whose results are kept, and make their dependents ready."""
    state = turn.state
    jobs = [n for n in queued if state.jobs[n].template.cache is not None and state.jobs[n].state is JobState.QUEUED]
    if not jobs:
        return
    keys = {number: key_of(state, state.jobs[number]) for number in jobs}
    hits: list[int] = []
    sources: list[str] = []
    for number, key in keys.items():
        result = _usable(turn, state.jobs[number], key)
        if result is not None:
            hits.append(number)
            sources.append(result.source)
    missed = [number for number in jobs if number not in set(hits)] if hits else jobs
    if missed:
        turn.emit(ev.CacheMissed(missed, [keys[number] for number in missed], turn.now))
    if not hits:
        return
    turn.emit(ev.JobsReused(hits, [keys[number] for number in hits], sources, turn.now))
    turn.runs.update((state.jobs[number].run.id, state.jobs[number].run) for number in hits)
    dismiss(turn, unlock(turn, hits))


def _usable(turn: Turn, job: Job, key: str) -> CachedResult | None:
    cache, result = job.template.cache, turn.state.result_cache.results.get(key)
    if cache is None or job.run.fresh or result is None or _is_old(turn, result):
        return None
    return None if cache.max_age_s and result.made_at + cache.max_age_s <= turn.now else result


def _is_old(turn: Turn, result: CachedResult) -> bool:
    return result.used_at + turn.state.settings.cache_s <= turn.now


def keep_results(turn: Turn, completed: Sequence[int]) -> None:
    """Keep the results of COMPLETED jobs with caching."""
    state = turn.state
    jobs = [number for number in completed if state.jobs[number].template.cache is not None and _may_be_kept(state, number)]
    if jobs:
        keys = [extra.cache_key for number in jobs if (extra := state.jobs[number].extra) is not None]
        turn.emit(ev.ResultsCached(jobs, keys, turn.now))


def _may_be_kept(state: State, number: int) -> bool:
    job = state.jobs[number]
    if job.extra is None or job.lost or any(growth.by == number for growth in job.run.grown):
        return False
    return job.extra.cache_key == key_of(state, job)


def drop_old_results(turn: Turn) -> None:
    """Drop the results that exceed the limits of the settings, the longest unused first."""
    cache, settings = turn.state.result_cache, turn.state.settings
    if not cache.results:
        return
    count, content, memory = len(cache.results), cache.content, cache.memory
    dropped: list[str] = []
    for key, result in cache.results.items():
        full = count > settings.cache_results or content > settings.cache_bytes or memory > MEMORY_BYTES
        if not full and not _is_old(turn, result):
            break
        dropped.append(key)
        count, content, memory = count - 1, content - result.content, memory - result.memory
    if dropped:
        turn.emit(ev.CacheDropped(dropped, turn.now))
