"""Schedules: each nominal time makes one run, whatever happens to the master in between.

Each nominal time is decided exactly once, in order. The decision is an event that also holds the
next nominal time. It is one of three:

- A run is made.
- The time waits (`waiting`): its run is made later.
- The time is skipped, for a recorded reason.

A run and the event that made it are one record of the journal, so neither exists without the other.
Times between the due one and now that a restart finds were missed; the catch-up policy decides
about them. Times that it brings back wait for their turn, whatever the overlap policy.
"""

from __future__ import annotations

from math import floor, nextafter

import msgspec

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel
from titan.core.handlers.submit import is_answered
from titan.core.inputs import PauseRequested, RemovalRequested, ScheduleRequested, ScheduleRunRequested
from titan.core.state.state import Schedule, State
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, LimitExceeded, NotFound, TitanError
from titan.model.causes import Cause
from titan.model.dag import JobTemplate
from titan.model.graph import resolve
from titan.model.names import NAME_RULE, is_name, run_id
from titan.model.states import TERMINAL, RunState
from titan.model.timing import check_timing, iso, last_times, next_time, some_times

OVERLAPS = ("skip", "queue", "replace")
CATCH_UPS = ("skip", "last", "all")
MAX_SCHEDULES = 100_000
MAX_SCHEDULED_JOBS = 100_000
"""Maximum number of jobs in a schedule's DAG."""
MAX_SCHEDULED_BYTES = 16 * 1024 * 1024
"""Maximum size of the arguments of all its jobs."""
MAX_WAITING = 1_000
"""Maximum number of nominal times of one schedule that wait. It thus limits the times that catching
up brings back."""
PART_JOBS = 5_000
"""A run with more jobs is made in parts, one part per turn."""
LATE_S = 60.0
"""A nominal time that is decided later than this, because the master's process was stopped, counts
as missed."""
COUNTED = 100
"""Maximum to which missed times are counted."""
_OURS = 1 << 14
"""Bit in the entropy of a run id that marks ids drawn by the core. The shell never draws such an
id."""


# -- requests of users -----------------------------------------------------------------------------
def on_schedule_requested(turn: Turn, received: ScheduleRequested) -> None:
    state = turn.state
    known = state.schedules.get(received.name)
    # a repeated request changes nothing
    if known is None or not received.key or known.key != received.key:
        try:
            parents = _check(turn, received, known)
        except TitanError as e:
            turn.order(fx.Refuse(received.origin, received.request, e.code, str(e), getattr(e, "job", "")))
            return
        _drop_filling(turn, received.name)
        timing = received.timing
        if timing.every_s and not timing.start:
            timing = msgspec.structs.replace(timing, start=floor(turn.now * 1000) / 1000)
        turn.emit(
            ev.ScheduleAdded(
                name=received.name,
                number=known.number if known else state.next_schedule,
                key=received.key,
                dag=msgspec.structs.replace(received.dag, parents=[]),
                parents=parents,
                timing=timing,
                overlap=received.overlap,
                catch_up=received.catch_up,
                paused=received.paused,
                due=next_time(timing, turn.now),
                at=turn.now,
                actor=turn.actor,
            )
        )
    turn.order(fx.ReplyScheduled(received.origin, received.request, received.name))


def _check(turn: Turn, received: ScheduleRequested, known: Schedule | None) -> list[tuple[int, ...]]:
    """Return the parents of each job of the DAG, as positions. Raises TitanError if the request is
    invalid."""
    if not is_name(received.name):
        raise CallerError(f"schedule name {received.name[:136]!r} is malformed: a name is {NAME_RULE}")
    for policy, value, choices in (("overlap", received.overlap, OVERLAPS), ("catch-up", received.catch_up, CATCH_UPS)):
        if value not in choices:
            raise CallerError(f"{policy} policy {value[:40]!r} is unknown: use {', '.join(choices[:-1])} or {choices[-1]}")
    if known is not None and not received.replace:
        raise Conflict(f"there is a schedule {received.name!r} already: use --replace to change it, or remove it first")
    if known is None and len(turn.state.schedules) >= MAX_SCHEDULES:
        raise LimitExceeded(f"there are {MAX_SCHEDULES:,} schedules, which is the limit: remove some first")
    if len(received.dag.ids) > MAX_SCHEDULED_JOBS:
        raise LimitExceeded(
            f"DAG {received.dag.name!r} has {len(received.dag.ids):,} jobs; the limit of a scheduled DAG is"
            f" {MAX_SCHEDULED_JOBS:,}: split it"
        )
    if sum(sum(map(len, args)) for args in received.dag.args if args) + sum(map(len, received.dag.payloads)) > MAX_SCHEDULED_BYTES:
        raise LimitExceeded(
            f"the arguments of DAG {received.dag.name!r} exceed {MAX_SCHEDULED_BYTES:,} bytes, the limit of a schedule: pass files"
        )
    check_timing(received.timing, turn.now)
    parents = resolve(received.dag)
    if len(parents) > PART_JOBS and any(max(ps) > i for i, ps in enumerate(parents) if ps):
        raise CallerError(f"in a scheduled DAG of more than {PART_JOBS:,} jobs each parent must come before its children")
    return parents


