"""Prediction engine: the core with simulated workers, under a clock that jumps from event to event.

Attempts fail only where the plan says so. No message is lost, and no worker falls silent. A report
takes half of `link_s` to the master, and a dispatch takes the other half to the worker. All
messages that arrive at the same time are handled in one turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import msgspec

from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.core.step import next_due, step
from titan.errors import InvalidGraph
from titan.model.dag import ENDED, Kind
from titan.model.demand import NOTHING, LaneKey, amounts_of, demand_of, totals_of
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState
from titan.predict.machine import Attempt, Machine, SimulatedWorker
from titan.predict.plan import Plan
from titan.scheduling.lane import job_of

PART_JOBS = 5_000
FOREVER_S = 1e9
"""Value of the timeouts for silent workers, which do not occur here. A prediction stops when
nothing is due within half of this time."""
PROGRESS_EVERY = 5_000
"""Jobs between two calls of `progress`."""
_RUN, _CLIENT = "predicted", 1
_AMPLE: dict[str, str | int | float] = {"cpus": 65_536, "memory_bytes": 1 << 50, "gpus": 1024}

Progress = Callable[[int, int], None]
"""Callback with two numbers: the completed jobs and all jobs."""


class Timeline(msgspec.Struct):
    """The timeline of a run. Arrays have one entry per job; times are seconds since the submission.

    -1 stands for a start or an end that did not happen.
    """

    starts: array[float]
    """Starts of the last attempts."""
    ends: array[float]
    workers: array[int]
    """Number of the worker that ran the last attempt, 0 for none."""
    after: array[int]
    """Position of the job that ended last on the same worker before this job's start, -1 for
    none."""
    makespan_s: float = 0.0
    state: str = "RUNNING"
    """Final state of the run. RUNNING means that the run can never end."""
    tally: dict[str, int] = {}
    stuck: dict[LaneKey, int] = {}
    """Demand -> number of jobs whose demand no worker can meet."""
    waited_s: dict[LaneKey, float] = {}
    """Demand -> seconds in which at least one job with this demand waited in a queue."""
    busy_s: float = 0.0
    """Seconds of use, summed over all slots."""
    cpu_full_s: float = 0.0
    """Seconds in which all CPUs of a machine were in use; the maximum over all machines."""
    attempts: int = 0
    turns: int = 0


def predict(plan: Plan, progress: Progress | None = None) -> Timeline:
    """Simulate the pipeline. Raises InvalidGraph if a master would refuse it."""
    return _Engine(plan, progress).run()


class _Engine:
    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self.plan = plan
        self.now = plan.begin
        self.state = State(Settings(loss_s=FOREVER_S, forget_s=FOREVER_S, missing_s=FOREVER_S, keep_s=FOREVER_S))
        self._progress = progress
        self._half_s = plan.overheads.link_s / 2
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._inbox: list[inputs.Input] = []
        self._results: dict[int, list[tuple[int, float, float, float, int]]] = {}
        """Worker -> (lease, started, finished, CPU seconds, outcome) of this turn's reports."""
        self._started: dict[int, float] = {}
        """Lease -> start of the attempt."""
        self._workers: dict[int, SimulatedWorker] = {}
        self._machines: list[Machine] = []
        self._over = False
        self._first = 0
        # The simulation executes no job, so the templates need no files and no secrets. There are
        # no results either, so each condition counts as true.
        bare = [
            msgspec.structs.replace(
                t, outputs=(), inputs=(), secrets=(), optional_outputs=(), optional_inputs=(), condition="",
                fills_results=False, when="" if t.when == ENDED else t.when,
            )
            for t in plan.pipeline.templates
        ]  # fmt: skip
        self._templates = bare
        self._needs = [amounts_of(t.needs) if t.needs is not None else NOTHING for t in plan.pipeline.templates]
        self._watched = any(t.kind in (Kind.GATE, Kind.SERVICE) for t in plan.pipeline.templates)
        self._demands = [demand_of(t) for t in plan.pipeline.templates]
        self._queued: dict[LaneKey, None] = {}
        """Demands of the jobs in the master's queues."""
        self._waiting: dict[LaneKey, int] = {}
        """Demand -> number of attempts that wait in the queue of a worker."""
        self._reported = self._done = 0
        count = len(plan.pipeline.ids)
        nothing = array("d", [-1.0]) * count
        self.timeline = Timeline(nothing[:], nothing[:], array("i", [0]) * count, array("i", [-1]) * count)

    # -- the run -----------------------------------------------------------------------------------
    def run(self) -> Timeline:
        self._step([inputs.MasterBooted("predicted", 1)])
        self._register_workers()
        self._submit()
        heap = self._heap
        while not self._over:
            due = next_due(self.state)
            at = min(heap[0][0] if heap else float("inf"), due if due is not None else float("inf"))
            if at > self.plan.begin + FOREVER_S / 2:
                break
            self._advance_to(at)
            while heap and heap[0][0] <= self.now:
                _, _, call, args = heappop(heap)
                call(*args)
            taken = self._take_inputs() if self._inbox or self._results else []
            if due is not None and due <= self.now:
                taken.append(inputs.TimePassed())
            if taken:
                self._step(taken)
        return self._conclude()

    def _advance_to(self, at: float) -> None:
        if at > self.now:
            for demand in {**self._queued, **self._waiting}:
                self.timeline.waited_s[demand] = self.timeline.waited_s.get(demand, 0.0) + at - self.now
            self.now = at

    def _step(self, taken: list[inputs.Input]) -> None:
        decision = step(self.state, self.now, taken)
        self.timeline.turns += 1
        for effect in decision.effects:
            if isinstance(effect, fx.SendDispatch):
                self._after(self._half_s, self._on_dispatch, effect)
            elif isinstance(effect, fx.SendRecall):
                self._after(self._half_s, self._on_recall, effect)
            elif isinstance(effect, fx.SendStop):
                self._after(self._half_s, self._on_stop, effect)
            elif isinstance(effect, fx.Refuse):
                raise InvalidGraph(effect.message, effect.job)
        if self._watched:
            for event in decision.events:
                if isinstance(event, ev.GatesOpened):
                    for number in event.jobs:
                        self._note_start(number - self._first, 0, -1)
                        self._after(self.plan.gate_wait_s, self._approve, number)
        self._over = isinstance(decision.events[-1] if decision.events else None, ev.RunFinished)
        if self._over:
            self.timeline.makespan_s = self.now - self.plan.begin
        state = self.state
        self._queued = {demand: None for demand, lane in state.lanes.items() if lane.count and state.places_left(demand)}
        self._queued.update({state.demand(job_of(key)): None for lane in state.pinned.values() if (key := lane.head()) is not None})

    def _after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self._counter += 1
        heappush(self._heap, (self.now + delay, self._counter, call, args))

    def _take_inputs(self) -> list[inputs.Input]:
        taken, self._inbox = self._inbox, []
        for worker, rows in self._results.items():
            leases, started, finished, cpu_s, outcomes = (list(column) for column in zip(*rows, strict=True))
            nothing = [0] * len(rows)
            codes = [1 if outcome == Outcome.EXITED else 0 for outcome in outcomes]
            reasons = [""] * len(rows)
            taken.append(
                inputs.ResultsReported(worker, leases, outcomes, codes, reasons, started, finished, cpu_s, nothing, jitter=0.5)
            )
        self._results.clear()
        return taken

    # -- the cluster and the pipeline --------------------------------------------------------------
    def _register_workers(self) -> None:
        plan, number = self.plan, 0
        shared = Machine(plan.shared_cpus, self.now) if plan.shared_cpus else None
        if shared is not None:
            self._machines.append(shared)
        for group in plan.groups:
            own: dict[str, str | int | float] = {"cpus": group.cpus, "memory_bytes": group.memory, "gpus": group.gpus}
            facts = {name: amount or _AMPLE[name] for name, amount in own.items()}
            facts["gpus"] = group.gpus
            for _ in range(group.count):
                number += 1
                machine = shared or Machine(group.cpus, self.now)
                if shared is None:
                    self._machines.append(machine)
                self._workers[number] = SimulatedWorker(number, group.slots, machine, totals_of(facts))
                self._inbox.append(
                    inputs.WorkerRegistered(number + 1, 1, f"w{number}", "1", group.capabilities, group.slots, facts, [], [])
                )
        self._step(self._take_inputs())

    def _submit(self) -> None:
        """Submit the DAG in parts, as a client does with a large one.

        The parts themselves take no simulated time; `begin_s` covers the whole submission.
        """
        p, count = self.plan.pipeline, len(self.plan.pipeline.ids)
        self._step([inputs.RunBegun(_CLIENT, 1, _RUN, "", p.name, "", self._templates, count, p.deadline_s)])
        for at in range(0, count, PART_JOBS):
            part = slice(at, at + PART_JOBS)
            ids = p.ids[part]
            if at + PART_JOBS >= count:
                begins = max(0.0, self.plan.overheads.begin_s - self._half_s)
                self._after(begins, self._inbox.append, self._part(at, part, ids))
            else:
                self._step([self._part(at, part, ids)])
        self._first = self.state.runs[_RUN].first

    def _part(self, at: int, part: slice, ids: list[str]) -> inputs.JobsArrived:
        p = self.plan.pipeline
        return inputs.JobsArrived(_CLIENT, 1, _RUN, at, ids, p.template_of[part], [()] * len(ids), list(p.parents[part]))

    # -- workers -----------------------------------------------------------------------------------
    def _on_dispatch(self, order: fx.SendDispatch) -> None:
        worker, jobs = self._workers[order.worker], self.state.jobs
        for lease, number in enumerate(order.jobs, order.first_lease):
            job = jobs[number]
            if job.lease == lease:  # else the job was cancelled while the dispatch was on its way
                attempt = self._attempt(lease, number - self._first, job.failures)
                worker.waiting.append(attempt)
                self._count_waiting(attempt, 1)
            else:
                self._report(worker, lease, Outcome.STOPPED)
        self._fill(worker, 0.0)

    def _attempt(self, lease: int, position: int, failures: int) -> Attempt:
        template = self.plan.pipeline.templates[kind := self.plan.pipeline.template_of[position]]
        duration = self.plan.durations[position]
        index = min(failures, len(duration.attempts) - 1)
        seconds, last = duration.attempts[index], index == len(duration.attempts) - 1
        outcome = Outcome.SUCCEEDED if last else Outcome.EXITED
        cpu = duration.cpu_s / duration.attempts[-1] if duration.attempts[-1] > 0 else 0.0
        if template.timeout_s and seconds > template.timeout_s:
            seconds, outcome = template.timeout_s, Outcome.TIMED_OUT
        return Attempt(lease, position, seconds, cpu, int(outcome), template.kind == Kind.SERVICE, self._needs[kind])

    def _fill(self, worker: SimulatedWorker, delay: float) -> None:
        while (attempt := worker.next_waiting()) is not None:
            self._count_waiting(attempt, -1)
            if delay:
                self._after(delay, self._begin, worker, attempt)
            else:
                self._begin(worker, attempt)

    def _begin(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        if attempt.lease not in worker.running:
            return  # the attempt was stopped meanwhile
        self._started[attempt.lease] = self.now
        self._note_start(attempt.job, worker.number, worker.last)
        self.timeline.attempts += 1
        if attempt.is_service:
            self._after(attempt.seconds + self._half_s, self._on_ready, worker, attempt)
            return
        worker.machine.begin(self.now, worker, attempt)
        self._watch(worker.machine)

    def _watch(self, machine: Machine) -> None:
        end = machine.next_end()
        if end is not None:
            self._after(end - self.now, self._on_end, machine, machine.version)

    def _on_end(self, machine: Machine, version: int) -> None:
        if version != machine.version:
            return
        for worker, attempt in machine.take_ended(self.now):
            self._end(worker, attempt, attempt.outcome)
            self._fill(worker, self.plan.overheads.turn_s)
        self._watch(machine)

    def _end(self, worker: SimulatedWorker, attempt: Attempt, outcome: int) -> None:
        worker.release(attempt)
        began = self._started.pop(attempt.lease, self.now)
        worker.busy_s += self.now - began
        worker.last = attempt.job
        self.timeline.ends[attempt.job] = self.now - self.plan.begin
        if outcome == Outcome.SUCCEEDED:
            self._note_progress()
        self._report(worker, attempt.lease, outcome, began, attempt.cpu * (self.now - began))

    def _report(self, worker: SimulatedWorker, lease: int, outcome: int, began: float = 0.0, cpu_s: float = 0.0) -> None:
        self._after(self._half_s, self._on_report, worker.number, (lease, began or self.now, self.now, cpu_s, int(outcome)))

    def _on_report(self, worker: int, row: tuple[int, float, float, float, int]) -> None:
        self._results.setdefault(worker, []).append(row)

    def _on_recall(self, order: fx.SendRecall) -> None:
        worker = self._workers[order.worker]
        self._drop(worker, order.leases, Outcome.RETURNED)

    def _on_stop(self, order: fx.SendStop) -> None:
        worker = self._workers[order.worker]
        self._drop(worker, order.leases, Outcome.STOPPED)
        for lease in order.leases:
            running = worker.running.get(lease)
            if running is not None:
                if lease in self._started and not running.is_service:
                    worker.machine.stop(self.now, running)
                    self._watch(worker.machine)
                self._end(worker, running, Outcome.STOPPED)
        self._fill(worker, self.plan.overheads.turn_s)

    def _drop(self, worker: SimulatedWorker, leases: list[int], outcome: int) -> None:
        for attempt in worker.drop_waiting(dict.fromkeys(leases)):
            self._count_waiting(attempt, -1)
            self._report(worker, attempt.lease, outcome)

    def _count_waiting(self, attempt: Attempt, change: int) -> None:
        demand = self._demands[self.plan.pipeline.template_of[attempt.job]]
        count = self._waiting.get(demand, 0) + change
        if count:
            self._waiting[demand] = count
        else:
            del self._waiting[demand]

    # -- services and gates ------------------------------------------------------------------------
    def _on_ready(self, worker: SimulatedWorker, attempt: Attempt) -> None:
        if attempt.lease in worker.running:
            began = self._started[attempt.lease]
            lease, now = [attempt.lease], [self.now]
            self._inbox.append(inputs.ServicesSeen(worker.number, lease, [1], [began], now, [1], [0], [""], [0.0]))

    def _approve(self, number: int) -> None:
        job = self.state.jobs[number]
        if job.state is JobState.PAUSED:
            self.timeline.ends[number - self._first] = self.now - self.plan.begin
            self._inbox.append(inputs.GateDecisionMade(_CLIENT, 1, _RUN, job.name, True, "prediction", "", ""))

    # -- the timeline ------------------------------------------------------------------------------
    def _note_start(self, position: int, worker: int, last: int) -> None:
        timeline = self.timeline
        timeline.starts[position] = self.now - self.plan.begin
        timeline.workers[position] = worker
        timeline.after[position] = last

    def _note_progress(self) -> None:
        self._done += 1
        if self._progress is not None and self._done - self._reported >= PROGRESS_EVERY:
            self._reported = self._done
            self._progress(self._done, len(self.plan.pipeline.ids))

    def _conclude(self) -> Timeline:
        timeline, run = self.timeline, self.state.runs[_RUN]
        timeline.state = run.state.name if run.state is not RunState.OPENING else "RUNNING"
        timeline.tally = {JobState(i).name: n for i, n in enumerate(run.tally) if n}
        if not self._over:  # the remaining jobs can never begin, or never end
            timeline.makespan_s = max((end for end in timeline.ends if end >= 0.0), default=0.0)
            timeline.stuck = {demand: lane.count for demand, lane in self.state.lanes.items() if lane.count}
        begin = self.plan.begin
        timeline.busy_s = sum(worker.busy_s for worker in self._workers.values())
        timeline.busy_s += sum(max(0.0, begin + timeline.makespan_s - began) for began in self._started.values())
        timeline.cpu_full_s = max((machine.full_s for machine in self._machines), default=0.0)
        return timeline
