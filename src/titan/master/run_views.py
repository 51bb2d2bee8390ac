"""Views of one run for users: its graph and its attempts."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from titan.core.state.state import NO_WORKER, Job, Past, State
from titan.master.views import MAX_PAGE, find_job, find_run
from titan.model.states import TERMINAL, JobState, Outcome
from titan.protocol import messages as msg

TEMPLATE_BYTES = 4 * 1024 * 1024
"""Size of the templates after which a page of a graph ends."""
_encode = msgspec.msgpack.Encoder().encode


def graph(state: State, ask: msg.GetGraph) -> msg.Graph:
    """Return a page of the run's graph. Raises NotFound."""
    run = find_run(state, ask.run)
    first = min(ask.after, run.count)
    end = min(first + max(1, min(ask.limit, MAX_PAGE)), run.count)
    answer = msg.Graph(ask.request, [], [], [], [], 0, run.count)
    index: dict[int, int] = {}
    size = 0
    for number in run.numbers(first, end):
        job = state.jobs[number]
        if id(job.template) not in index:
            index[id(job.template)] = len(index)
            answer.templates.append(job.template)
            size += len(_encode(job.template))
        answer.ids.append(job.name)
        answer.template_of.append(index[id(job.template)])
        answer.parents.append([run.position(parent) for parent in job.parents])
        if size > TEMPLATE_BYTES:
            break
    reached = first + len(answer.ids)
    return msgspec.structs.replace(answer, next=reached if reached < run.count else 0)


def attempts(state: State, ask: msg.GetAttempts) -> msg.Attempts:
    """Return attempts of a job, or a page of the attempts of a run. Raises NotFound."""
    run = find_run(state, ask.run)
    if ask.job:
        return msg.Attempts(ask.request, list(_attempts_of(state, state.jobs[find_job(state, run, ask.job)])))
    rows: list[msg.AttemptRow] = []
    position = min(ask.after, run.count)
    limit = max(1, min(ask.limit, MAX_PAGE))
    for number in run.numbers(position):
        if len(rows) >= limit:
            return msg.Attempts(ask.request, rows, position)
        rows += _attempts_of(state, state.jobs[number])
        position += 1
    return msg.Attempts(ask.request, rows)


def _attempts_of(state: State, job: Job) -> Iterator[msg.AttemptRow]:
    last = 0
    for past in job.history or ():
        if past.outcome >= 0:
            last = past.attempt
            yield _ended(state, job, past)
    if job.state is JobState.QUEUED:
        yield msg.AttemptRow(job.name, job.attempt + 1, "", job.queued_at, 0.0, 0.0, 0.0)
    elif job.attempt > last and not job.cached_from:
        yield _newest(state, job)


def _ended(state: State, job: Job, past: Past) -> msg.AttemptRow:
    newest = past.attempt == job.attempt and job.state in (JobState.FAILED, JobState.DEAD)
    return msg.AttemptRow(
        job.name, past.attempt, state.worker_name(past.worker), past.queued_at, past.sent_at, past.started_at, past.at,
        Outcome(past.outcome).name, past.exit_code, past.reason, job.cpu_s if newest else 0.0, job.peak_bytes if newest else 0,
    )  # fmt: skip


def _newest(state: State, job: Job) -> msg.AttemptRow:
    """Return the attempt that goes on, succeeded, or was cancelled."""
    outcome = "" if job.state not in TERMINAL else "SUCCEEDED" if job.state is JobState.COMPLETED else job.state.name
    worker = state.worker_name(job.worker) if job.worker != NO_WORKER else ""
    return msg.AttemptRow(
        job.name, job.attempt, worker, job.queued_at, job.sent_at, job.started_at, job.finished_at,
        outcome, job.exit_code if outcome else -1, job.reason if outcome else "", job.cpu_s, job.peak_bytes,
    )  # fmt: skip
