"""Bugs that are planted in the core, in the worker's state machine and in the simulated shell. The
simulator must find each of them within some seeds.

If no seed finds a planted bug, the faults or the oracle are too weak. `core.check` is off here, so
the oracle must find the bug by its effect outside of the state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from titan.core import effects as fx
from titan.core import inputs, step
from titan.core.apply import apply as writers
from titan.core.apply import gates_and_dlq as apply_failure
from titan.core.apply import jobs as apply_jobs
from titan.core.apply import schedules as apply_schedules
from titan.core.apply import services as apply_services
from titan.core.apply import transitions as moves
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.handlers import attempts as finish
from titan.core.handlers import (
    cancel,
    dlq,
    gates,
    growth,
    job_results,
    queued_jobs,
    ready,
    result_cache,
    scaling,
    schedules,
    services,
    workers,
)
from titan.core.handlers import files as publishing
from titan.core.state import snapshot
from titan.core.state.result_cache import CachedResult
from titan.core.state.state import Job, Run, Schedule, State, TimerKind, Worker
from titan.core.turn import Turn
from titan.gateway import follower, outbound, reading
from titan.gateway.sequencer import Sequencer
from titan.journal.records import Record
from titan.model import caching, job_inputs, timing
from titan.model.causes import Cause
from titan.model.demand import NOTHING, Amounts
from titan.model.files import StoredFile
from titan.model.job_inputs import Giver
from titan.model.states import JobState, Outcome, RunState
from titan.scheduling import place as placement
from titan.scheduling import pool
from titan.scheduling.scale import Look, Plan, Rule
from titan.sim.disk import Disk
from titan.sim.run import SimulationFailed, simulate
from titan.store.store import Store
from titan.worker.state_machine import job_values, messages
from titan.worker.state_machine import machine as wm
from titan.worker.state_machine import services as worker_services
from titan.worker.state_machine.job_reports import ReportOutbox
from titan.worker.state_machine.pipelining import Ahead

Patch = pytest.MonkeyPatch
SEEDS = range(1, 1201)

_steps: Any = step._HANDLERS
_writes: Any = writers._WRITERS
_machine: Any = wm._HANDLERS


# -- the core --------------------------------------------------------------------------------------
def children_are_unlocked_by_one_parent(patch: Patch) -> None:
    real = _writes[ev.JobsCompleted]

    def write(state: State, e: ev.JobsCompleted) -> None:
        real(state, e)
        for number in e.jobs:
            for child in state.jobs[number].children or ():
                state.jobs[child].missing = 0

    patch.setitem(_writes, ev.JobsCompleted, write)


def results_of_fenced_leases_count(patch: Patch) -> None:
    jobs: dict[int, int] = {}
    real_write, real_step = _writes[ev.JobsDispatched], _steps[inputs.ResultsReported]

    def write(state: State, e: ev.JobsDispatched) -> None:
        jobs.update((e.first_lease + i, number) for i, number in enumerate(e.jobs))
        real_write(state, e)

    def on_results(turn: Turn, received: inputs.ResultsReported) -> None:
        for i, lease in enumerate(received.leases):
            job = turn.state.jobs.get(jobs.get(lease, 0))
            if job is not None and job.lease not in (0, lease):
                received.leases[i] = job.lease
                real_step(turn, msgspec.structs.replace(received, worker=job.worker))
                return
        real_step(turn, received)

    patch.setitem(_writes, ev.JobsDispatched, write)
    patch.setitem(_steps, inputs.ResultsReported, on_results)


def reconciliation_ignores_unknown_leases(patch: Patch) -> None:
    real = workers._reconcile

    def reconcile(
        turn: Turn, worker: Worker, leases: Sequence[int], started: Sequence[float], foreign: Any, *, all_seen: bool
    ) -> None:
        known = [(lease, at) for lease, at in zip(leases, started, strict=True) if lease in worker.held or lease in worker.ending]
        real(turn, worker, [lease for lease, _ in known], [at for _, at in known], foreign, all_seen=all_seen)

    patch.setattr(workers, "_reconcile", reconcile)


def reconciliation_misses_lost_dispatches(patch: Patch) -> None:
    real = workers._reconcile

    def reconcile(
        turn: Turn, worker: Worker, leases: Sequence[int], started: Sequence[float], foreign: Any, *, all_seen: bool
    ) -> None:
        missing = [lease for lease in worker.held if lease not in leases]
        real(turn, worker, [*leases, *missing], [*started, *[0.0] * len(missing)], foreign, all_seen=all_seen)

    patch.setattr(workers, "_reconcile", reconcile)


def heartbeats_are_taken_for_registrations(patch: Patch) -> None:
    real = workers._reconcile
    patch.setattr(workers, "_reconcile", lambda *args, all_seen: real(*args, all_seen=True))


def orders_to_stop_are_not_repeated(patch: Patch) -> None:
    real = workers._reconcile

    def reconcile(turn: Turn, *args: Any, all_seen: bool) -> None:
        real(turn, *args, all_seen=all_seen)
        turn.effects[:] = [effect for effect in turn.effects if not isinstance(effect, fx.SendStop)]

    patch.setattr(workers, "_reconcile", reconcile)


def affinity_is_never_released(patch: Patch) -> None:
    patch.setattr(workers, "_release_pinned", lambda turn, worker: None)


def a_lost_attempt_forgets_its_affinity(patch: Patch) -> None:
    patch.setattr(finish, "choose_pins", lambda state, jobs: ([], {}))


def affinity_overrides_capabilities(patch: Patch) -> None:
    patch.setattr(ready, "has_capabilities", lambda worker, template: True)


def cancel_does_not_cascade(patch: Patch) -> None:
    for module in (cancel, finish):
        patch.setattr(module, "cancel_descendants", lambda *_: [])


def cancel_forgets_what_runs(patch: Patch) -> None:
    real = cancel.cancel

    def forgetful(turn: Turn, jobs: list[int], cause: Cause, reason: str) -> None:
        real(turn, [j for j in jobs if turn.state.jobs[j].state is not JobState.RUNNING], cause, reason)

    patch.setattr(cancel, "cancel", forgetful)


def cancel_changes_an_event_it_has_emitted(patch: Patch) -> None:
    real = cancel.cancel_descendants

    def cascade(turn: Turn, number: int, reason: str) -> list[int]:
        doomed = real(turn, number, reason)
        turn.events[0].jobs.extend(doomed)  # type: ignore[union-attr]
        return doomed

    patch.setattr(cancel, "cancel_descendants", cascade)


def heartbeat_deadlines_are_ignored(patch: Patch) -> None:
    def on_deadline(turn: Turn, number: int) -> None:
        worker = turn.state.workers[number]
        worker.watched = False
        worker.deadline = turn.now + 1000.0
        turn.state.watch(worker)

    patch.setattr(step, "on_deadline", on_deadline)


def blame_is_never_taken_back(patch: Patch) -> None:
    real = _writes[ev.WorkerJoined]

    def write(state: State, e: ev.WorkerJoined) -> None:
        if e.worker in state.workers:
            state.workers[e.worker].blamed.clear()
        real(state, e)

    patch.setitem(_writes, ev.WorkerJoined, write)


def everyone_on_a_lost_worker_is_poison(patch: Patch) -> None:
    real = finish.lose
    for module in (workers, finish):
        patch.setattr(module, "lose", lambda turn, worker, jobs, blamed, reason, doubted=(): real(turn, worker, jobs, jobs, reason))


def retry_timers_are_lost(patch: Patch) -> None:
    real = State.arm

    def arm(state: State, due: float, kind: TimerKind, number: int) -> None:
        if kind != TimerKind.JOB or number % 5:
            real(state, due, kind, number)

    patch.setattr(State, "arm", arm)


def timers_do_not_survive_a_restart(patch: Patch) -> None:
    real = State.reindex

    def reindex(state: State) -> None:
        real(state)
        state.timers = [timer for timer in state.timers if timer[1] != TimerKind.JOB]

    patch.setattr(State, "reindex", reindex)


def one_retry_too_many(patch: Patch) -> None:
    real = finish._retry_at

    def retry_at(state: State, now: float, number: int, outcome: int, jitter: float) -> float:
        return real(state, now, number, outcome, jitter) or (now + 1.0 if state.jobs[number].failures == 1 else 0.0)

    patch.setattr(finish, "_retry_at", retry_at)


def handed_back_attempts_count_as_failures(patch: Patch) -> None:
    real = _steps[inputs.ResultsReported]

    def on_results(turn: Turn, received: inputs.ResultsReported) -> None:
        outcomes = [Outcome.BROKEN if outcome == Outcome.RETURNED else outcome for outcome in received.outcomes]
        real(turn, msgspec.structs.replace(received, outcomes=outcomes))

    patch.setitem(_steps, inputs.ResultsReported, on_results)


def the_same_key_makes_a_second_run(patch: Patch) -> None:
    real = _steps[inputs.DagSubmitted]
    patch.setitem(_steps, inputs.DagSubmitted, lambda turn, it: real(turn, msgspec.structs.replace(it, key=f"{it.key}/{it.run}")))


def starts_are_not_journaled(patch: Patch) -> None:
    patch.setattr(ev, "VOLATILE", (*ev.VOLATILE, ev.JobsStarted))


def snapshots_forget_blame(patch: Patch) -> None:
    real = snapshot.load

    def load(state: State, chunks: Any) -> None:
        real(state, chunks)
        for worker in state.workers.values():
            worker.blamed.clear()

    patch.setattr(snapshot, "load", load)


def replay_skips_an_event(patch: Patch) -> None:
    def half_deaf(state: State, event: ev.Event) -> None:
        if not isinstance(event, ev.LeasesEnded):
            apply(state, event)

    patch.setattr("titan.sim.master.apply", half_deaf)


def an_older_process_is_taken_for_the_newer(patch: Patch) -> None:
    real = workers._why_not

    def why_not(state: State, known: Worker, received: inputs.WorkerRegistered, now: float) -> str:
        return "" if received.incarnation < known.incarnation else real(state, known, received, now)

    patch.setattr(workers, "_why_not", why_not)


def resources_in_use_are_not_counted(patch: Patch) -> None:
    real = pool._has_free

    def has_free(seat: pool.Seat, amounts: Amounts, hold: pool.Reservation | None) -> bool:
        return real(msgspec.structs.replace(seat, taken=NOTHING), amounts, hold)

    patch.setattr(pool, "_has_free", has_free)


def resources_of_attempts_that_ended_stay_taken(patch: Patch) -> None:
    for module in (apply_jobs, moves):
        patch.setattr(module, "give_back", lambda worker, lease, needs: None)


def one_of_several_capabilities_is_enough(patch: Patch) -> None:
    patch.setattr(pool, "_offers", lambda capabilities, demand: any(c in capabilities for c in demand.capabilities))


# -- failure and gates -----------------------------------------------------------------------------
def a_retry_forgets_what_was_cancelled_because_of_the_job(patch: Patch) -> None:
    patch.setattr(dlq, "plan", lambda state, dead: (dead, len(dead)))


def a_retry_brings_back_what_a_user_cancelled(patch: Patch) -> None:
    patch.setattr(dlq, "is_consequence", lambda job: True)


def a_retried_job_keeps_its_failures(patch: Patch) -> None:
    patch.setattr(apply_failure, "_forgive", lambda job: None)


def a_retry_that_is_said_twice_is_refused(patch: Patch) -> None:
    real = _steps[inputs.DeadRetried]

    def on_retried(turn: Turn, received: inputs.DeadRetried) -> None:
        run = turn.state.runs.get(received.run)
        if run is not None and run.retried[0] == received.key:
            turn.order(fx.Refuse(received.origin, received.request, "conflict", "not DEAD"))
        else:
            real(turn, received)

    patch.setitem(_steps, inputs.DeadRetried, on_retried)


def a_decision_that_is_said_twice_is_refused(patch: Patch) -> None:
    patch.setattr(gates, "is_repeated", lambda facts, key, approve: False)


def gates_never_expire(patch: Patch) -> None:
    patch.setattr(step, "expire", lambda turn, numbers: None)


def a_rejected_gate_lets_its_children_wait(patch: Patch) -> None:
    patch.setattr(gates, "cancel_descendants", lambda turn, number, reason: [])


def a_restart_tells_every_webhook_again(patch: Patch) -> None:
    def announce(turn: Turn) -> None:
        for number in turn.state.gates:
            gate = turn.state.jobs[number].template.gate
            if gate is not None and gate.webhook:
                turn.order(fx.AnnounceGate(number))

    patch.setattr(step, "announce_open", announce)


def handlers_run_whatever_comes(patch: Patch) -> None:
    def unlock(turn: Turn, completed: Sequence[int]) -> list[int]:
        ready.make_ready(turn, real(turn, completed))
        return []

    real = ready.unlock
    patch.setattr(finish, "unlock", unlock)


def what_was_changed_while_it_was_written_leaves(patch: Patch) -> None:
    real = _steps[inputs.HistoryKept]
    patch.setitem(_steps, inputs.HistoryKept, lambda turn, it: real(turn, inputs.HistoryKept(it.runs)))


def exit_codes_are_never_final(patch: Patch) -> None:
    patch.setattr(finish, "is_final", lambda template, outcome, code: False)


def what_waits_behind_the_slots_is_doubted(patch: Patch) -> None:
    patch.setattr(workers, "_first_in_line", lambda state, worker: list(worker.held.values()))


# -- time ------------------------------------------------------------------------------------------
def overlap_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(schedules, "is_busy", lambda state, schedule: False)


def what_was_missed_is_decided_on_as_if_nobody_had_been_away(patch: Patch) -> None:
    def catch_up(turn: Turn, schedule: Schedule) -> None:
        turn.schedules[schedule.name] = None

    patch.setattr(schedules, "_catch_up", catch_up)


def the_first_time_that_was_missed_is_lost(patch: Patch) -> None:
    real = timing.last_times
    patch.setattr(schedules, "last_times", lambda *span: real(*span)[1:] or real(*span))


def a_time_that_waited_is_run_again(patch: Patch) -> None:
    """A waiting time stays in the list after its run was made, and the idempotency key does not
    prevent a second run."""
    drawn = iter(range(1 << 30))
    patch.setattr(schedules, "key_of", lambda name, nominal: f"{name}/{next(drawn)}")

    def settle(state: State, schedule: Schedule, nominal: float, due: float) -> None:
        apply_schedules._move_on(state, schedule, due)

    patch.setattr(apply_schedules, "_settle", settle)


def times_that_wait_are_forgotten_by_snapshots(patch: Patch) -> None:
    real = snapshot.load

    def load(state: State, chunks: Any) -> None:
        real(state, chunks)
        for schedule in state.schedules.values():
            schedule.waiting.clear()

    patch.setattr(snapshot, "load", load)


def what_waits_is_never_run(patch: Patch) -> None:
    patch.setattr(step, "fire_waiting", lambda turn: None)


def a_restart_forgets_when_schedules_are_due(patch: Patch) -> None:
    """The restart keeps only the schedules that became due while the master was away."""
    real = State._reindex_schedules

    def reindex(state: State) -> None:
        real(state)
        state.timers.clear()

    patch.setattr(State, "_reindex_schedules", reindex)


def deadlines_are_forgotten(patch: Patch) -> None:
    def expire(turn: Turn, run: Run) -> None:
        return

    patch.setattr(step, "expire", expire)


def jobs_run_before_their_time(patch: Patch) -> None:
    real = ready.make_ready

    def make_ready(turn: Turn, jobs: Sequence[int]) -> None:
        early = [n for n in jobs if turn.state.jobs[n].template.run_at]
        ready.queue(turn, early)
        real(turn, [n for n in jobs if n not in early])

    patch.setattr(ready, "make_ready", make_ready)


# -- the worker machine ----------------------------------------------------------------------------
def results_are_forgotten_before_they_are_acknowledged(patch: Patch) -> None:
    real = wm.WorkerMachine._flush

    def flush(machine: wm.WorkerMachine, now: float) -> None:
        real(machine, now)
        for lease in [lease for lease, h in machine.held.items() if h.phase is wm.Phase.DONE]:
            del machine.held[lease]

    patch.setattr(wm.WorkerMachine, "_flush", flush)


def a_dispatch_said_twice_runs_twice(patch: Patch) -> None:
    real = _machine[wm.Dispatched]

    def on_dispatched(machine: wm.WorkerMachine, now: float, it: wm.Dispatched) -> None:
        for assignment in it.assignments:
            if machine.held.pop(assignment.lease, None) is not None:
                machine.busy -= 1
        real(machine, now, it)

    patch.setitem(_machine, wm.Dispatched, on_dispatched)


def nobody_counts_what_is_being_stopped(patch: Patch) -> None:
    """Neither the master nor the worker counts the attempts that are being stopped. The master
    would otherwise send no more attempts than fit, and the worker would let them wait."""

    real_write = _writes[ev.JobsCancelled]

    def write(state: State, e: ev.JobsCancelled) -> None:
        real_write(state, e)
        for worker in state.workers.values():
            worker.ending.clear()
            state.reload(worker)

    real = wm.WorkerMachine._fill

    def fill(machine: wm.WorkerMachine, now: float) -> None:
        machine.busy = 0
        real(machine, now)

    patch.setitem(_writes, ev.JobsCancelled, write)
    patch.setattr(wm.WorkerMachine, "_fill", fill)


def what_is_told_to_stop_leaves_its_gpus_at_once(patch: Patch) -> None:
    """Neither the master nor the worker waits for the end of an attempt before its GPUs count as
    free."""
    real = _machine[wm.StopOrdered]

    def on_stop(machine: wm.WorkerMachine, now: float, it: wm.StopOrdered) -> None:
        real(machine, now, it)
        for lease in it.leases:
            machine.resources.give_back(lease)

    real_write = _writes[ev.JobsCancelled]

    def write(state: State, e: ev.JobsCancelled) -> None:
        real_write(state, e)
        for worker in state.workers.values():
            worker.fenced.clear()
            worker.taken = state.count_taken(worker)
            state.reload(worker)

    patch.setitem(_machine, wm.StopOrdered, on_stop)
    patch.setitem(_writes, ev.JobsCancelled, write)


def orders_to_stop_what_waits_are_ignored(patch: Patch) -> None:
    real = _machine[wm.StopOrdered]

    def on_stop(machine: wm.WorkerMachine, now: float, it: wm.StopOrdered) -> None:
        waiting = [lease for lease in it.leases if lease in machine.held and machine.held[lease].phase <= wm.Phase.WAITING]
        real(machine, now, wm.StopOrdered([lease for lease in it.leases if lease not in waiting], it.grace_s))

    patch.setitem(_machine, wm.StopOrdered, on_stop)


def time_limits_are_ignored(patch: Patch) -> None:
    patch.setattr("titan.worker.state_machine.machine.heappush", lambda heap, timer: None)


def heartbeats_list_what_was_reported(patch: Patch) -> None:
    real = wm.WorkerMachine.holdings
    patch.setattr(wm.WorkerMachine, "holdings", lambda machine, without=None: real(machine))


def results_do_not_wait_for_outputs(patch: Patch) -> None:
    patch.setattr("titan.worker.state_machine.machine.begin_output_upload", lambda h: [])


def attempts_do_not_wait_for_their_inputs(patch: Patch) -> None:
    real: Any = wm.Assignment.needs

    def needs(assignment: wm.Assignment) -> list[str]:
        return [hash_ for hash_ in real.fget(assignment) if not hash_.startswith(messages.FILE_PREFIX)]

    patch.setattr(wm.Assignment, "needs", property(needs))


def an_input_is_another_output(patch: Patch) -> None:
    real = job_inputs.placed_files

    def placed_files(path: str, source: str, output: str, givers: Sequence[Giver]) -> list[StoredFile]:
        return real(path, source, givers[0].template.outputs[-1][0] if givers else output, givers)

    patch.setattr(publishing, "placed_files", placed_files)


def the_first_call_is_always_to_blame(patch: Patch) -> None:
    real = _machine[wm.RunnerEnded]
    patch.setitem(
        _machine, wm.RunnerEnded, lambda machine, now, it: real(machine, now, msgspec.structs.replace(it, ran=max(1, it.ran)))
    )


# -- services --------------------------------------------------------------------------------------
def a_service_is_ready_for_ever(patch: Patch) -> None:
    """The children of the service are queued while the service moves to another worker."""

    def release_lease(state: State, job: Job) -> None:
        worker = state.workers[job.worker]
        del worker.held[job.lease]
        worker.recalled.pop(job.lease, None)
        job.lease = 0

    patch.setattr("titan.core.apply.jobs.release_lease", release_lease)


def children_of_a_lost_service_stay_queued(patch: Patch) -> None:
    patch.setattr(step, "hold", lambda turn: turn.state.unsettled.clear())


def a_service_that_runs_is_taken_for_ready(patch: Patch) -> None:
    real = _steps[inputs.ServicesSeen]
    patch.setitem(_steps, inputs.ServicesSeen, lambda turn, it: real(turn, msgspec.structs.replace(it, ready_ats=it.started)))


def late_reports_of_services_count(patch: Patch) -> None:
    real = _steps[inputs.ServicesSeen]

    def on_seen(turn: Turn, received: inputs.ServicesSeen) -> None:
        for job in turn.state.jobs.values():
            if job.service is not None:
                job.service.serial = 0
        real(turn, received)

    patch.setitem(_steps, inputs.ServicesSeen, on_seen)


def the_address_of_a_service_that_moved_is_the_old_one(patch: Patch) -> None:
    real = _writes[ev.ServicesReported]

    def write(state: State, e: ev.ServicesReported) -> None:
        known = [state.jobs[number].service for number in e.jobs]
        addresses = [s.address if s is not None and s.address else e.addresses[i] for i, s in enumerate(known)]
        real(state, msgspec.structs.replace(e, addresses=addresses))

    patch.setitem(_writes, ev.ServicesReported, write)


def helpers_are_never_stopped(patch: Patch) -> None:
    patch.setattr(step, "stop_helpers", lambda turn: None)


def helpers_are_stopped_too_early(patch: Patch) -> None:
    def stop_helpers(turn: Turn) -> None:
        for run in list(turn.runs.values()):
            live = turn.state.services.get(run.id, {})
            services.stop(turn, [n for n in live if not services.goes_on(turn.state, turn.state.jobs[n])], "stopped", by_user=False)

    patch.setattr(step, "stop_helpers", stop_helpers)


def what_is_replaced_is_forgotten_when_it_is_gone(patch: Patch) -> None:
    patch.setitem(_writes, ev.ServicesRetired, lambda state, e: None)


def a_service_is_started_again_before_it_has_ended(patch: Patch) -> None:
    real = worker_services.Services._replace

    def replace(it: worker_services.Services, now: float, lease: int, watch: worker_services.Watch, why: str) -> None:
        real(it, now, lease, watch, why)
        it._machine.order(messages.RestartService(lease))

    patch.setattr(worker_services.Services, "_replace", replace)


def a_service_between_two_processes_cannot_be_stopped(patch: Patch) -> None:
    patch.setattr(worker_services.Services, "_end_if_idle", lambda *args: False)


# -- the shell's rules -----------------------------------------------------------------------------
def who_stands_behind_another_never_has_its_slot(patch: Patch) -> None:
    real = Ahead.ended
    patch.setattr(Ahead, "ended", lambda self, lease: real(self, lease) * 0)


def what_was_taken_away_from_behind_another_is_forgotten(patch: Patch) -> None:
    patch.setitem(wm._HANDLERS, wm.AttemptWithdrawn, lambda machine, now, seen: None)


def what_was_written_to_the_store_is_not_replayed(patch: Patch) -> None:
    patch.setitem(_writes, ev.StoreChanged, lambda state, event: None)


def who_cancelled_is_not_recorded(patch: Patch) -> None:
    real = _steps[inputs.CancelRequested]

    def on_request(turn: Turn, received: inputs.CancelRequested) -> None:
        turn.actor = ""
        real(turn, received)

    patch.setitem(_steps, inputs.CancelRequested, on_request)


def snapshots_forget_the_store(patch: Patch) -> None:
    patch.setattr(Store, "rewrite", lambda self: iter(()))
    patch.setattr("titan.sim.master.canonical", lambda state: b"")


def additions_are_made_twice(patch: Patch) -> None:
    real = _steps[inputs.RunGrowthRequested]

    def on_request(turn: Turn, received: inputs.RunGrowthRequested) -> None:
        known = turn.state.workers[received.worker].held.get(received.lease) if received.worker in turn.state.workers else None
        grown = turn.state.jobs[known].run.grown if known is not None else []
        if any(growth.by == known for growth in grown):
            dag = msgspec.structs.replace(
                received.dag, ids=[f"{name}-{len(grown)}" for name in received.dag.ids], parents=[()] * len(received.dag.ids)
            )
            received = msgspec.structs.replace(received, dag=dag, key=f"{len(grown)}")
        real(turn, received)

    patch.setitem(_steps, inputs.RunGrowthRequested, on_request)


def a_join_does_not_wait_for_what_was_added_before_it(patch: Patch) -> None:
    real = _writes[ev.RunGrown]

    def write(state: State, e: ev.RunGrown) -> None:
        real(state, e)
        for number, positions in e.before:
            state.jobs[number].missing = max(0, state.jobs[number].missing - len(positions))

    patch.setitem(_writes, ev.RunGrown, write)


def a_stale_attempt_still_adds_jobs(patch: Patch) -> None:
    given: dict[int, int] = {}
    real_write, real_who = _writes[ev.JobsDispatched], growth._requester

    def write(state: State, e: ev.JobsDispatched) -> None:
        given.update((e.first_lease + i, number) for i, number in enumerate(e.jobs))
        real_write(state, e)

    def who(state: State, received: inputs.RunGrowthRequested) -> tuple[Run, int]:
        job = state.jobs.get(given.get(received.lease, 0))
        return (
            (job.run, given[received.lease]) if job is not None and job.run.state is RunState.RUNNING else real_who(state, received)
        )

    patch.setitem(_writes, ev.JobsDispatched, write)
    patch.setattr(growth, "_requester", who)


def snapshots_forget_how_a_run_grew(patch: Patch) -> None:
    real = snapshot.dump_run

    def dump_run(state: State, run: Run, chunk_jobs: int) -> Any:
        less = msgspec.structs.replace(run, grown=[], count=run.begun_with)
        return real(state, less, chunk_jobs)

    patch.setattr(snapshot, "dump_run", dump_run)


# -- what jobs say of themselves -------------------------------------------------------------------
def statuses_of_fenced_attempts_count(patch: Patch) -> None:
    jobs: dict[int, int] = {}
    real_write, real_step = _writes[ev.JobsDispatched], _steps[inputs.StatusesSeen]

    def write(state: State, e: ev.JobsDispatched) -> None:
        jobs.update((e.first_lease + i, number) for i, number in enumerate(e.jobs))
        real_write(state, e)

    def on_seen(turn: Turn, received: inputs.StatusesSeen) -> None:
        real_step(turn, received)
        for lease, text in zip(received.leases, received.texts, strict=True):
            job = turn.state.jobs.get(jobs.get(lease, 0))
            if job is not None and job.lease not in (0, lease):
                turn.emit(ev.StatusReported([jobs[lease]], [text], turn.now))

    patch.setitem(_writes, ev.JobsDispatched, write)
    patch.setitem(_steps, inputs.StatusesSeen, on_seen)


def the_first_status_is_said_again_after_a_cut(patch: Patch) -> None:
    real_status, real_disconnected = ReportOutbox.status, ReportOutbox.disconnected
    firsts: dict[tuple[ReportOutbox, int], str] = {}

    def status(news: ReportOutbox, lease: int, text: str) -> float:
        firsts.setdefault((news, lease), text)
        return real_status(news, lease, text)

    def disconnected(news: ReportOutbox) -> None:
        for lease, known in news._statuses.items():
            known.text = firsts[news, lease]
        real_disconnected(news)

    patch.setattr(ReportOutbox, "status", status)
    patch.setattr(ReportOutbox, "disconnected", disconnected)


def a_status_that_was_told_before_a_cut_is_known(patch: Patch) -> None:
    """A status that was sent counts as received after a disconnect. But the status may have been
    lost on its way, or with the master that received it."""
    real = ReportOutbox.disconnected

    def disconnected(news: ReportOutbox) -> None:
        texts = {lease: status.sent_text for lease, status in news._statuses.items()}
        real(news)
        for lease, status in news._statuses.items():
            status.sent_text = texts[lease]

    patch.setattr(ReportOutbox, "disconnected", disconnected)


def statuses_come_behind_the_results(patch: Patch) -> None:
    patch.setattr(ReportOutbox, "all_statuses", lambda news, now: [])


def statuses_are_not_journaled(patch: Patch) -> None:
    patch.setattr(ev, "VOLATILE", (*ev.VOLATILE, ev.StatusReported))


def the_status_of_the_last_attempt_stays(patch: Patch) -> None:
    for module in (moves, apply_jobs, apply_services):
        patch.setattr(module, "hush", lambda job: None)


def progress_is_not_said_again_after_a_cut(patch: Patch) -> None:
    real = ReportOutbox.disconnected

    def disconnected(news: ReportOutbox) -> None:
        real(news)
        news._unsent_progress.clear()

    patch.setattr(ReportOutbox, "disconnected", disconnected)


def progress_of_attempts_that_are_over_stays(patch: Patch) -> None:
    real = _writes[ev.JobsCompleted]

    def write(state: State, e: ev.JobsCompleted) -> None:
        kept = dict(state.progress)
        real(state, e)
        state.progress = kept

    patch.setitem(_writes, ev.JobsCompleted, write)


def the_result_that_was_set_first_counts(patch: Patch) -> None:
    real = job_values.on_result_set

    def on_result_set(h: wm.Held, it: messages.ResultSet) -> None:
        if not h.value:
            real(h, it)

    patch.setattr("titan.worker.state_machine.machine.on_result_set", on_result_set)


def effects_do_not_wait_for_the_sync(patch: Patch) -> None:
    def release(order: Sequencer) -> Iterator[Callable[[], None]]:
        while order._held:
            yield from order._held.popleft()[1]

    patch.setattr(Sequencer, "release", release)


def effects_without_events_do_not_wait(patch: Patch) -> None:
    """A repeated submission is answered at once, although the first submission is not synced
    yet."""
    take = Sequencer.take
    at_turn: dict[Sequencer, int] = {}
    """Sequence of the last record when the turn began."""

    def begin_turn(order: Sequencer, state: State, now: float, *, only_oldest: bool = False) -> list[inputs.Input]:
        at_turn[order] = order.seq
        return take(order, state, now, only_oldest=only_oldest)

    def hold(order: Sequencer, calls: Sequence[Callable[[], None]]) -> None:
        if order.seq != at_turn.get(order):
            order._held.append((order.seq, calls))
        else:
            order._held.appendleft((order.durable, calls))

    patch.setattr(Sequencer, "take", begin_turn)
    patch.setattr(Sequencer, "hold", hold)


def a_sync_claims_what_was_written_meanwhile(patch: Patch) -> None:
    real = Disk.synced
    patch.setattr(Disk, "synced", lambda disk, size, seq: real(disk, size, disk.next_seq - 1))


def a_follower_leaves_out_the_end_of_a_long_record(patch: Patch) -> None:
    def events_of(record: Record, ours: bytes) -> list[ev.Event]:
        events = reading.events_of(record, ours)
        return events if len(events) < 5 else events[:-1]

    patch.setattr(follower, "events_of", events_of)


def what_is_derived_is_not_built_anew_before_a_follower_leads(patch: Patch) -> None:
    patch.setattr(follower.Follower, "settle", lambda it: None)


# -- burst workers ---------------------------------------------------------------------------------
def those_that_are_leaving_do_not_count(patch: Patch) -> None:
    real = scaling.look_at
    patch.setattr(scaling, "look_at", lambda state, rule, now: real(state, rule, now)._replace(leaving=0))


def a_busy_burst_worker_is_retired(patch: Patch) -> None:
    real = scaling.look_at

    def look_at(state: State, rule: Rule, now: float) -> Look:
        mine = [burst.name for burst in state.bursts.values() if burst.rule == rule.name and not burst.retired_at]
        return real(state, rule, now)._replace(idle=tuple([(name, 1000.0) for name in mine]))

    patch.setattr(scaling, "look_at", look_at)


def names_of_burst_workers_come_again(patch: Patch) -> None:
    real = scaling._start

    def start(turn: Turn, rule: Rule, decided: Plan) -> None:
        term, turn.state.term = turn.state.term, 1
        real(turn, rule, decided)
        turn.state.term = term

    patch.setattr(scaling, "_start", start)


def a_burst_worker_that_ended_is_taken_in_again(patch: Patch) -> None:
    patch.setattr(workers, "BURST_PREFIX", "no such prefix")


def one_that_never_came_is_waited_for(patch: Patch) -> None:
    """A burst worker that never registers is neither given up when it is late, nor stopped when the
    provider reports it late."""
    patch.setattr(scaling, "_repeat_orders", lambda turn: None)
    patch.setattr("titan.sim.provider.SimProvider._end", lambda provider, name, reason: provider._coming.pop(name, None))


def a_drained_worker_is_told_only_once(patch: Patch) -> None:
    """The order to leave is sent once. It may be lost with a connection."""
    real = workers.ask_to_leave

    def ask(turn: Turn, worker: Worker, *, now: bool) -> None:
        before = worker.asked
        real(turn, worker, now=now)
        if before:
            turn.effects.pop()

    patch.setattr(workers, "ask_to_leave", ask)
    real_beat = _steps[inputs.WorkerBeat]

    def beat(turn: Turn, received: inputs.WorkerBeat) -> None:
        real_beat(turn, received)
        turn.effects[:] = [effect for effect in turn.effects if not isinstance(effect, fx.SendLeave)]

    patch.setitem(_steps, inputs.WorkerBeat, beat)


def those_who_come_back_are_forgotten_all_the_same(patch: Patch) -> None:
    def forget(turn: Turn, number: int) -> None:
        if number in turn.state.workers:
            turn.emit(ev.WorkersForgotten([number], turn.now))

    patch.setattr("titan.core.step.forget_if_due", forget)


def arguments_do_not_count_for_a_reused_result(patch: Patch) -> None:
    real = caching.cache_key
    patch.setattr(
        "titan.core.handlers.result_cache.cache_key",
        lambda template, facts: real(template, msgspec.structs.replace(facts, args=())),
    )


def results_of_any_age_are_reused(patch: Patch) -> None:
    def usable(turn: Turn, job: Job, key: str) -> CachedResult | None:
        return turn.state.result_cache.results.get(key)

    patch.setattr(result_cache, "_usable", usable)


def a_reused_result_is_that_of_the_last_key(patch: Patch) -> None:
    def write(state: State, e: ev.JobsReused) -> None:
        real(state, msgspec.structs.replace(e, keys=[next(reversed(state.result_cache.results))] * len(e.keys)))

    real = _writes[ev.JobsReused]
    patch.setitem(_writes, ev.JobsReused, write)


def snapshots_forget_cached_results(patch: Patch) -> None:
    real = snapshot.load

    def load(state: State, chunks: Any) -> None:
        real(state, chunks)
        for key in list(state.result_cache.results):
            state.result_cache.drop(key)

    patch.setattr(snapshot, "load", load)


def the_limit_of_an_array_is_not_kept(patch: Patch) -> None:
    patch.setattr(placement, "_is_full", lambda *args: False)


def results_that_cannot_be_put_in_are_left_out(patch: Patch) -> None:
    patch.setattr(queued_jobs, "results_problem", lambda state, job: "")


def results_of_another_parent_are_put_in(patch: Patch) -> None:
    real = job_results.results_for

    def results_for(state: State, job: Job) -> tuple[tuple[str, str], ...]:
        found = real(state, job)
        return tuple([(name, found[-1][1]) for name, _ in found])

    patch.setattr(outbound, "results_for", results_for)


PLANTS: list[Callable[[Patch], None]] = [
    the_limit_of_an_array_is_not_kept,
    results_that_cannot_be_put_in_are_left_out,
    results_of_another_parent_are_put_in,
    arguments_do_not_count_for_a_reused_result,
    results_of_any_age_are_reused,
    a_reused_result_is_that_of_the_last_key,
    snapshots_forget_cached_results,
    children_are_unlocked_by_one_parent,
    results_of_fenced_leases_count,
    reconciliation_ignores_unknown_leases,
    reconciliation_misses_lost_dispatches,
    heartbeats_are_taken_for_registrations,
    orders_to_stop_are_not_repeated,
    affinity_is_never_released,
    a_lost_attempt_forgets_its_affinity,
    affinity_overrides_capabilities,
    cancel_does_not_cascade,
    cancel_forgets_what_runs,
    cancel_changes_an_event_it_has_emitted,
    heartbeat_deadlines_are_ignored,
    blame_is_never_taken_back,
    everyone_on_a_lost_worker_is_poison,
    retry_timers_are_lost,
    timers_do_not_survive_a_restart,
    one_retry_too_many,
    handed_back_attempts_count_as_failures,
    the_same_key_makes_a_second_run,
    starts_are_not_journaled,
    snapshots_forget_blame,
    replay_skips_an_event,
    an_older_process_is_taken_for_the_newer,
    a_retry_forgets_what_was_cancelled_because_of_the_job,
    a_retry_brings_back_what_a_user_cancelled,
    a_retried_job_keeps_its_failures,
    a_retry_that_is_said_twice_is_refused,
    a_decision_that_is_said_twice_is_refused,
    gates_never_expire,
    a_rejected_gate_lets_its_children_wait,
    a_restart_tells_every_webhook_again,
    handlers_run_whatever_comes,
    what_was_changed_while_it_was_written_leaves,
    exit_codes_are_never_final,
    what_waits_behind_the_slots_is_doubted,
    overlap_is_not_looked_at,
    what_was_missed_is_decided_on_as_if_nobody_had_been_away,
    the_first_time_that_was_missed_is_lost,
    a_time_that_waited_is_run_again,
    times_that_wait_are_forgotten_by_snapshots,
    what_waits_is_never_run,
    a_restart_forgets_when_schedules_are_due,
    deadlines_are_forgotten,
    jobs_run_before_their_time,
    resources_in_use_are_not_counted,
    resources_of_attempts_that_ended_stay_taken,
    one_of_several_capabilities_is_enough,
    what_is_told_to_stop_leaves_its_gpus_at_once,
    results_are_forgotten_before_they_are_acknowledged,
    a_dispatch_said_twice_runs_twice,
    nobody_counts_what_is_being_stopped,
    orders_to_stop_what_waits_are_ignored,
    time_limits_are_ignored,
    heartbeats_list_what_was_reported,
    the_first_call_is_always_to_blame,
    who_stands_behind_another_never_has_its_slot,
    what_was_taken_away_from_behind_another_is_forgotten,
    a_service_is_ready_for_ever,
    children_of_a_lost_service_stay_queued,
    a_service_that_runs_is_taken_for_ready,
    late_reports_of_services_count,
    the_address_of_a_service_that_moved_is_the_old_one,
    helpers_are_never_stopped,
    helpers_are_stopped_too_early,
    what_is_replaced_is_forgotten_when_it_is_gone,
    a_service_is_started_again_before_it_has_ended,
    a_service_between_two_processes_cannot_be_stopped,
    what_was_written_to_the_store_is_not_replayed,
    who_cancelled_is_not_recorded,
    snapshots_forget_the_store,
    additions_are_made_twice,
    a_join_does_not_wait_for_what_was_added_before_it,
    a_stale_attempt_still_adds_jobs,
    snapshots_forget_how_a_run_grew,
    statuses_of_fenced_attempts_count,
    the_first_status_is_said_again_after_a_cut,
    a_status_that_was_told_before_a_cut_is_known,
    statuses_come_behind_the_results,
    statuses_are_not_journaled,
    the_status_of_the_last_attempt_stays,
    progress_is_not_said_again_after_a_cut,
    progress_of_attempts_that_are_over_stays,
    the_result_that_was_set_first_counts,
    effects_do_not_wait_for_the_sync,
    effects_without_events_do_not_wait,
    a_sync_claims_what_was_written_meanwhile,
    a_follower_leaves_out_the_end_of_a_long_record,
    what_is_derived_is_not_built_anew_before_a_follower_leads,
    those_that_are_leaving_do_not_count,
    a_busy_burst_worker_is_retired,
    names_of_burst_workers_come_again,
    a_burst_worker_that_ended_is_taken_in_again,
    one_that_never_came_is_waited_for,
    a_drained_worker_is_told_only_once,
    those_who_come_back_are_forgotten_all_the_same,
    results_do_not_wait_for_outputs,
    attempts_do_not_wait_for_their_inputs,
    an_input_is_another_output,
]


FOUND_BY = {
    "a_reused_result_is_that_of_the_last_key": 5,
    "a_burst_worker_that_ended_is_taken_in_again": 116,
    "a_busy_burst_worker_is_retired": 5,
    "a_decision_that_is_said_twice_is_refused": 17,
    "a_dispatch_said_twice_runs_twice": 12,
    "a_drained_worker_is_told_only_once": 407,
    "a_join_does_not_wait_for_what_was_added_before_it": 2,
    "a_lost_attempt_forgets_its_affinity": 56,
    "a_rejected_gate_lets_its_children_wait": 11,
    "a_restart_tells_every_webhook_again": 17,
    "a_retried_job_keeps_its_failures": 2,
    "a_retry_brings_back_what_a_user_cancelled": 47,
    "a_retry_forgets_what_was_cancelled_because_of_the_job": 10,
    "a_retry_that_is_said_twice_is_refused": 665,
    "a_service_between_two_processes_cannot_be_stopped": 90,
    "a_service_is_ready_for_ever": 5,
    "a_service_is_started_again_before_it_has_ended": 2,
    "a_service_that_runs_is_taken_for_ready": 2,
    "a_stale_attempt_still_adds_jobs": 1618,
    "a_status_that_was_told_before_a_cut_is_known": 17,
    "a_sync_claims_what_was_written_meanwhile": 10,
    "a_time_that_waited_is_run_again": 2,
    "additions_are_made_twice": 2,
    "affinity_is_never_released": 282,
    "affinity_overrides_capabilities": 2,
    "an_input_is_another_output": 10,
    "an_older_process_is_taken_for_the_newer": 5,
    "attempts_do_not_wait_for_their_inputs": 10,
    "blame_is_never_taken_back": 46,
    "cancel_forgets_what_runs": 2,
    "children_of_a_lost_service_stay_queued": 116,
    "deadlines_are_forgotten": 13,
    "effects_without_events_do_not_wait": 10,
    "everyone_on_a_lost_worker_is_poison": 2,
    "exit_codes_are_never_final": 29,
    "gates_never_expire": 13,
    "handed_back_attempts_count_as_failures": 5,
    "heartbeat_deadlines_are_ignored": 6,
    "heartbeats_are_taken_for_registrations": 8,
    "heartbeats_list_what_was_reported": 139,
    "helpers_are_never_stopped": 2,
    "jobs_run_before_their_time": 4,
    "late_reports_of_services_count": 2,
    "names_of_burst_workers_come_again": 10,
    "nobody_counts_what_is_being_stopped": 5,
    "one_of_several_capabilities_is_enough": 6,
    "one_retry_too_many": 2,
    "one_that_never_came_is_waited_for": 40,
    "orders_to_stop_are_not_repeated": 82,
    "orders_to_stop_what_waits_are_ignored": 3,
    "progress_is_not_said_again_after_a_cut": 108,
    "progress_of_attempts_that_are_over_stays": 5,
    "reconciliation_ignores_unknown_leases": 349,
    "reconciliation_misses_lost_dispatches": 5,
    "resources_in_use_are_not_counted": 8,
    "resources_of_attempts_that_ended_stay_taken": 4,
    "results_are_forgotten_before_they_are_acknowledged": 18,
    "results_do_not_wait_for_outputs": 2,
    "results_of_fenced_leases_count": 6,
    "results_of_any_age_are_reused": 59,
    "snapshots_forget_blame": 248,
    "snapshots_forget_how_a_run_grew": 3,
    "statuses_are_not_journaled": 5,
    "statuses_come_behind_the_results": 14,
    "statuses_of_fenced_attempts_count": 17,
    "the_address_of_a_service_that_moved_is_the_old_one": 10,
    "the_first_call_is_always_to_blame": 56,
    "the_first_status_is_said_again_after_a_cut": 5,
    "the_first_time_that_was_missed_is_lost": 11,
    "the_result_that_was_set_first_counts": 5,
    "the_same_key_makes_a_second_run": 2,
    "the_status_of_the_last_attempt_stays": 5,
    "those_that_are_leaving_do_not_count": 12,
    "those_who_come_back_are_forgotten_all_the_same": 2,
    "time_limits_are_ignored": 2,
    "timers_do_not_survive_a_restart": 4,
    "times_that_wait_are_forgotten_by_snapshots": 4,
    "what_is_replaced_is_forgotten_when_it_is_gone": 1070,
    "what_is_told_to_stop_leaves_its_gpus_at_once": 216,
    "what_waits_behind_the_slots_is_doubted": 5,
    "what_waits_is_never_run": 4,
    "what_was_changed_while_it_was_written_leaves": 203,
    "what_was_missed_is_decided_on_as_if_nobody_had_been_away": 2,
    "what_was_taken_away_from_behind_another_is_forgotten": 32,
    "who_cancelled_is_not_recorded": 2,
    "who_stands_behind_another_never_has_its_slot": 32,
}
"""Seed that finds the planted bug, if it is not the first seed; it is tried first. After a change
of the scenarios it may find nothing. All other seeds are then tried."""


@functools.cache
def assert_green(seed: int) -> None:
    """Check that a seed is green without a planted bug. Many planted bugs are found by the same
    seed, so each seed is simulated once per process."""
    simulate(seed)


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
def test_a_planted_bug_is_found(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    monkeypatch.setattr("titan.sim.master.check", lambda state: None)
    with monkeypatch.context() as planted:
        plant(planted)
        for seed in (FOUND_BY.get(plant.__name__, 1), *SEEDS):
            try:
                simulate(seed)
            except SimulationFailed as failure:
                print(failure)
                break
        else:
            pytest.fail(f"{len(SEEDS)} seeds are green with {plant.__name__}")
    assert_green(seed)  # otherwise the seed found a bug of its own, not the planted one