def on_pause_requested(turn: Turn, received: PauseRequested) -> None:
    schedule = _find(turn, received)
    if schedule is None:
        return
    if schedule.paused is not received.paused:
        turn.emit(ev.ScheduleChanged(schedule.name, received.paused, turn.now, turn.actor))
        if not received.paused:
            _catch_up(turn, schedule)
    turn.order(fx.ReplyScheduled(received.origin, received.request, schedule.name))


def on_removal_requested(turn: Turn, received: RemovalRequested) -> None:
    schedule = _find(turn, received)
    if schedule is not None:
        _drop_filling(turn, schedule.name)
        turn.emit(ev.ScheduleRemoved(schedule.name, turn.now, turn.actor))
        turn.order(fx.ReplyScheduled(received.origin, received.request, schedule.name))


def on_schedule_run_requested(turn: Turn, received: ScheduleRunRequested) -> None:
    """Make a run now, without asking the overlap policy. The policy counts this run like any other
    run of the schedule."""
    if is_answered(turn, received.origin, received.request, received.key, received.run):
        return
    schedule = _find(turn, received)
    if schedule is not None:
        nominal = round(turn.now, 3)
        _submit(turn, schedule, received.run, received.key, nominal)
        turn.emit(ev.ScheduleFired(schedule.name, nominal, received.run, schedule.due, turn.now, True, turn.actor))
        turn.order(fx.ReplySubmitted(received.origin, received.request, received.run, len(schedule.dag.ids)))


def _find(turn: Turn, received: PauseRequested | RemovalRequested | ScheduleRunRequested) -> Schedule | None:
    schedule = turn.state.schedules.get(received.name)
    if schedule is None:
        text = f"there is no schedule {received.name[:128]!r}: `titan schedule list` lists them"
        turn.order(fx.Refuse(received.origin, received.request, NotFound.code, text))
    return schedule


# -- nominal times ---------------------------------------------------------------------------------
def fire_due(turn: Turn, schedule: Schedule) -> None:
    """Decide the nominal times up to now."""
    if turn.now - schedule.due > LATE_S:
        _catch_up(turn, schedule)
        return
    while schedule.due and schedule.due <= turn.now:
        _decide(turn, schedule, schedule.due, next_time(schedule.timing, schedule.due))


def catch_up_all(turn: Turn) -> None:
    """Catch up all schedules that are not paused, at the start of a master."""
    for schedule in turn.state.schedules.values():
        if not schedule.paused:
            _catch_up(turn, schedule)


def fire_waiting(turn: Turn) -> None:
    """Make the run of the first waiting time of each schedule that has no other open run."""
    state = turn.state
    for name in turn.schedules:
        schedule = state.schedules.get(name)
        if schedule is not None and schedule.waiting and not schedule.paused and not is_busy(state, schedule):
            _fire(turn, schedule, schedule.waiting[0], schedule.due)


def fill_runs(turn: Turn) -> None:
    """Add the next part of each large run that is being made."""
    state = turn.state
    for name, run_name in list(state.filling.items()):
        run, schedule = state.runs[run_name], state.schedules[name]
        dag, part = schedule.dag, slice(run.added, run.added + PART_JOBS)
        columns = (dag.ids[part], dag.template_of[part], dag.args[part], schedule.parents[part])
        turn.emit(ev.JobsAdded(run.id, *columns, turn.now, dag.payloads[part]))
        if run.added == run.count:
            turn.emit(ev.RunSealed(run.id, turn.now))
            turn.emit(ev.ScheduleFired(name, run.scheduled_at, run.id, schedule.due, turn.now))


def is_busy(state: State, schedule: Schedule) -> bool:
    """Return True if a run of the schedule is open or being made."""
    return schedule.name in state.filling or any(state.runs[run].open for run in state.live.get(schedule.name, ()))


def key_of(name: str, nominal: float) -> str:
    """Return the submission key of a schedule's run. It ensures that each nominal time has only one
    run."""
    return f"schedule/{name}/{round(nominal * 1000)}"


