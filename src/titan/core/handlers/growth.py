"""Growth: jobs that one of a run's own jobs, or a user, adds to the running run. This module also
handles saved pipelines.

An addition is accepted whole or refused. Its jobs may depend on each other and on jobs already in
the run. The request may also make WAITING jobs of the run wait for the added jobs. The limits are
`Settings.run_jobs`, `Settings.growth_depth`, MAX_GROWTHS and MAX_ADDITION.
"""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.inputs import PipelineRemovalRequested, PipelineSaveRequested, RunGrowthRequested
from titan.core.state.state import Job, Run, State
from titan.core.turn import Turn
from titan.errors import Conflict, InvalidGraph, NotFound, TitanError
from titan.model.dag import HANDLER, JobTemplate, waits_for_end
from titan.model.graph import find_cycle, resolve, resolve_addition
from titan.model.names import NAME_RULE, match_name
from titan.model.states import TERMINAL, JobState, RunState

MAX_GROWTHS = 10_000
"""Maximum number of additions to one run."""
MAX_ADDITION = 100_000
"""Maximum number of jobs in one addition."""
MAX_SAVED = 1_000


def on_run_growth_requested(turn: Turn, received: RunGrowthRequested) -> None:
    try:
        run, by = _requester(turn.state, received)
        known = turn.state.tables.growth_by(run, by, received.key)
        if known is not None:  # the request is repeated by another attempt or after a lost answer
            turn.order(fx.ReplyGrown(received.origin, received.request, run.id, known.count))
            return
        event = _planned(turn, run, by, received)
    except TitanError as error:
        job = error.job if isinstance(error, InvalidGraph) else ""
        turn.order(fx.Refuse(received.origin, received.request, error.code, str(error), job))
        return
    turn.emit(event)
    turn.order(fx.ReplyGrown(received.origin, received.request, run.id, len(event.ids)))


def _requester(state: State, received: RunGrowthRequested) -> tuple[Run, int]:
    """Return the run, and the requesting job (0 for a user). Raises NotFound or Conflict."""
    by = 0
    if received.worker:
        worker = state.workers.get(received.worker)
        by = worker.held.get(received.lease, 0) if worker is not None else 0
        if not by:
            raise Conflict("this attempt is no longer current: the job was cancelled, timed out, or runs elsewhere by now")
        run = state.jobs[by].run
    else:
        found = state.runs.get(received.run)
        if found is None or found.state is RunState.OPENING:
            raise NotFound(f"there is no run {received.run[:80]!r} that could grow: `titan runs` lists them")
        run = found
    if run.state is not RunState.RUNNING or run.cancelled or run.expired:
        raise Conflict(f"run {run.id} is {'being cancelled' if run.open else run.state.name}: it takes no further jobs")
    return run, by


def _planned(turn: Turn, run: Run, by: int, received: RunGrowthRequested) -> ev.RunGrown:
    """Return the event for an addition. Raises InvalidGraph, NotFound or Conflict if the addition
    is invalid."""
    state, dag = turn.state, received.dag
    origin = run.growth_of(by) if by else None
    depth = 1 + (origin.depth if origin is not None else 0)
    _check_bounds(state, run, len(dag.ids), depth)

    def position_of(name: str) -> int | None:
        number = state.find(run, name)
        return None if number is None else run.position(number)

    def job_at(position: int) -> tuple[str, JobTemplate]:
        job = state.jobs[run.number(position)]
        return job.name, job.template

    parents = resolve_addition(dag, position_of, job_at, run.count)
    templates = [dag.templates[i] for i in dag.template_of]
    _check_parents(state, run, dag.ids, parents, templates)
    before = _targets(state, run, by, received, _ends_of(run, parents, templates), len(templates))
    _check_no_cycle(state, run, dag.ids, parents, before)
    return ev.RunGrown(
        run.id, by, depth, received.key, dag.templates, dag.ids, dag.template_of, dag.args, parents, before,
        state.next_job, turn.now, dag.payloads, turn.actor,
    )  # fmt: skip


