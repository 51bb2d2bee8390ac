"""`step`: one turn of the core, from inputs to events and effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop
from typing import Any, NamedTuple

from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.archive import on_history_kept
from titan.core.handlers.attempts import on_attempts_started, on_results_reported
from titan.core.handlers.cancel import is_unneeded, on_cancel_requested
from titan.core.handlers.clock_back import set_back
from titan.core.handlers.conditions import settle_conditions
from titan.core.handlers.deadline import expire as expire_run
from titan.core.handlers.dlq import on_dead_dismissed, on_dead_retried
from titan.core.handlers.files import on_publish_requested, on_unpublish_requested
from titan.core.handlers.gates import announce_open, expire, on_gate_decision_made, on_token_drawn, on_webhook_answered
from titan.core.handlers.growth import on_pipeline_removal_requested, on_pipeline_save_requested, on_run_growth_requested
from titan.core.handlers.queued_jobs import settle_queued
from titan.core.handlers.ready import hold, open_gates, queue, rebind, release_roots
from titan.core.handlers.rebalance import take_back
from titan.core.handlers.reports import on_progress_seen, on_statuses_seen
from titan.core.handlers.result_cache import drop_old_results
from titan.core.handlers.scaling import forget_if_due, on_burst_gone, on_worker_told_to_leave, review_if_due, take_resources
from titan.core.handlers.schedules import (
    catch_up_all,
    fill_runs,
    fire_due,
    fire_waiting,
    on_pause_requested,
    on_removal_requested,
    on_schedule_requested,
    on_schedule_run_requested,
)
from titan.core.handlers.secrets import on_secret_written
from titan.core.handlers.services import on_service_replace_requested, on_service_stop_requested, on_services_seen, stop_helpers
from titan.core.handlers.sick_workers import probe_if_due
from titan.core.handlers.store import on_store_written
from titan.core.handlers.submit import drop_openings, on_dag_submitted, on_jobs_arrived, on_run_begun, on_submitter_gone
from titan.core.handlers.workers import (
    on_deadline,
    on_leases_awaiting,
    on_worker_beat,
    on_worker_disconnected,
    on_worker_draining,
    on_worker_leaving,
    on_worker_registered,
)
from titan.core.state.state import NO_WORKER, TIMED, Run, State, TimerKind
from titan.core.state.story import about
from titan.core.turn import Turn
from titan.model.dag import GATE, HANDLER
from titan.model.settings import LoggedSettings
from titan.model.states import JobState, RunState
from titan.scheduling.place import place


class Decision(NamedTuple):
    """Result of a turn. The events are already applied. The shell must make them durable, and then
    perform the effects in order."""

    events: list[ev.Event]
    effects: list[fx.Effect]


def step(state: State, now: float, received: Iterable[inputs.Input]) -> Decision:
    """Handle the inputs of one turn and return its events and effects.

    `now` is in seconds since the epoch and must not decrease within a process. Inputs are handled
    in order. Placement happens once at the end, so a batch of results frees all its slots before
    the next jobs are placed. Store writes do not affect jobs, so a turn with only store writes
    skips placement.

    An exception is a bug. The state must not be used after an exception. The exception carries a
    note with the input and the story of the job concerned.
    """
    turn = Turn(state, now)
    input_: inputs.Input | None = None
    store_written = others = False
    try:
        for input_ in received:
            if type(input_) is inputs.StoreWritten:
                store_written = True
                on_store_written(turn, input_)
                continue
            others = True
            if type(input_) in _OF_A_WORKER and input_.worker not in state.workers:  # type: ignore[union-attr]
                continue  # late message from a worker that was already forgotten
            turn.actor = getattr(input_, "actor", "")
            _HANDLERS[type(input_)](turn, input_)
    except Exception as error:
        error.add_note(about(state, input_))
        raise
    if store_written and not others:
        return Decision(turn.events, turn.effects)
    turn.actor = ""
    fill_runs(turn)
    release_roots(turn)
    settle_conditions(turn)
    stop_helpers(turn)
    hold(turn)
    while turn.queued or turn.conditional:  # the last job that needed a service may end here
        settle_queued(turn)
        settle_conditions(turn)
        stop_helpers(turn)
        hold(turn)
    _dispatch(turn)
    take_back(turn)
    _finish_runs(turn)
    fire_waiting(turn)
    drop_old_results(turn)
    return Decision(turn.events, turn.effects)


def next_due(state: State) -> float | None:
    """Return the time at which the core needs the input TimePassed, or None. A void timer may cause
    a TimePassed that does nothing."""
    if state.releasing or state.filling:
        return 0.0
    return state.timers[0][0] if state.timers else None


def _on_master_booted(turn: Turn, received: inputs.MasterBooted) -> None:
    if received.behind_s:
        drop_openings(turn)
        set_back(turn, received.behind_s)
    settings = LoggedSettings.of(turn.state.settings)
    if settings != turn.state.logged:
        turn.emit(ev.SettingsChanged(settings, turn.now))
    turn.emit(ev.MasterStarted(received.term, turn.state.cluster or received.cluster, turn.now, received.draw, received.copied))
    drop_openings(turn)
    announce_open(turn)
    catch_up_all(turn)
    take_resources(turn, received.bursts)


def _on_time_passed(turn: Turn, received: inputs.TimePassed) -> None:
    state, now = turn.state, turn.now
    due_jobs: dict[int, None] = {}
    while state.timers and state.timers[0][0] <= now:
        due, kind, number = heappop(state.timers)
        if not state.is_awaited(due, kind, number):
            state.stale = max(0, state.stale - 1)  # a void timer
        elif kind == TimerKind.RUN:
            expire_run(turn, state.jobs[number].run)
        elif kind == TimerKind.SCHEDULE:
            fire_due(turn, state.schedules[state.schedule_names[number]])
        elif kind == TimerKind.JOB:
            due_jobs[number] = None
        elif kind == TimerKind.SCALE:
            review_if_due(turn)
        elif kind == TimerKind.ASIDE:
            probe_if_due(turn, number)
        elif kind == TimerKind.FORGET:
            forget_if_due(turn, number)
        else:
            on_deadline(turn, number)
    # Timers handled earlier in this loop may have cancelled some of these jobs.
    jobs = state.jobs
    gates = [number for number in due_jobs if jobs[number].template.kind == GATE]
    opening = [number for number in gates if jobs[number].state is not JobState.PAUSED]
    for number in gates:
        del due_jobs[number]
    expire(turn, [number for number in gates if jobs[number].state is JobState.PAUSED])
    open_gates(turn, [number for number in opening if jobs[number].state is JobState.DELAYED])
    queue(turn, [number for number in due_jobs if jobs[number].state in TIMED])


def _dispatch(turn: Turn) -> None:
    while (moved := _place(turn)) and rebind(turn, moved):
        pass


def _place(turn: Turn) -> list[int]:
    """Dispatch all jobs that can be placed. Return the dispatched jobs whose last attempt was on
    another worker."""
    state = turn.state
    jobs, moved = state.jobs, []
    state.terms.now = turn.now
    placed = place(state.lanes, state.pinned, list(state.touched), state.pool, state.terms)
    for worker, numbers in placed.items():
        moved += [number for number in numbers if jobs[number].worker not in (NO_WORKER, worker)]
        first = state.next_lease
        turn.emit(ev.JobsDispatched(worker, numbers, first, turn.now))
        turn.order(fx.SendDispatch(worker, numbers, first))
    state.touched.clear()
    return moved


def _finish_runs(turn: Turn) -> None:
    for run in turn.runs.values():
        if run.open == 0 and run.state is RunState.RUNNING:
            done = run.tally[JobState.COMPLETED] + run.tally[JobState.SKIPPED]
            whole = done == run.count or _only_unneeded_are_missing(turn.state, run)
            verdict = RunState.COMPLETED if whole else RunState.CANCELLED if run.cancelled else RunState.FAILED
            turn.emit(ev.RunFinished(run.id, verdict, turn.now))
            if run.schedule:
                turn.schedules[run.schedule] = None


def _only_unneeded_are_missing(state: State, run: Run) -> bool:
    """Return True if every job that is not COMPLETED was skipped, or is a handler that was not
    needed, or a job that depended on such a handler."""
    if run.tally[JobState.DEAD] or not any(t.kind == HANDLER for t in run.templates):
        return False
    jobs = (state.jobs[j] for j in run.numbers())
    return all(is_unneeded(job) for job in jobs if job.state is JobState.CANCELLED)


_HANDLERS: dict[type, Callable[[Turn, Any], None]] = {
    inputs.MasterBooted: _on_master_booted,
    inputs.TimePassed: _on_time_passed,
    inputs.DagSubmitted: on_dag_submitted,
    inputs.RunBegun: on_run_begun,
    inputs.JobsArrived: on_jobs_arrived,
    inputs.SubmitterGone: on_submitter_gone,
    inputs.HistoryKept: on_history_kept,
    inputs.CancelRequested: on_cancel_requested,
    inputs.GateDecisionMade: on_gate_decision_made,
    inputs.TokenDrawn: on_token_drawn,
    inputs.WebhookAnswered: on_webhook_answered,
    inputs.DeadRetried: on_dead_retried,
    inputs.DeadDismissed: on_dead_dismissed,
    inputs.ScheduleRequested: on_schedule_requested,
    inputs.PauseRequested: on_pause_requested,
    inputs.RemovalRequested: on_removal_requested,
    inputs.ScheduleRunRequested: on_schedule_run_requested,
    inputs.WorkerRegistered: on_worker_registered,
    inputs.WorkerBeat: on_worker_beat,
    inputs.LeasesAwaiting: on_leases_awaiting,
    inputs.AttemptsStarted: on_attempts_started,
    inputs.ResultsReported: on_results_reported,
    inputs.ServicesSeen: on_services_seen,
    inputs.ProgressSeen: on_progress_seen,
    inputs.StatusesSeen: on_statuses_seen,
    inputs.ServiceStopRequested: on_service_stop_requested,
    inputs.ServiceReplaceRequested: on_service_replace_requested,
    inputs.WorkerDraining: on_worker_draining,
    inputs.WorkerLeaving: on_worker_leaving,
    inputs.WorkerDisconnected: on_worker_disconnected,
    inputs.WorkerToldToLeave: on_worker_told_to_leave,
    inputs.BurstGone: on_burst_gone,
    inputs.StoreWritten: on_store_written,
    inputs.RunGrowthRequested: on_run_growth_requested,
    inputs.PipelineSaveRequested: on_pipeline_save_requested,
    inputs.PipelineRemovalRequested: on_pipeline_removal_requested,
    inputs.PublishRequested: on_publish_requested,
    inputs.UnpublishRequested: on_unpublish_requested,
    inputs.SecretWritten: on_secret_written,
}
_OF_A_WORKER = (
    inputs.WorkerBeat,
    inputs.LeasesAwaiting,
    inputs.AttemptsStarted,
    inputs.ResultsReported,
    inputs.ServicesSeen,
    inputs.ProgressSeen,
    inputs.StatusesSeen,
    inputs.WorkerDraining,
    inputs.WorkerLeaving,
    inputs.WorkerDisconnected,
)
