"""A DAG comes in, at once or in parts: refused whole, or a run."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core import events as ev
from titan.core.inputs import DagSubmitted, JobsArrived, RunBegun, SubmitterGone
from titan.core.turn import Turn
from titan.errors import Bug, InvalidGraph
from titan.model.graph import check_head, check_part, resolve
from titan.model.states import RunState


def on_dag_submitted(turn: Turn, seen: DagSubmitted) -> None:
    if is_answered(turn, seen.origin, seen.request, seen.key, seen.run):
        return
    dag = seen.dag
    try:
        parents = resolve(dag)
    except InvalidGraph as e:
        turn.order(fx.Refuse(seen.origin, seen.request, e.code, str(e), e.job))
        return
    turn.emit(
        ev.RunSubmitted(
            run=seen.run,
            key=seen.key,
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
        )
    )
    turn.order(fx.ReplySubmitted(seen.origin, seen.request, seen.run, len(dag.ids)))


def on_run_begun(turn: Turn, seen: RunBegun) -> None:
    if is_answered(turn, seen.origin, seen.request, seen.key, seen.run):
        return
    try:
        check_head(seen.name, seen.templates, seen.count, seen.deadline_s, seen.group, seen.version)
    except InvalidGraph as e:
        turn.order(fx.Refuse(seen.origin, seen.request, e.code, str(e), e.job))
        return
    for run in [o.run for o in turn.state.opening.values() if seen.key and o.run.key == seen.key]:
        turn.emit(ev.RunDropped(run.id, turn.now))  # its submitter lost the connection, and begins again
    first = turn.state.next_job
    head = (seen.run, seen.key, seen.name, seen.version, seen.templates)
    turn.emit(ev.RunOpened(*head, first, seen.count, turn.now, seen.deadline_s, group=seen.group, actor=turn.actor))


def on_jobs_arrived(turn: Turn, seen: JobsArrived) -> None:
    opening = turn.state.opening.get(seen.run)
    if opening is None:  # the submission was answered already
        return
    run = opening.run
    if seen.position + len(seen.ids) <= run.added:  # it came twice
        return
    jobs, first = turn.state.jobs, run.first
    try:
        check_part(
            seen,
            expected=run.added,
            count=run.count,
            templates=run.templates,
            known=opening.ids,
            job_at=lambda p: (jobs[first + p].name, jobs[first + p].template),
        )
    except InvalidGraph as e:
        turn.emit(ev.RunDropped(run.id, turn.now))
        turn.order(fx.Refuse(seen.origin, seen.request, e.code, str(e), e.job))
        return
    turn.emit(ev.JobsAdded(run.id, seen.ids, seen.template_of, seen.args, seen.parents, turn.now, seen.payloads))
    if run.added == run.count:
        turn.emit(ev.RunSealed(run.id, turn.now))
        turn.order(fx.ReplySubmitted(seen.origin, seen.request, run.id, run.count))


def on_submitter_gone(turn: Turn, seen: SubmitterGone) -> None:
    if seen.run in turn.state.opening:
        turn.emit(ev.RunDropped(seen.run, turn.now))


def drop_openings(turn: Turn) -> None:
    """What was coming in when the master ended: its submitters begin again."""
    for run in [run for run in turn.state.runs.values() if run.state is RunState.OPENING]:
        turn.emit(ev.RunDropped(run.id, turn.now))


def is_answered(turn: Turn, origin: int, request: int, key: str, run: str) -> bool:
    state = turn.state
    known = state.runs.get(state.keys.get(key, ""))
    if known is not None:  # the answer to the first sending was lost on the way
        turn.order(fx.ReplySubmitted(origin, request, known.id, known.count))
        return True
    if key in state.archived:
        turn.order(fx.ReplySubmitted(origin, request, *state.archived[key]))
        return True
    if run in state.runs:
        raise Bug(f"run id {run} was drawn twice")
    return False
