"""Conversion of effects into messages, each with its connection.

The shell must convert an effect at the end of the step that ordered it. Later the job may have
another attempt and the worker another connection, to which the decision does not apply. The shell
adds logs, secrets and connections itself.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from titan.core import effects as fx
from titan.core.handlers.files import files_for
from titan.core.handlers.job_results import results_for
from titan.core.handlers.services import addresses_of
from titan.core.state.state import Job, State
from titan.gateway.schedule_rows import schedule_row
from titan.model.dag import MAX_INPUT_BYTES, JobTemplate, template_size, waits_for_end
from titan.model.states import JobState
from titan.protocol import messages as msg

DISPATCH_BYTES = 16 << 20
"""Maximum size of a Dispatch in characters. A character may take four bytes, and a Dispatch with a
single job may be larger (MAX_INPUT_BYTES)."""
JOB_BYTES = 256
"""Estimated size of a job without arguments: its name, its run, its lease."""
PARENT_BYTES = 512
"""Estimated size of the data of one parent: a service's address, or a file's name and hash."""
FAILED_JOB = "TITAN_FAILED_JOB"


def messages_of(state: State, effect: fx.Effect) -> list[tuple[int, msg.Message]]:
    """Return the (connection, message) pairs of an effect, for a shell that adds nothing."""
    if isinstance(effect, fx.SendDispatch):
        worker = state.workers.get(effect.worker)
        return [] if worker is None else [(worker.connection, batch.message) for batch in dispatches(state, effect)]
    order = order_of(state, effect)
    if order is not None:
        connection = effect.origin if isinstance(effect, fx.AcceptWorker) else state.workers[order[0]].connection
        return [(connection, order[1])]
    reply = reply_of(state, effect)
    return [] if reply is None else [reply]


def reply_of(state: State, effect: fx.Effect) -> tuple[int, msg.Message] | None:
    """Return (connection, message) of an effect that answers a request; None for other effects."""
    match effect:
        case fx.ReplySubmitted(origin, request, run, count):
            return origin, msg.Submitted(request, run, count)
        case fx.ReplyCancelled(origin, request, count):
            return origin, msg.Cancelled(request, count)
        case fx.ReplyDecided(origin, request, run, job, approved, by, at):
            return origin, msg.Decided(request, run, job, approved, by, at)
        case fx.ReplyRetried(origin, request, run, retried, revived):
            return origin, msg.Retried(request, run, retried, revived)
        case fx.ReplyPurged(origin, request, count):
            return origin, msg.Purged(request, count)
        case fx.ReplyScheduled(origin, request, name):
            schedule = state.schedules.get(name)
            return origin, msg.Scheduled(request, None if schedule is None else schedule_row(schedule))
        case fx.ReplyServicesStopped(origin, request, count):
            return origin, msg.ServicesStopped(request, count)
        case fx.ReplyServiceReplaced(origin, request, rolling):
            return origin, msg.ServiceReplaced(request, rolling)
        case fx.ReplyGrown(origin, request, run, count):
            return origin, msg.Grown(request, run, count)
        case fx.ReplySaved(origin, request, name):
            return origin, msg.Saved(request, name)
        case fx.ReplyTold(origin, request, worker_state, held):
            return origin, msg.Told(request, worker_state, held)
        case fx.ReplyPublished(origin, request, key, versions):
            return origin, msg.Artifacts(request, [msg.ArtifactRow(key, v.hash, v.size, v.kind, v.at, v.by) for v in versions])
        case fx.ReplySecretChanged(origin, request, name, version, set_at):
            done = msg.SecretSet(request, msg.SecretRow(name, version, set_at)) if version else msg.SecretRemoved(request, name)
            return origin, done
        case fx.Refuse(origin, request, code, text, job):
            return origin, msg.Error(request, code, text, job)
    return None


def order_of(state: State, effect: fx.Effect) -> tuple[int, msg.Message] | None:
    """Return (worker, message) of an effect that is an order to a worker.

    None for dispatches and other effects, and for a worker that was forgotten in the step that
    ordered the effect.
    """
    if getattr(effect, "worker", None) not in state.workers:
        return None
    match effect:
        case fx.SendAck(worker, leases):
            return worker, msg.Acked(0, leases)
        case fx.SendStop(worker, leases):
            return worker, msg.StopAttempts(0, leases, state.settings.stop_grace_s)
        case fx.SendRecall(worker, leases):
            return worker, msg.Recall(0, leases)
        case fx.AcceptWorker(_, request, worker):
            s = state.settings
            return worker, msg.Registered(request, worker, state.cluster, state.term, s.heartbeat_s, s.loss_s, s.stop_grace_s)
        case fx.SendLeave(worker, now):
            return worker, msg.Leave(0, now)
    return None


class DispatchBatch(NamedTuple):
    """Dispatch message and its jobs, with the lease of the first job."""

    message: msg.Dispatch
    jobs: list[Job]
    first_lease: int


def dispatches(state: State, effect: fx.SendDispatch) -> list[DispatchBatch]:
    """Return the dispatch as messages of bounded size. The sizes are estimates."""
    made: list[DispatchBatch] = []
    jobs: list[Job] = []
    inputs: list[tuple[bytes, ...]] = []
    values: tuple[bytes, ...]
    lease, size = effect.first_lease, 0
    known: dict[int, None] = {}
    """Object ids of the templates in the message that is being built."""
    for number in effect.jobs:
        job = state.jobs[number]
        values, weight = (), JOB_BYTES + len(job.payload)
        if job.args:
            weight += sum(map(len, job.args))
        if job.parents:
            values = _inputs(state, job)
            weight += sum(map(len, values)) + PARENT_BYTES * len(job.parents)
            weight += sum(len(name) + len(text) for name, text in results_for(state, job))
        if id(job.template) not in known or waits_for_end(job.template):
            weight += template_size(job.template)
        if jobs and size + weight > DISPATCH_BYTES:
            made.append(_dispatch(state, lease, jobs, inputs))
            lease, size, jobs, inputs = lease + len(jobs), 0, [], []
            known.clear()
        known[id(job.template)] = None
        jobs.append(job)
        inputs.append(values)
        size += weight
    made.append(_dispatch(state, lease, jobs, inputs))
    return made


def _dispatch(state: State, first_lease: int, jobs: list[Job], inputs: list[tuple[bytes, ...]]) -> DispatchBatch:
    index: dict[int, int] = {}
    templates: list[JobTemplate] = []
    template_of = []
    for job in jobs:
        at = index.get(id(job.template))
        if waits_for_end(job.template):
            at = len(templates)
            templates.append(_told_what_failed(state, job))
        elif at is None:
            at = index[id(job.template)] = len(templates)
            templates.append(job.template)
        template_of.append(at)
    services = [addresses_of(state, job) for job in jobs]
    files = [files_for(state, job) for job in jobs]
    results = [results_for(state, job) for job in jobs]
    message = msg.Dispatch(
        0,
        templates,
        list(range(first_lease, first_lease + len(jobs))),
        [j.run.id for j in jobs],
        [j.name for j in jobs],
        [j.attempt for j in jobs],
        template_of,
        [j.args for j in jobs],
        [j.payload for j in jobs] if any(t.function for t in templates) else [],
        inputs if any(inputs) else [],
        services if any(services) else [],
        files if any(files) else [],
        state.draws.get(first_lease >> 32, ""),
        results if any(results) else [],
    )
    return DispatchBatch(message, jobs, first_lease)


def _told_what_failed(state: State, job: Job) -> JobTemplate:
    """Return the template of a job that waits for the end of its parents, with the id of its DEAD
    parent in the environment; "" if no parent is DEAD.

    If several parents are DEAD, the id is that of the parent that died first.
    """
    jobs = (state.jobs[parent] for parent in job.parents)
    dead = min((j for j in jobs if j.state is JobState.DEAD), key=lambda j: j.since, default=None)
    failed = dead.name if dead is not None else ""
    env = tuple(pair for pair in job.template.env if pair[0] != FAILED_JOB)
    return msgspec.structs.replace(job.template, env=(*env, (FAILED_JOB, failed)))


def _inputs(state: State, job: Job) -> tuple[bytes, ...]:
    if not job.template.function:
        return ()
    values = tuple([state.jobs[parent].value for parent in job.parents])
    if (size := sum(map(len, values))) > MAX_INPUT_BYTES:
        text = f"the inputs of this call take {size:,} bytes; the limit is {MAX_INPUT_BYTES:,}: combine them in several steps"
        return (b"x" + text.encode(),) * len(values)
    return values
