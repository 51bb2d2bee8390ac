"""Check of Titan's guarantees about reused results.

- A reused result is that of an earlier job which ran, and which did the same.
- Jobs that do the same have the same key, and other jobs have other keys.
- A job runs only if there is no result that it may reuse.
- A kept result is there after a restart.
"""

from __future__ import annotations

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.states import JobState
from titan.sim.oracle.files import FileOracle
from titan.sim.oracle.log import LogOracle
from titan.sim.oracle.processes import Violation
from titan.sim.oracle.records import JobFacts


class CacheOracle:
    def __init__(self, log_oracle: LogOracle, file_oracle: FileOracle) -> None:
        self._log_oracle = log_oracle
        self._file_oracle = file_oracle
        self._kept: dict[str, tuple[int, float]] = {}
        """Key -> the job that left the result, and the time at which it was kept."""
        self._reused: dict[int, None] = {}
        """Jobs that reused a result."""
        self._work_of: dict[str, str] = {}
        self._key_of: dict[str, str] = {}

    def record(self, event: ev.Event) -> None:
        """Check a durable event. This must happen after `LogOracle` has recorded the events before
        it."""
        match event:
            case ev.CacheMissed():
                self._on_missed(event)
            case ev.JobsReused():
                self._on_reused(event)
            case ev.ResultsCached():
                self._on_kept(event)
            case ev.CacheDropped(keys=keys):
                for key in keys:
                    if self._kept.pop(key, None) is None:
                        raise Violation(f"the result of key {key[:8]} was dropped, but is not kept")

    def _on_missed(self, e: ev.CacheMissed) -> None:
        for number, key in zip(e.jobs, e.keys, strict=True):
            job = self._log_oracle.jobs[number]
            if job.state is not JobState.QUEUED:
                raise Violation(f"{job.where} is {job.state.name} and looked for a result")
            self._judge_key(job, key)
            if self._may_reuse(job, key, e.at) and self._log_oracle.settings.cache_s > e.at:
                raise Violation(f"{job.where} runs although it may reuse the result of key {key[:8]}")

    def _on_reused(self, e: ev.JobsReused) -> None:
        facts = self._log_oracle
        for number, key, source in zip(e.jobs, e.keys, e.sources, strict=True):
            job = facts.jobs[number]
            self._judge_key(job, key)
            if not self._may_reuse(job, key, e.at):
                raise Violation(f"{job.where} must not reuse the result of key {key[:8]}, which {source} left")
            earlier = facts.jobs[self._kept[key][0]]
            if earlier.where != source or earlier.state is not JobState.COMPLETED or earlier.number in self._reused:
                raise Violation(f"{job.where} reuses the result of {source}; {earlier.where} left it, {earlier.state.name}")
            facts.trace.count("result reused")
            facts.transition(job, JobState.COMPLETED, JobState.QUEUED)
            job.value = earlier.value
            self._file_oracle.adopt(number, earlier.number)
            self._reused[number] = None
            facts.unlock(job, e.at)

    def _on_kept(self, e: ev.ResultsCached) -> None:
        for number, key in zip(e.jobs, e.keys, strict=True):
            job = self._log_oracle.jobs[number]
            self._judge_key(job, key)
            if job.state is not JobState.COMPLETED or number in self._reused:
                raise Violation(f"the result of {job.where}, {job.state.name}, is kept")
            if any(by == number for _, by, _ in self._log_oracle.growths):
                raise Violation(f"the result of {job.where}, which added jobs, is kept")
            self._kept[key] = (number, e.at)

    def _may_reuse(self, job: JobFacts, key: str, at: float) -> bool:
        cache, kept = job.template.cache, self._kept.get(key)
        if cache is None or job.run in self._log_oracle.fresh or kept is None:
            return False
        return not cache.max_age_s or at < kept[1] + cache.max_age_s

    def _judge_key(self, job: JobFacts, key: str) -> None:
        """Raise Violation unless equal keys mean equal work."""
        work = self._work(job)
        if self._work_of.setdefault(key, work) != work:
            raise Violation(f"{job.where} has the key {key[:8]} of other work: {work} and {self._work_of[key]}")
        if self._key_of.setdefault(work, key) != key:
            raise Violation(f"{job.where} has the key {key[:8]}; a job that did the same had {self._key_of[work][:8]}")

    def _work(self, job: JobFacts) -> str:
        """Describe what a job does: its program with all that it gets."""
        t, parents = job.template, [self._log_oracle.jobs[number] for number in job.parents]
        program = (t.file, t.file_hash, t.command, t.function, t.env, t.outputs, t.optional_outputs, t.cache and t.cache.version)
        files = sorted(self._file_oracle.wanted(job.run, job.name, t).items())
        values = [p.value for p in parents] if t.function else [(p.name, p.value) for p in parents if p.value]
        return repr((program, job.args, files, values))

    def judge_agreement(self, state: State) -> None:
        """Check the kept results of a durable state against the log."""
        facts = self._log_oracle
        in_state = {key: (r.source, r.value, list(r.outputs)) for key, r in state.result_cache.results.items()}
        in_log = {
            key: (facts.jobs[number].where, facts.jobs[number].value, self._file_oracle.outputs_of(number))
            for key, (number, _) in self._kept.items()
        }
        if in_state != in_log:
            raise Violation(f"the master keeps the results {in_state}, its log {in_log}")