def _check_bounds(state: State, run: Run, count: int, depth: int) -> None:
    settings = state.settings
    if count > MAX_ADDITION:
        raise InvalidGraph(f"{count:,} jobs at once; the limit of one addition is {MAX_ADDITION:,}: add them in parts")
    if run.count + count > settings.run_jobs:
        raise InvalidGraph(
            f"run {run.id} has {run.count:,} jobs and would have {run.count + count:,}; the limit is {settings.run_jobs:,} "
            "(`titan master --set run_jobs=N`)"
        )
    if depth > settings.growth_depth:
        raise InvalidGraph(
            f"jobs added by added jobs would be {depth:,} deep in run {run.id}; the limit is {settings.growth_depth:,}: "
            "check that the growth ends, or raise the limit (`titan master --set growth_depth=N`)"
        )
    if len(run.grown) >= MAX_GROWTHS:
        raise InvalidGraph(f"run {run.id} has grown {MAX_GROWTHS:,} times, which is the limit: add more jobs at a time")


def _check_parents(state: State, run: Run, ids: list[str], parents: list[tuple[int, ...]], templates: list[JobTemplate]) -> None:
    """Raise InvalidGraph for a job that depends on a parent that will never complete, and for a
    handler of a parent that is over."""
    for name, template, positions in zip(ids, templates, parents, strict=True):
        for position in positions:
            if position >= run.count:
                continue
            parent = state.jobs[run.number(position)]
            if template.kind == HANDLER and parent.state in TERMINAL:
                raise InvalidGraph(f"job {name!r} is a handler of {parent.name!r}, which is over: {parent.state.name}", name)
            lost = parent.state in (JobState.CANCELLED, JobState.SKIPPED) or (
                parent.state is JobState.DEAD and parent.template.on_failure != "continue"
            )
            if lost and not waits_for_end(template):
                raise InvalidGraph(
                    f"job {name!r} depends on {parent.name!r}, which is {parent.state.name}: it would never run", name
                )


def _ends_of(run: Run, parents: list[tuple[int, ...]], templates: list[JobTemplate]) -> tuple[int, ...]:
    """Return the positions of the new jobs whose completion is not implied by that of another new
    job. Handlers are left out, because a handler may turn out not to be needed."""
    inner = {p for template, ps in zip(templates, parents, strict=True) if not waits_for_end(template) for p in ps}
    return tuple([p for p, template in enumerate(templates, run.count) if p not in inner and template.kind != HANDLER])


def _targets(
    state: State, run: Run, by: int, received: RunGrowthRequested, ends: tuple[int, ...], count: int
) -> list[tuple[int, tuple[int, ...]]]:
    """Return the jobs that must wait for the addition: (number of the job, positions of the new
    jobs that it waits for). Raises NotFound, Conflict or InvalidGraph.

    These are the positions `ends`. A job that waits for the end of its parents gets all `count` new
    jobs, because some may still run when a later one is cancelled.
    """
    targets: dict[int, None] = {}
    for name in received.before:
        number = state.find(run, name)
        if number is None:
            raise NotFound(f"run {run.id} has no job {name[:128]!r} that could wait for the addition")
        job = state.jobs[number]
        if job.state is not JobState.WAITING or job.attempt:
            raise Conflict(f"{name} cannot wait for the addition any more: it is {_where(job)}")
        if job.template.kind == HANDLER:
            raise InvalidGraph(f"{name} is a handler: it runs when one of its jobs is DEAD, and waits for nothing else", name)
        targets[number] = None
    if received.before_children and by:
        for number in state.jobs[by].children or ():
            job = state.jobs[number]
            if job.state in TERMINAL or job.template.kind == HANDLER:
                continue
            if job.state is not JobState.WAITING or job.attempt:
                raise Conflict(f"{job.name} depends on {state.jobs[by].name} and is {_where(job)}: it cannot wait for the addition")
            targets[number] = None
    if targets and not ends:
        raise InvalidGraph("no job can wait for an addition that has only handlers")
    everything = tuple(range(run.count, run.count + count))
    return [(number, everything if state.jobs[number].template.when else ends) for number in targets]


