"""Submission of a DAG, at once or in parts. A DAG is refused as a whole or becomes a run."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import DagSubmitted, JobsArrived, RunBegun, SubmitterGone
from titan.core.turn import Turn
from titan.errors import Bug, InvalidGraph
from titan.model.graph import check_head, check_part, resolve
from titan.model.states import RunState


def on_dag_submitted(turn: Turn, received: DagSubmitted) -> None:
    if is_answered(turn, received.origin, received.request, received.key, received.run):
        return
    dag = received.dag
    try:
        parents = resolve(dag)
    except InvalidGraph as e:
        turn.order(fx.Refuse(received.origin, received.request, e.code, str(e), e.job))
        return
    turn.emit(
        ev.RunSubmitted(
            run=received.run,
            key=received.key,
            name=dag.name,
            version=dag.version,
            templates=dag.templates,
            ids=dag.ids,
            template_of=dag.template_of,
            args=dag.args,
            parents=parents,
            first_job=turn.state.next_job,
            at=turn.now,
            payloads=dag.payloads,
            deadline_s=dag.deadline_s,
            group=dag.group,
            actor=turn.actor,
            source=dag.source,
            fresh=dag.fresh,
        )
    )
    turn.order(fx.ReplySubmitted(received.origin, received.request, received.run, len(dag.ids)))


def on_run_begun(turn: Turn, received: RunBegun) -> None:
    if is_answered(turn, received.origin, received.request, received.key, received.run):
        return
    try:
        check_head(
            received.name,
            received.templates,
            received.count,
            received.deadline_s,
            received.group,
            received.version,
            received.source,
        )
    except InvalidGraph as e:
        turn.order(fx.Refuse(received.origin, received.request, e.code, str(e), e.job))
        return
    for run in [o.run for o in turn.state.opening.values() if received.key and o.run.key == received.key]:
        # the submitter lost its connection and starts over
        turn.emit(ev.RunDropped(run.id, turn.now))
    first = turn.state.next_job
    head = (received.run, received.key, received.name, received.version, received.templates)
    turn.emit(
        ev.RunOpened(
            *head,
            first,
            received.count,
            turn.now,
            received.deadline_s,
            group=received.group,
            actor=turn.actor,
            source=received.source,
            fresh=received.fresh,
        )
    )


def on_jobs_arrived(turn: Turn, received: JobsArrived) -> None:
    opening = turn.state.opening.get(received.run)
    if opening is None:  # the submission was answered already
        return
    run = opening.run
    if received.position + len(received.ids) <= run.added:  # a repeated part
        return
    jobs, first = turn.state.jobs, run.first
    try:
        check_part(
            received,
            expected=run.added,
            count=run.count,
            templates=run.templates,
            known=opening.ids,
            job_at=lambda p: (jobs[first + p].name, jobs[first + p].template),
        )
    except InvalidGraph as e:
        turn.emit(ev.RunDropped(run.id, turn.now))
        turn.order(fx.Refuse(received.origin, received.request, e.code, str(e), e.job))
        return
    turn.emit(
        ev.JobsAdded(run.id, received.ids, received.template_of, received.args, received.parents, turn.now, received.payloads)
    )
    if run.added == run.count:
        turn.emit(ev.RunSealed(run.id, turn.now))
        turn.order(fx.ReplySubmitted(received.origin, received.request, run.id, run.count))


def on_submitter_gone(turn: Turn, received: SubmitterGone) -> None:
    if received.run in turn.state.opening:
        turn.emit(ev.RunDropped(received.run, turn.now))


def drop_openings(turn: Turn) -> None:
    """Drop the runs whose jobs had not all arrived when the last master ended. Their submitters
    start over."""
    for run in [run for run in turn.state.runs.values() if run.state is RunState.OPENING]:
        turn.emit(ev.RunDropped(run.id, turn.now))


def is_answered(turn: Turn, origin: int, request: int, key: str, run: str) -> bool:
    """Answer a repeated submission with its run and return True. Return False for a new
    submission."""
    state = turn.state
    known = state.runs.get(state.keys.get(key, ""))
    if known is not None:  # the client repeats a submission, because the first answer was lost
        turn.order(fx.ReplySubmitted(origin, request, known.id, known.count))
        return True
    if key in state.archived:
        turn.order(fx.ReplySubmitted(origin, request, *state.archived[key]))
        return True
    if run in state.runs:
        raise Bug(f"run id {run} was drawn twice")
    return False
