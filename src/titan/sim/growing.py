"""Jobs that add jobs to their own run.

The addition depends only on the seed, the run and the job, so that every attempt of a job requests
the same addition.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from titan.model.dag import DagSpec, JobTemplate
from titan.protocol import messages as pm
from titan.sim.oracle.processes import Violation
from titan.sim.world import World
from titan.worker.state_machine.messages import Assignment

SHARE = 0.3
"""Share of scenarios with jobs that add jobs."""
AGAIN_S = 4.0
MAX_DEPTH = 2


def growth_of(world: World, assignment: Assignment) -> pm.Grow | None:
    """Return the addition that a job requests; None if the job adds no jobs."""
    scenario = world.scenario
    if (
        Random(f"{scenario.seed}/growth").random() >= SHARE
        or assignment.template.function
        or assignment.template.service is not None
    ):
        return None
    rng = Random(f"{scenario.seed}/{assignment.run}/{assignment.job}/growth")
    depth = assignment.job.count(".")
    if rng.random() >= 0.3 or depth >= MAX_DEPTH:
        return None
    root = assignment.job.split(".")[0]
    dag = next((s.dag for s in scenario.submissions if root in s.dag.ids), None)
    existing = list(dag.ids) if dag is not None else [assignment.job]
    count = rng.randint(1, 4)
    ids = [f"{assignment.job}.{i}" for i in range(count)]
    parents: list[tuple[str, ...]] = []
    for i in range(count):
        added = rng.sample(ids[:i], rng.randint(0, i))
        old = rng.choice(((), (), (assignment.job,), (rng.choice(existing),)))
        parents.append(tuple(dict.fromkeys((*added, *old))))
    templates = [JobTemplate(command="true", retries=rng.randint(0, 2)), JobTemplate(command="true", affinity=True)]
    spec = DagSpec(
        name="more",
        version="",
        templates=templates,
        ids=ids,
        template_of=[rng.randint(0, 1) for _ in ids],
        args=[(rng.choice(("ok", "ok", "ok", "flaky", "fail")), str(rng.choice((0.05, 0.5, 3.0)))) for _ in ids],
        parents=parents,
    )
    before = (rng.choice(existing),) if rng.random() < 0.3 else ()
    return pm.Grow(0, 0, "", "key", spec, before, rng.random() < 0.5)


class Growing:
    """Additions by the jobs of one worker process. A job repeats its request until the master
    answers or the job ends."""

    def __init__(self, world: World, send: Callable[[pm.Message], None], is_running: Callable[[int], bool]) -> None:
        self._world = world
        self._send = send
        self._is_running = is_running
        self._requested: dict[int, tuple[Assignment, pm.Grow]] = {}
        self._requests = 1000

    def on_started(self, assignment: Assignment) -> None:
        grow = growth_of(self._world, assignment)
        if grow is not None:
            self._requests += 1
            grow = pm.Grow(self._requests, assignment.lease, "", grow.key, grow.dag, grow.before, grow.before_children)
            self._requested[grow.request] = assignment, grow
            self._world.clock.after(self._world.rng.uniform(0.0, 0.3), lambda: self._send_request(grow.request))

    def _send_request(self, request: int) -> None:
        assignment, grow = self._requested.get(request, (None, None))
        if assignment is None or grow is None:
            return
        if not self._is_running(assignment.lease):
            del self._requested[request]
            return
        self._world.trace.count("asks to grow")
        self._send(grow)
        self._world.clock.after(AGAIN_S, lambda: self._send_request(request))

    def on_answer(self, answer: pm.Grown | pm.Error) -> bool:
        """Handle an answer. Return whether the answer belongs to a request for an addition."""
        assignment, grow = self._requested.pop(answer.request, (None, None))
        if assignment is None or grow is None:
            return answer.request > 1000
        if isinstance(answer, pm.Grown):
            self._world.oracle.on_grown(assignment.run, assignment.job, grow)
        elif answer.code not in ("conflict", "invalid_graph", "not_found"):
            raise Violation(f"the addition by {assignment.run}/{assignment.job} is refused: {answer}")
        else:
            self._world.trace.count("growth refused")
            self._world.trace.note(assignment.job, f"refused: {answer.message}")
        return True
