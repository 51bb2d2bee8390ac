"""The story of one job: its history, as far as the state still records it. Users read it, and each
Bug includes it."""

from __future__ import annotations

from typing import Any

from titan.core.state.state import NO_WORKER, Job, State
from titan.model.dag import ALWAYS
from titan.model.demand import demand_of, demand_text
from titan.model.states import JobState, Outcome
from titan.model.timing import iso


def story(state: State, number: int) -> list[str]:
    """Return one line per event, in order of time: seconds since the epoch, then a text."""
    job = state.jobs[number]
    by = f" by {job.run.actor}" if job.run.actor else ""
    entries: list[tuple[float, str]] = [(job.run.submitted_at, f"submitted{by} in run {job.run.id} ({job.run.name}) as {job.name}")]
    if job.run.schedule:
        entries.append((job.run.submitted_at, f"by schedule {job.run.schedule} for {iso(job.run.scheduled_at)}"))
    if job.run.deadline_s:
        entries.append((job.run.submitted_at, f"the deadline of its run is {iso(job.run.deadline)}"))
    if job.parents:
        names = ", ".join(state.jobs[p].name for p in job.parents[:8]) + (", ..." if len(job.parents) > 8 else "")
        always = ", whether they succeed or not" if job.template.when == ALWAYS else ""
        entries.append((job.run.submitted_at, f"depends on {names}{always}"))
    if job.template.condition:
        entries.append((job.run.submitted_at, f"runs if {job.template.condition}"))
    for past in job.history or ():
        where = _worker_name(state, past.worker)
        if past.outcome < 0:
            entries.append((past.at, past.reason))
        else:
            text = Outcome(past.outcome).name
            code = f" with code {past.exit_code}" if past.outcome == Outcome.EXITED else ""
            entries.append((past.at, f"attempt {past.attempt} on {where}: {text}{code}: {past.reason}"))
    if job.started_at and job.state in (JobState.RUNNING, JobState.COMPLETED, JobState.CANCELLED):
        entries.append((job.started_at, f"attempt {job.attempt} started on {_worker_name(state, job.worker)}"))
    entries.append((job.since, _present(state, number)))
    entries.sort(key=lambda entry: entry[0])
    return [f"{at:.3f}  {text}" for at, text in entries]


def about(state: State, received: Any) -> str:
    """Return a description of an input and the story of the first job that it names, for a bug
    report."""
    if received is None:
        return "no input was handled yet"
    numbers: list[int | None] = []
    worker = state.workers.get(getattr(received, "worker", 0) or 0)
    if worker is not None:
        leases = getattr(received, "leases", None) or [getattr(received, "lease", 0)]
        numbers += [worker.held.get(lease) for lease in leases[:1000]]
    named, job = getattr(received, "run", None), getattr(received, "job", None)
    run = state.runs.get(named) if isinstance(named, str) else None
    if run is not None and isinstance(job, str):
        numbers.append(state.find(run, job))
    number = next((n for n in numbers if n is not None and n in state.jobs), None)
    lines = story(state, number) if number is not None else []
    shown = repr(received)
    return "\n  ".join([f"the last input was {shown if len(shown) <= 500 else shown[:500] + '...'}", *lines])


def _present(state: State, number: int) -> str:
    job = state.jobs[number]
    match job.state:
        case JobState.WAITING:
            return f"WAITING for {job.missing} of {len(job.parents)} parents"
        case JobState.DELAYED:
            return f"DELAYED until {job.due:.3f}"
        case JobState.QUEUED:
            anyone = f"a worker with {demand_text(demand_of(job.template))}"
            return f"QUEUED for {f'worker {_worker_name(state, job.pin)}' if job.pin != NO_WORKER else anyone}"
        case JobState.DISPATCHED | JobState.RUNNING:
            served = f", {describe(job)}" if job.service is not None and job.state is JobState.RUNNING else ""
            return f"{job.state.name} as attempt {job.attempt} on {_worker_name(state, job.worker)} (lease {job.lease}){served}"
        case JobState.PAUSED:
            return f"PAUSED until {job.due:.3f}: " + " ".join(job.template.gate.message.split() if job.template.gate else ())
        case JobState.FAILED:
            return f"FAILED attempt {job.attempt}: {job.reason}; " + (f"next one at {job.due:.3f}" if job.due else "no further one")
        case JobState.DEAD | JobState.CANCELLED | JobState.SKIPPED:
            return f"{job.state.name}: {job.reason}"
        case JobState.COMPLETED if job.reason:
            return f"COMPLETED: {job.reason}"
        case _:
            return job.state.name


def describe(job: Job) -> str:
    """Return whether a running service is READY, its address, and its number of restarts."""
    assert job.service is not None
    s = job.service
    is_current = s.lease == job.lease
    if s.old_lease:
        reason = f": {s.reason}" if s.reason and is_current else ""
        return f"the old process stays READY at {s.address} until its replacement, this one, is READY{reason}"
    if not is_current:
        return "not READY"
    text = f"READY at {s.address}" if s.ready_at else "not READY"
    if s.restarts:
        text += f", {s.restarts} restart{'s' if s.restarts != 1 else ''}"
    return text + (f", the last one: {s.reason}" if s.restarts and s.reason else f": {s.reason}" if s.reason else "")


def _worker_name(state: State, number: int) -> str:
    return state.worker_name(number) if number != NO_WORKER else "no worker"