def _where(job: Job) -> str:
    return f"{job.state.name}, and has run before" if job.attempt and job.state is JobState.WAITING else job.state.name


def _check_no_cycle(
    state: State, run: Run, ids: list[str], parents: list[tuple[int, ...]], before: list[tuple[int, tuple[int, ...]]]
) -> None:
    """Raise InvalidGraph if the addition would make jobs depend on each other in a cycle.

    The run had no cycle before, so a new cycle contains a new job. The cycle either consists of new
    jobs only, or goes through a job that must wait for the addition. So only these jobs and their
    dependents are read. Reading the whole run would be slow, because a run can have thousands of
    additions.
    """
    offset = run.count
    names, edges = list(ids), [[p - offset for p in ps if p >= offset] for ps in parents]
    if before and any(p < offset for ps in parents for p in ps):
        nodes = _behind(state, [number for number, _ in before], len(ids))
        edges += [[] for _ in nodes]
        names += [state.jobs[number].name for number in nodes]
        for edge, ps in zip(edges, parents, strict=False):
            edge += [nodes[number] for p in ps if p < offset and (number := run.number(p)) in nodes]
        for number, ends in before:
            edges[nodes[number]] += [p - offset for p in ends]
        for number, node in nodes.items():
            for child in state.jobs[number].children or ():
                edges[nodes[child]].append(node)
    if all(p < i for i, ps in enumerate(edges) for p in ps):
        return
    cycle = find_cycle(edges)
    if cycle:
        path = " -> ".join(names[i] for i in [*cycle, cycle[0]])
        raise InvalidGraph(f"with this addition jobs would depend on each other in a cycle: {path}", names[cycle[0]])


def _behind(state: State, jobs: list[int], first: int) -> dict[int, int]:
    """Return `jobs` and all their dependents, numbered from `first` on: job -> number."""
    nodes: dict[int, int] = {}
    stack = jobs
    while stack:
        number = stack.pop()
        if number not in nodes:
            nodes[number] = first + len(nodes)
            stack += state.jobs[number].children or ()
    return nodes


# -- saved pipelines -------------------------------------------------------------------------------
def on_pipeline_save_requested(turn: Turn, received: PipelineSaveRequested) -> None:
    state, name = turn.state, received.name
    try:
        if match_name(name) is None:
            raise InvalidGraph(f"the pipeline name {name[:128]!r} is malformed: a name is {NAME_RULE}")
        resolve(received.dag)
        known = state.saved.get(name)
        if known is not None and not received.replace and known.dag != received.dag:
            raise Conflict(f"there is a saved pipeline {name!r} already: use --replace, or choose another name")
        if known is None and len(state.saved) >= MAX_SAVED:
            raise Conflict(f"{MAX_SAVED:,} pipelines are saved, which is the limit: `titan save --remove NAME` removes one")
    except TitanError as error:
        job = error.job if isinstance(error, InvalidGraph) else ""
        turn.order(fx.Refuse(received.origin, received.request, error.code, str(error), job))
        return
    if known is None or known.dag != received.dag:
        turn.emit(ev.PipelineSaved(name, received.dag, turn.now, turn.actor))
    turn.order(fx.ReplySaved(received.origin, received.request, name))


def on_pipeline_removal_requested(turn: Turn, received: PipelineRemovalRequested) -> None:
    if received.name not in turn.state.saved:
        names = ", ".join(sorted(turn.state.saved)[:10])
        text = f"there is no saved pipeline {received.name[:128]!r}" + (f"; there are {names}" if names else "")
        turn.order(fx.Refuse(received.origin, received.request, NotFound.code, text))
        return
    turn.emit(ev.PipelineRemoved(received.name, turn.now, turn.actor))
    turn.order(fx.ReplySaved(received.origin, received.request, received.name))
