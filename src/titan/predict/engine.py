"""The core as a master of workers that only wait: `step` after `step`, from one moment at which
something happens to the next.

Nothing fails but what the plan says, nothing is lost, nobody is silent. A report takes half of
`link_s` to the master, an order the other half to the worker; all that arrives at one moment is one
turn.
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
from titan.model.dag import Kind
from titan.model.demand import NOTHING, LaneKey, amounts_of, demand_of, totals_of
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState
from titan.predict.machine import Attempt, Machine, Seat
from titan.predict.plan import Plan
from titan.scheduling.lane import job_of

PART_JOBS = 5_000
FOREVER_S = 1e9
"""No timer of the core is due so late that is about the run: those of workers, which are never
silent here."""
TOLD_EVERY = 5_000
"""Jobs between two calls of `progress`."""
_RUN, _CLIENT = "predicted", 1
_AMPLE: dict[str, str | int | float] = {"cpus": 65_536, "memory_bytes": 1 << 50, "gpus": 1024}

Progress = Callable[[int, int], None]
"""Called with how many jobs are over, and how many there are."""


class Course(msgspec.Struct):
    """What happened, in seconds since the submission; by job, -1 for what did not."""

    starts: array[float]
    """Of the last attempt."""
    ends: array[float]
    workers: array[int]
    """Number of the worker, 0 for none."""
    after: array[int]
    """The job that ended on that worker last before the start, -1 for none."""
    makespan_s: float = 0.0
    state: str = "RUNNING"
    """Of the run; RUNNING if it can never end."""
    tally: dict[str, int] = {}
    stuck: dict[LaneKey, int] = {}
    """What is asked for -> jobs that wait for it in vain."""
    waited_s: dict[LaneKey, float] = {}
    """What is asked for -> how long jobs were queued that could not begin for want of it."""
    busy_s: float = 0.0
    """Slots' seconds in use."""
    cpu_full_s: float = 0.0
    """How long the CPUs of a machine were all in use, at most."""
    attempts: int = 0
    turns: int = 0


def play(plan: Plan, progress: Progress | None = None) -> Course:
    """Lets the pipeline run. Raises InvalidGraph for one that a master would refuse."""
    return _Engine(plan, progress).play()


