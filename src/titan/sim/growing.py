"""Jobs that add jobs to their run while they run. What a job adds is drawn for (run, job): every
attempt asks for the same."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from titan.model.dag import DagSpec, JobTemplate
from titan.protocol import messages as pm
from titan.sim.oracle.processes import Violation
from titan.sim.world import World
from titan.worker.state_machine.messages import Assignment

SHARE = 0.3
"""Of all scenarios that have such jobs."""
AGAIN_S = 4.0
MOST_DEPTH = 2


def growth_of(world: World, assignment: Assignment) -> pm.Grow | None:
    """What this job adds, if it does."""
    scenario = world.scenario
    if (
        Random(f"{scenario.seed}/growth").random() >= SHARE
        or assignment.template.function
        or assignment.template.service is not None
    ):
        return None
    rng = Random(f"{scenario.seed}/{assignment.run}/{assignment.job}/growth")
    depth = assignment.job.count(".")
    if rng.random() >= 0.3 or depth >= MOST_DEPTH:
        return None
    root = assignment.job.split(".")[0]
    dag = next((s.dag for s in scenario.submissions if root in s.dag.ids), None)
    there = list(dag.ids) if dag is not None else [assignment.job]
    count = rng.randint(1, 4)
    ids = [f"{assignment.job}.{i}" for i in range(count)]
    parents: list[tuple[str, ...]] = []
    for i in range(count):
        mine = rng.sample(ids[:i], rng.randint(0, i))
        theirs = rng.choice(((), (), (assignment.job,), (rng.choice(there),)))
        parents.append(tuple(dict.fromkeys((*mine, *theirs))))
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
    before = (rng.choice(there),) if rng.random() < 0.3 else ()
    return pm.Grow(0, 0, "", "key", spec, before, rng.random() < 0.5)


class Growing:
    """The jobs of one worker process that add jobs. They ask again until they are answered, or end."""

    def __init__(self, world: World, send: Callable[[pm.Message], None], is_running: Callable[[int], bool]) -> None:
        self._world = world
        self._send = send
        self._is_running = is_running
        self._asked: dict[int, tuple[Assignment, pm.Grow]] = {}
        self._requests = 1000

    def on_started(self, assignment: Assignment) -> None:
        grow = growth_of(self._world, assignment)
        if grow is not None:
            self._requests += 1
            grow = pm.Grow(self._requests, assignment.lease, "", grow.key, grow.dag, grow.before, grow.before_children)
            self._asked[grow.request] = assignment, grow
            self._world.clock.after(self._world.rng.uniform(0.0, 0.3), lambda: self._ask(grow.request))

    def _ask(self, request: int) -> None:
        it, grow = self._asked.get(request, (None, None))
        if it is None or grow is None:
            return
        if not self._is_running(it.lease):
            del self._asked[request]
            return
        self._world.trace.count("asks to grow")
        self._send(grow)
        self._world.clock.after(AGAIN_S, lambda: self._ask(request))

    def on_answer(self, answer: pm.Grown | pm.Error) -> bool:
        """Whether it was an answer to such a request."""
        it, grow = self._asked.pop(answer.request, (None, None))
        if it is None or grow is None:
            return answer.request > 1000
        if isinstance(answer, pm.Grown):
            self._world.oracle.on_grown(it.run, it.job, grow)
        elif answer.code not in ("conflict", "invalid_graph", "not_found"):
            raise Violation(f"{it.run}/{it.job} may not grow: {answer}")
        else:
            self._world.trace.count("growth refused")
            self._world.trace.note(it.job, f"hears: {answer.message}")
        return True
