"""A DAG comes in: refused whole, or a run."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core import events as ev
from titan.core.inputs import DagSubmitted
from titan.core.ready import make_ready
from titan.core.turn import Turn
from titan.errors import Bug, InvalidGraph
from titan.model.graph import resolve


def on_dag_submitted(turn: Turn, seen: DagSubmitted) -> None:
    state = turn.state
    known = state.runs.get(state.keys.get(seen.key, ""))
    if known is not None:  # the answer to the first sending was lost on the way
        turn.order(fx.ReplySubmitted(seen.origin, seen.request, known.id, known.count))
        return
    if seen.run in state.runs:
        raise Bug(f"run id {seen.run} was drawn twice")
    dag = seen.dag
    try:
        parents = resolve(dag)
    except InvalidGraph as e:
        turn.order(fx.Refuse(seen.origin, seen.request, e.code, str(e), e.job))
        return
    first = state.next_job
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
            first_job=first,
            at=turn.now,
            payloads=dag.payloads,
        )
    )
    make_ready(turn, [first + i for i, ps in enumerate(parents) if not ps])
    turn.order(fx.ReplySubmitted(seen.origin, seen.request, seen.run, len(dag.ids)))