class _Engine:
    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self.plan = plan
        self.now = plan.begin
        self.state = State(Settings(loss_s=FOREVER_S, forget_s=FOREVER_S, missing_s=FOREVER_S, keep_s=FOREVER_S))
        self._progress = progress
        self._half_s = plan.overheads.link_s / 2
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._drawn = 0
        self._inbox: list[inputs.Input] = []
        self._results: dict[int, list[tuple[int, float, float, float, int]]] = {}
        """Worker -> (lease, started, finished, CPU seconds, outcome) of reports that are there now.
        """
        self._begun: dict[int, float] = {}
        """Lease -> when the attempt began."""
        self._seats: dict[int, Seat] = {}
        self._machines: list[Machine] = []
        self._over = False
        self._first = 0
        # What jobs hand each other, and secrets, are not there: nothing is run.
        bare = [msgspec.structs.replace(t, outputs=(), inputs=(), secrets=()) for t in plan.pipeline.templates]
        self._templates = bare
        self._needs = [amounts_of(t.needs) if t.needs is not None else NOTHING for t in plan.pipeline.templates]
        self._watched = any(t.kind in (Kind.GATE, Kind.SERVICE) for t in plan.pipeline.templates)
        self._demands = [demand_of(t) for t in plan.pipeline.templates]
        self._queued: dict[LaneKey, None] = {}
        """What is asked for by jobs in the master's queues."""
        self._behind: dict[LaneKey, int] = {}
        """The same of those that wait on a worker behind others, and how many they are."""
        self._told = self._done = 0
        count = len(plan.pipeline.ids)
        nothing = array("d", [-1.0]) * count
        self.course = Course(nothing[:], nothing[:], array("i", [0]) * count, array("i", [-1]) * count)

    # -- the course --------------------------------------------------------------------------------
    def play(self) -> Course:
        self._step([inputs.MasterBooted("predicted", 1)])
        self._seat_workers()
        self._submit()
        heap = self._heap
        while not self._over:
            due = next_due(self.state)
            at = min(heap[0][0] if heap else float("inf"), due if due is not None else float("inf"))
            if at > self.plan.begin + FOREVER_S / 2:
                break
            self._pass_to(at)
            while heap and heap[0][0] <= self.now:
                _, _, call, args = heappop(heap)
                call(*args)
            taken = self._take_inputs() if self._inbox or self._results else []
            if due is not None and due <= self.now:
                taken.append(inputs.TimePassed())
            if taken:
                self._step(taken)
        return self._conclude()

    def _pass_to(self, at: float) -> None:
        if at > self.now:
            for demand in {**self._queued, **self._behind}:
                self.course.waited_s[demand] = self.course.waited_s.get(demand, 0.0) + at - self.now
            self.now = at

    def _step(self, taken: list[inputs.Input]) -> None:
        decision = step(self.state, self.now, taken)
        self.course.turns += 1
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
            self.course.makespan_s = self.now - self.plan.begin
        state = self.state
        self._queued = {demand: None for demand, lane in state.lanes.items() if lane.count}
        self._queued.update({state.demand(job_of(key)): None for lane in state.pinned.values() if (key := lane.head()) is not None})

    def _after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self._drawn += 1
        heappush(self._heap, (self.now + delay, self._drawn, call, args))

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
    def _seat_workers(self) -> None:
        plan, number = self.plan, 0
        shared = Machine(plan.shared_cpus, self.now) if plan.shared_cpus else None
        if shared is not None:
            self._machines.append(shared)
        for group in plan.groups:
            own: dict[str, str | int | float] = {"cpus": group.cpus, "memory_bytes": group.memory, "gpus": group.gpus}
            about = {name: has or _AMPLE[name] for name, has in own.items()}
            about["gpus"] = group.gpus
            for _ in range(group.count):
                number += 1
                machine = shared or Machine(group.cpus, self.now)
                if shared is None:
                    self._machines.append(machine)
                self._seats[number] = Seat(number, group.slots, machine, totals_of(about))
                self._inbox.append(
                    inputs.WorkerRegistered(number + 1, 1, f"w{number}", "1", group.capabilities, group.slots, about, [], [])
                )
        self._step(self._take_inputs())

    def _submit(self) -> None:
        """As a large DAG comes to a master: in parts. It costs no time; `begin_s` does."""
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
        seat, jobs = self._seats[order.worker], self.state.jobs
        for lease, number in enumerate(order.jobs, order.first_lease):
            job = jobs[number]
            if job.lease == lease:  # else it was cancelled on its way
                attempt = self._attempt(lease, number - self._first, job.failures)
                seat.waiting.append(attempt)
                self._count_behind(attempt, 1)
            else:
                self._report(seat, lease, Outcome.STOPPED)
        self._fill(seat, 0.0)

    def _attempt(self, lease: int, position: int, failures: int) -> Attempt:
        template = self.plan.pipeline.templates[kind := self.plan.pipeline.template_of[position]]
        takes = self.plan.takes[position]
        which = min(failures, len(takes.attempts) - 1)
        seconds, last = takes.attempts[which], which == len(takes.attempts) - 1
        outcome = Outcome.SUCCEEDED if last else Outcome.EXITED
        cpu = takes.cpu_s / takes.attempts[-1] if takes.attempts[-1] > 0 else 0.0
        if template.timeout_s and seconds > template.timeout_s:
            seconds, outcome = template.timeout_s, Outcome.TIMED_OUT
        return Attempt(lease, position, seconds, cpu, int(outcome), template.kind == Kind.SERVICE, self._needs[kind])

    def _fill(self, seat: Seat, delay: float) -> None:
        while (attempt := seat.next_waiting()) is not None:
            self._count_behind(attempt, -1)
            if delay:
                self._after(delay, self._begin, seat, attempt)
            else:
                self._begin(seat, attempt)

    def _begin(self, seat: Seat, attempt: Attempt) -> None:
        if attempt.lease not in seat.running:
            return  # it was stopped meanwhile
        self._begun[attempt.lease] = self.now
        self._note_start(attempt.job, seat.number, seat.last)
        self.course.attempts += 1
        if attempt.is_service:
            self._after(attempt.seconds + self._half_s, self._on_ready, seat, attempt)
            return
        seat.machine.begin(self.now, seat, attempt)
        self._watch(seat.machine)

    def _watch(self, machine: Machine) -> None:
        end = machine.next_end()
        if end is not None:
            self._after(end - self.now, self._on_end, machine, machine.version)

    def _on_end(self, machine: Machine, version: int) -> None:
        if version != machine.version:
            return
        for seat, attempt in machine.take_ended(self.now):
            self._end(seat, attempt, attempt.outcome)
            self._fill(seat, self.plan.overheads.turn_s)
        self._watch(machine)

    def _end(self, seat: Seat, attempt: Attempt, outcome: int) -> None:
        seat.release(attempt)
        began = self._begun.pop(attempt.lease, self.now)
        seat.busy_s += self.now - began
        seat.last = attempt.job
        self.course.ends[attempt.job] = self.now - self.plan.begin
        if outcome == Outcome.SUCCEEDED:
            self._note_progress()
        self._report(seat, attempt.lease, outcome, began, attempt.cpu * (self.now - began))

    def _report(self, seat: Seat, lease: int, outcome: int, began: float = 0.0, cpu_s: float = 0.0) -> None:
        self._after(self._half_s, self._on_report, seat.number, (lease, began or self.now, self.now, cpu_s, int(outcome)))

    def _on_report(self, worker: int, row: tuple[int, float, float, float, int]) -> None:
        self._results.setdefault(worker, []).append(row)

    def _on_recall(self, order: fx.SendRecall) -> None:
        seat = self._seats[order.worker]
        self._drop(seat, order.leases, Outcome.RETURNED)

    def _on_stop(self, order: fx.SendStop) -> None:
        seat = self._seats[order.worker]
        self._drop(seat, order.leases, Outcome.STOPPED)
        for lease in order.leases:
            running = seat.running.get(lease)
            if running is not None:
                if lease in self._begun and not running.is_service:
                    seat.machine.stop(self.now, running)
                    self._watch(seat.machine)
                self._end(seat, running, Outcome.STOPPED)
        self._fill(seat, self.plan.overheads.turn_s)

    def _drop(self, seat: Seat, leases: list[int], outcome: int) -> None:
        for attempt in seat.drop_waiting(dict.fromkeys(leases)):
            self._count_behind(attempt, -1)
            self._report(seat, attempt.lease, outcome)

    def _count_behind(self, attempt: Attempt, change: int) -> None:
        demand = self._demands[self.plan.pipeline.template_of[attempt.job]]
        count = self._behind.get(demand, 0) + change
        if count:
            self._behind[demand] = count
        else:
            del self._behind[demand]

    # -- services and gates ------------------------------------------------------------------------
    def _on_ready(self, seat: Seat, attempt: Attempt) -> None:
        if attempt.lease in seat.running:
            began = self._begun[attempt.lease]
            lease, now = [attempt.lease], [self.now]
            self._inbox.append(inputs.ServicesSeen(seat.number, lease, [1], [began], now, [1], [0], [""], [0.0]))

    def _approve(self, number: int) -> None:
        job = self.state.jobs[number]
        if job.state is JobState.PAUSED:
            self.course.ends[number - self._first] = self.now - self.plan.begin
            self._inbox.append(inputs.GateDecisionMade(_CLIENT, 1, _RUN, job.name, True, "prediction", "", ""))

    # -- what is kept ------------------------------------------------------------------------------
    def _note_start(self, position: int, worker: int, last: int) -> None:
        course = self.course
        course.starts[position] = self.now - self.plan.begin
        course.workers[position] = worker
        course.after[position] = last

    def _note_progress(self) -> None:
        self._done += 1
        if self._progress is not None and self._done - self._told >= TOLD_EVERY:
            self._told = self._done
            self._progress(self._done, len(self.plan.pipeline.ids))

    def _conclude(self) -> Course:
        course, run = self.course, self.state.runs[_RUN]
        course.state = run.state.name if run.state is not RunState.OPENING else "RUNNING"
        course.tally = {JobState(i).name: n for i, n in enumerate(run.tally) if n}
        if not self._over:  # what is left can never begin, or never ends
            course.makespan_s = max((end for end in course.ends if end >= 0.0), default=0.0)
            course.stuck = {demand: lane.count for demand, lane in self.state.lanes.items() if lane.count}
        begin = self.plan.begin
        course.busy_s = sum(seat.busy_s for seat in self._seats.values())
        course.busy_s += sum(max(0.0, begin + course.makespan_s - began) for began in self._begun.values())
        course.cpu_full_s = max((machine.full_s for machine in self._machines), default=0.0)
        return course
