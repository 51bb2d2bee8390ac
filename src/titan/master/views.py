"""Views of the state for users: rows for status, runs, workers and the dead letter queue."""

from __future__ import annotations

from heapq import nlargest

from titan.core.state.state import NO_WORKER, Job, Run, State, Worker
from titan.core.state.story import describe, story
from titan.core.why import Reason, explain
from titan.errors import LimitExceeded, NotFound
from titan.model.dag import DagSpec, JobTemplate
from titan.model.disk import free_disk, has_full_disk
from titan.model.states import JobState, RunState, WorkerState
from titan.protocol import messages as msg

MAX_PAGE = 50_000
MAX_DAG_JOBS, MAX_DAG_BYTES = 100_000, 32 * 1024 * 1024
"""Limits of a DAG that is sent back to a client: jobs, and bytes of their arguments."""
NO_PROGRESS = (-1.0, "")


def find_run(state: State, run_id: str) -> Run:
    run = state.runs.get(run_id)
    if run is None or run.state is RunState.OPENING:
        raise NotFound(f"there is no run {run_id[:80]!r}: `titan runs` lists them")
    return run


def find_job(state: State, run: Run, name: str) -> int:
    number = state.find(run, name)
    if number is None:
        raise NotFound(f"run {run.id} has no job {name[:128]!r}: `titan status {run.id}` lists them")
    return number


def job_row(state: State, job: Job) -> msg.JobRow:
    worker = state.worker_name(job.worker) if job.worker != NO_WORKER else ""
    progress = state.progress.get(job.lease, NO_PROGRESS) if job.lease else NO_PROGRESS
    return msg.JobRow(
        id=job.name,
        state=job.state,
        attempt=job.attempt,
        worker=worker,
        exit_code=job.exit_code,
        submitted_at=job.run.submitted_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        reason=describe(job)
        if job.service is not None and job.state is JobState.RUNNING
        else " ".join(job.template.gate.message.split())
        if job.state is JobState.PAUSED and job.template.gate
        else job.reason
        if job.reason or job.state is not JobState.QUEUED
        else "",
        cpu_s=job.cpu_s,
        peak_bytes=job.peak_bytes,
        progress=progress[0],
        message=progress[1],
        status=job.status,
        cause=job.cause,
        lost=job.lost,
        cached_from=job.cached_from,
    )


def run_row(run: Run) -> msg.RunRow:
    tally = list(run.tally)
    return msg.RunRow(
        run.id, run.name, run.version, run.state, run.count, tally, run.submitted_at, run.finished_at,
        run.schedule, run.scheduled_at, run.deadline, run.group, run.actor, run.reused,
    )  # fmt: skip


def submitted_dag(state: State, ask: msg.GetDag) -> msg.Dag:
    """Return the DAG of a run as it was submitted, without jobs that were added later.

    Raises NotFound, LimitExceeded.
    """
    run = find_run(state, ask.run)
    count = run.grown[0].position if run.grown else run.count
    jobs = [state.jobs[number] for number in range(run.first, run.first + count)]
    size = sum(len(job.payload) + sum(map(len, job.args)) for job in jobs)
    if count > MAX_DAG_JOBS or size > MAX_DAG_BYTES:
        raise LimitExceeded(
            f"run {run.id} has {count:,} jobs with {size:,} bytes of arguments; at most {MAX_DAG_JOBS:,} jobs and"
            f" {MAX_DAG_BYTES:,} bytes can be submitted again: submit its file"
        )
    templates: dict[JobTemplate, int] = {}
    template_of = [templates.setdefault(job.template, len(templates)) for job in jobs]
    last = run.first + count
    parents = [tuple([state.jobs[n].name for n in job.parents if run.first <= n < last]) for job in jobs]
    payloads = [job.payload for job in jobs]
    dag = DagSpec(
        run.name,
        run.version,
        list(templates),
        [job.name for job in jobs],
        template_of,
        [job.args for job in jobs],
        parents,
        payloads if any(payloads) else [],
        run.deadline_s,
        run.group,
        run.source,
    )
    return msg.Dag(ask.request, dag)


def run_status(state: State, ask: msg.GetRun) -> msg.RunStatus:
    run = find_run(state, ask.run)
    if ask.job:
        number = find_job(state, run, ask.job)
        return msg.RunStatus(ask.request, run_row(run), [job_row(state, state.jobs[number])], 0, story(state, number))
    first = max(0, ask.after)
    end = min(first + max(1, min(ask.limit, MAX_PAGE)), run.count)
    rows = [job_row(state, state.jobs[j]) for j in run.numbers(first, end)]
    return msg.RunStatus(ask.request, run_row(run), rows, end if end < run.count else 0)