def _decide(turn: Turn, schedule: Schedule, nominal: float, due: float) -> None:
    """Decide one nominal time. `due` is the one after `nominal`."""
    name, now = schedule.name, turn.now
    if not schedule.waiting and not is_busy(turn.state, schedule):
        _fire(turn, schedule, nominal, due)
    elif schedule.overlap == "replace" and not schedule.waiting:
        _cancel_live(turn, schedule, nominal)
        _fire(turn, schedule, nominal, due)
    elif schedule.overlap == "skip":
        turn.emit(ev.ScheduleSkipped(name, 1, False, nominal, nominal, "overlap", due, now))
    elif len(schedule.waiting) >= MAX_WAITING:
        turn.emit(ev.ScheduleSkipped(name, 1, False, nominal, nominal, "full", due, now))
    else:
        turn.emit(ev.ScheduleWaited(name, [nominal], "overlap", due, now))


def _catch_up(turn: Turn, schedule: Schedule) -> None:
    """Decide the missed times up to now by the catch-up policy. Let the first waiting time make its
    run."""
    name, timing, now = schedule.name, schedule.timing, turn.now
    turn.schedules[name] = None
    if not schedule.due or schedule.due > now:
        return
    before = nextafter(schedule.due, 0.0)
    room = MAX_WAITING - len(schedule.waiting)
    most = min({"skip": 0, "last": 1, "all": MAX_WAITING}[schedule.catch_up], room)
    kept = last_times(timing, before, now, most) if most else []
    given_up = nextafter(kept[0], 0.0) if kept else now
    lost = some_times(timing, before, given_up, COUNTED + 1)
    due = next_time(timing, now)
    if lost:
        newest = last_times(timing, before, given_up, 1)[0]
        why = "full" if schedule.catch_up == "all" else "missed"
        count, then = min(len(lost), COUNTED), kept[0] if kept else due
        turn.emit(ev.ScheduleSkipped(name, count, len(lost) > COUNTED, lost[0], newest, why, then, now))
    if kept:
        turn.emit(ev.ScheduleWaited(name, kept, "missed", due, now))


def _cancel_live(turn: Turn, schedule: Schedule, nominal: float) -> None:
    state = turn.state
    for name in list(state.live.get(schedule.name, ())):
        run = state.runs[name]
        doomed = [j for j in run.numbers() if state.jobs[j].state not in TERMINAL]
        if doomed and run.state is RunState.RUNNING:
            turn.emit(ev.RunCancelled(run.id, turn.now))
            cancel(turn, doomed, Cause.REPLACED, f"replaced by the run of schedule {schedule.name} for {iso(nominal)}")


# -- runs ------------------------------------------------------------------------------------------
def _fire(turn: Turn, schedule: Schedule, nominal: float, due: float) -> None:
    """Make the run of a nominal time: the next that is due, or the first that waits."""
    name, state, now = schedule.name, turn.state, turn.now
    key = key_of(name, nominal)
    if key in state.keys or key in state.archived:
        turn.emit(ev.ScheduleSkipped(name, 1, False, nominal, nominal, "made", due, now))
    elif len(schedule.dag.ids) <= PART_JOBS:
        run = _new_run(turn)
        _submit(turn, schedule, run, key, nominal)
        turn.emit(ev.ScheduleFired(name, nominal, run, due, now))
    elif not schedule.waiting:
        turn.schedules[name] = None
        turn.emit(ev.ScheduleWaited(name, [nominal], "parts", due, now))
    else:
        dag, first = schedule.dag, state.next_job
        head = (_new_run(turn), key, dag.name, dag.version, _templates(schedule, nominal))
        turn.emit(ev.RunOpened(*head, first, len(dag.ids), now, dag.deadline_s, name, nominal, dag.group))


def _submit(turn: Turn, schedule: Schedule, run: str, key: str, nominal: float) -> None:
    dag = schedule.dag
    turn.emit(
        ev.RunSubmitted(
            run=run,
            key=key,
            name=dag.name,
            version=dag.version,
            templates=_templates(schedule, nominal),
            ids=dag.ids,
            template_of=dag.template_of,
            args=dag.args,
            parents=schedule.parents,
            first_job=turn.state.next_job,
            at=turn.now,
            payloads=dag.payloads,
            deadline_s=dag.deadline_s,
            group=dag.group,
            schedule=schedule.name,
            scheduled_at=nominal,
        )
    )


def _templates(schedule: Schedule, nominal: float) -> list[JobTemplate]:
    """Return the schedule's templates, with the nominal time in the environment of their jobs."""
    variables = (("TITAN_SCHEDULE", schedule.name), ("TITAN_SCHEDULED_AT", iso(nominal, schedule.timing.tz)))
    return [msgspec.structs.replace(template, env=(*template.env, *variables)) for template in schedule.dag.templates]


def _new_run(turn: Turn) -> str:
    at_ms = int(turn.now * 1000)
    while (name := run_id(at_ms, _OURS | turn.state.next_job % _OURS)) in turn.state.runs:
        at_ms += 1
    return name


def _drop_filling(turn: Turn, name: str) -> None:
    if name in turn.state.filling:
        turn.emit(ev.RunDropped(turn.state.filling[name], turn.now))
