"""Durations of jobs, with their source: recorded runs, a file, or an assumption."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import click

from titan.errors import CallerError, NotFound
from titan.model.dag import MAX_SECONDS, DagSpec, Kind
from titan.predict.plan import JobDuration, Overheads
from titan.predict.recording import Host, Recording, Row, overheads_of, recorded_durations
from titan.sdk.client import Client
from titan.sdk.run_graph import Attempt
from titan.sdk.status import RunSummary

MAX_FILE_BYTES = 64 << 20
MAX_RECORDED_JOBS = 2_000_000
_FAILED = frozenset({"EXITED", "SIGNALED", "TIMED_OUT", "BROKEN"})


@dataclass
class Measurements:
    """Measurements from earlier runs of a DAG."""

    durations: dict[str, JobDuration] = field(default_factory=dict)
    overheads: Overheads = field(default_factory=Overheads)
    runs: list[str] = field(default_factory=list)
    shared_cpus: float = 0.0
    """CPUs of the machine that all workers shared; 0 if there were several machines, or if it is
    unknown."""


@dataclass
class Durations:
    jobs: list[JobDuration]
    """One entry per job."""
    recorded: int = 0
    from_file: int = 0
    alike: int = 0
    """Number of jobs without a record that got the median of recorded jobs of the same template."""
    assumed: list[str] = field(default_factory=list)
    """Ids of the jobs for which no source had a duration."""


def read_recordings(
    client: Client, spec: DagSpec, parents: Sequence[tuple[int, ...]], wanted: Sequence[str], most: int
) -> Measurements:
    """Return the measurements of the runs `wanted`, or of the newest ended runs of the same DAG.

    At most `most` of the newest runs are read. Raises NotFound if no job of `wanted` COMPLETED.
    """
    found: list[RunSummary] = [client.status(run).summary for run in wanted]
    if not wanted:
        found = client.runs(limit=most, dag=spec.name, states=["COMPLETED"])
        found = found or client.runs(limit=most, dag=spec.name, states=["FAILED", "CANCELLED"])
    hosts = {w.name: Host(str(w.facts.get("host", "")), _number(w.facts.get("cpus")), w.slots) for w in client.workers()}
    recordings: list[Recording] = []
    used: list[str] = []
    jobs = 0
    for summary in found:
        jobs += summary.count
        if jobs > MAX_RECORDED_JOBS and recordings:
            break
        completed = [j for j in client.status(summary.run).jobs if j.state == "COMPLETED"]
        failed = _failures(client.attempts(summary.run)) if any(j.attempt > 1 for j in completed) else Counter()
        rows = [
            Row(j.id, j.worker, j.started_at, j.finished_at, j.cpu_s, 1 + failed[j.id])
            for j in completed
            if j.worker and j.started_at and j.finished_at
        ]
        if rows:
            recordings.append(Recording(summary.submitted_at, rows, hosts))
            used.append(summary.run)
    if wanted and not recordings:
        raise NotFound(f"no job of {', '.join(wanted)} has COMPLETED, so there are no durations to learn from")
    prompt = [not (t.delay_s or t.run_at) for t in spec.templates]
    names = {spec.ids[i]: [spec.ids[p] for p in ps] for i, ps in enumerate(parents) if prompt[spec.template_of[i]]}
    on = {hosts.get(row.worker, Host()) for r in recordings for row in r.rows}
    shared = next(iter(on)).cpus if len({host.name for host in on}) == 1 else 0.0
    return Measurements(recorded_durations(recordings), overheads_of(recordings, names), used, shared)


def durations_of(
    spec: DagSpec, recorded: Mapping[str, JobDuration], from_file: Mapping[str, JobDuration], default_s: float
) -> Durations:
    """Return the duration of each job, from the first source that has one.

    The sources are, in this order: the job's id in the file, the first matching pattern in the
    file, the recording, the other jobs of its template, and `default_s`.
    """
    found: list[JobDuration | None] = []
    patterns = [(re.compile(_expression(name)), duration) for name, duration in from_file.items() if "*" in name or "?" in name]
    result = Durations([])
    by_template: dict[int, list[JobDuration]] = {}
    for name, kind in zip(spec.ids, spec.template_of, strict=True):
        duration = from_file.get(name) or next((t for pattern, t in patterns if pattern.fullmatch(name)), None)
        if duration is not None:
            result.from_file += 1
        elif (duration := recorded.get(name)) is not None:
            result.recorded += 1
        if duration is None and spec.templates[kind].kind == Kind.GATE:
            duration = _NOTHING
        elif duration is not None:
            by_template.setdefault(kind, []).append(duration)
        found.append(duration)
    typical: Mapping[int, JobDuration] = {kind: _typical(durations) for kind, durations in by_template.items()}
    assumed = JobDuration((default_s,))
    for name, kind, duration in zip(spec.ids, spec.template_of, found, strict=True):
        if duration is None and kind in typical:
            result.alike += 1
        elif duration is None:
            result.assumed.append(name)
        result.jobs.append(duration or typical.get(kind, assumed))
    return result


_NOTHING = JobDuration((0.0,))


def _typical(durations: list[JobDuration]) -> JobDuration:
    return JobDuration((median(t.attempts[-1] for t in durations),), median(t.cpu_s for t in durations))


def _failures(attempts: Iterable[Attempt]) -> Counter[str]:
    """Count the failed attempts of each job.

    An attempt that was handed back, or that lost its worker, has not failed.
    """
    return Counter(attempt.job for attempt in attempts if attempt.outcome in _FAILED)


def _expression(pattern: str) -> str:
    """Return a regular expression. Only `*` and `?` are wildcards: ids of arrays have brackets."""
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


# -- the file --------------------------------------------------------------------------------------
def read_durations(path: Path) -> dict[str, JobDuration]:
    """Read a JSON or YAML mapping from job ids, or patterns with `*` and `?`, to durations.

    A duration is a number of seconds, a list of seconds, or {seconds: 3, cpu: 2.5}. A list has one
    entry per attempt, and all attempts but the last fail. Raises CallerError.
    """
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise CallerError(f"{path} is over {MAX_FILE_BYTES >> 20} MiB: use patterns")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CallerError(f"{path} cannot be read: {error}") from None
    content = _parsed(path, text)
    if not isinstance(content, dict):
        raise CallerError(f"{path}: must be a mapping of job ids or patterns to seconds")
    return {str(name): _duration(path, str(name), value) for name, value in content.items()}


def _parsed(path: Path, text: str) -> Any:
    if path.suffix == ".json":
        import json

        try:
            return json.loads(text)
        except ValueError as error:
            raise CallerError(f"{path} is not JSON: {error}") from None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise CallerError(f"{path} is not YAML: {' '.join(str(error).split())[:300]}") from None


def _duration(path: Path, name: str, value: object) -> JobDuration:
    cpu = 0.0
    if isinstance(value, dict):
        if not set(value) <= {"seconds", "cpu"} or "seconds" not in value:
            raise CallerError(f"{path}: {name}: write seconds, or {{seconds: 3, cpu: 2.5}}")
        cpu, value = _seconds(path, name, value.get("cpu", 0.0)), value["seconds"]
    attempts = value if isinstance(value, list) else [value]
    if not attempts or len(attempts) > 1001:
        raise CallerError(f"{path}: {name}: write seconds, or a list of 1 to 1,001 attempts")
    return JobDuration(tuple([_seconds(path, name, attempt) for attempt in attempts]), cpu)


def _seconds(path: Path, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= MAX_SECONDS:
        raise CallerError(f"{path}: {name}: {value!r} is not a number of seconds from 0 to {MAX_SECONDS:,.0f}"[:500])
    return float(value)


def checked_seconds(seconds: float) -> float:
    """Return the value of an option. Raises UsageError if it is out of range."""
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_SECONDS:
        raise click.UsageError(f"{seconds} is not a number of seconds from 0 to {MAX_SECONDS:,.0f}")
    return seconds