def why(state: State, ask: msg.Why, now: float) -> msg.Reasons:
    """Return the reasons why a job does not run. `now` is in seconds since the epoch."""
    run = find_run(state, ask.run)
    explanation = explain(state, find_job(state, run, ask.job), now)
    workers = [msg.WorkerReasons(w.worker, _reasons(w.reasons)) for w in explanation.workers]
    reasons = _reasons(explanation.reasons)
    return msg.Reasons(ask.request, run.id, ask.job, explanation.state, reasons, workers, explanation.left_off)


def _reasons(reasons: list[Reason]) -> list[msg.ReasonRow]:
    return [msg.ReasonRow(reason.code, reason.text, reason.detail) for reason in reasons]


def run_limit(ask: msg.ListRuns) -> int:
    return max(1, min(ask.limit, 10_000))


def runs(state: State, ask: msg.ListRuns) -> list[msg.RunRow]:
    """Return the requested runs, the newest first."""
    found = [
        run
        for run in state.runs.values()
        if run.state is not RunState.OPENING
        and (not ask.before or run.id < ask.before)
        and (not ask.dag or run.name == ask.dag)
        and (not ask.group or run.group == ask.group)
        and (not ask.states or run.state in ask.states)
        and run.submitted_at >= ask.since
    ]
    return [run_row(run) for run in nlargest(run_limit(ask), found, key=lambda run: run.id)]


def worker_state(worker: Worker) -> str:
    """Return the state of a worker as users see it."""
    if worker.state not in (WorkerState.ALIVE, WorkerState.SUSPECT):
        return worker.state.name
    return "DRAINING" if worker.draining else "ASIDE" if worker.aside_until else worker.state.name


def _aside_notices(state: State) -> list[tuple[float, str]]:
    aside = [w for w in state.workers.values() if worker_state(w) == "ASIDE"]
    effect = {True: "gets one job on trial", False: "gets no jobs for now"}
    return [(w.aside_until, f"worker {w.name} is set aside and {effect[w.probing]}: {w.aside_reason}") for w in aside]


def _full_disk_notices(state: State) -> list[tuple[float, str]]:
    """Return notices about connected workers whose disk is full."""
    full = [w for w in state.workers.values() if w.connection and has_full_disk(w.facts)]
    advice = "jobs may fail there or lose their output: free space under its home"
    free = [(w, (free_disk(w.facts) or 0) / 2**20) for w in full]
    return [(w.heard_at, f"the disk of worker {w.name} is full, with {mib:.1f} MiB free: {advice}") for w, mib in free]


def workers(state: State, ask: msg.ListWorkers) -> msg.Workers:
    return msg.Workers(
        ask.request,
        [
            msg.WorkerRow(
                name=w.name,
                state=worker_state(w),
                capabilities=w.capabilities,
                slots=w.slots,
                held=w.used,
                heard_at=w.heard_at,
                joined_at=w.joined_at,
                facts=w.facts,
                taken=w.taken,
                told_by=w.told_by,
            )
            for w in sorted(state.workers.values(), key=lambda w: w.name)
        ],
        [*state.notices, *_aside_notices(state), *_full_disk_notices(state)],
    )


def services(state: State, ask: msg.ListServices) -> msg.Services:
    """Return the services that have not ended, in the order of their runs."""
    if ask.run:
        find_run(state, ask.run)
    numbers = [number for run, live in state.services.items() if not ask.run or run == ask.run for number in live]
    limit = max(1, min(ask.limit, 10_000))
    opening = [number for number in numbers if state.jobs[number].run.state is not RunState.OPENING]
    return msg.Services(ask.request, [_service_row(state, state.jobs[number]) for number in sorted(opening)[:limit]])


def _service_row(state: State, job: Job) -> msg.ServiceRow:
    s = job.service
    assert s is not None
    return msg.ServiceRow(
        run=job.run.id,
        dag=job.run.name,
        job=job.name,
        state="READY" if s.ready_at else job.state.name,
        worker=state.worker_name(job.worker) if job.worker != NO_WORKER else "",
        address=s.address,
        restarts=s.earlier + s.restarts,
        since=s.ready_at or job.since,
        attempt=job.attempt,
        reason=s.reason if job.lease else job.reason or s.reason,
    )


def dead_jobs(state: State, ask: msg.ListDead) -> list[msg.DeadRow]:
    """Return the jobs of the dead letter queue, the newest first."""
    numbers = [j for j in reversed(state.dead) if not ask.run or state.jobs[j].run.id == ask.run]
    rows = []
    for number in numbers[: max(1, min(ask.limit, 10_000))]:
        job = state.jobs[number]
        rows.append(msg.DeadRow(job.run.id, job.run.name, job_row(state, job), story(state, number)))
    return rows
