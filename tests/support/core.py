"""Helpers of the tests of the core: a master that consists only of its state, and short forms for
inputs and events."""

from __future__ import annotations

import msgspec

from titan.core import effects as fx
from titan.core import inputs
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.handlers.fencing import term_floor
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import Job, State
from titan.core.step import Decision, step
from titan.core.why import CODES, Explanation, explain
from titan.model.dag import DagSpec, JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState, WorkerState

FIRST = 1 << 32
"""Number of the first job, and of the first lease, of term 1."""
CLIENT = 9
"""Connection of the client that submits."""


NO_PREFETCH = Settings(prefetch=0)
"""Settings under which a worker with n slots gets n jobs. This makes tests shorter."""
PATIENT = Settings(prefetch=0, loss_s=1e6)
"""Settings under which a silent worker is not lost."""
FRAGILE = JobTemplate(command="x", retries=0)


class Master:
    """Core with its state. Each call of `see` is one turn, after which all invariants are checked.
    All events are kept for a replay."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.state = State(settings or Settings(prefetch=0))
        self.now = 0.0
        self.events: list[ev.Event] = []
        self.see(booted(self.state))

    def see(self, *inputs: inputs.Input, at: float | None = None) -> Decision:
        self.now = self.now if at is None else at
        decision = step(self.state, self.now, inputs)
        self.events += decision.events
        check(self.state)
        # RootsReleased only records how far the roots of a run were released. It is left out here,
        # because no test is about it.
        return Decision([e for e in decision.events if not isinstance(e, ev.RootsReleased)], decision.effects)

    def job(self, n: int = 0) -> Job:
        return self.state.jobs[FIRST + n]

    def states(self) -> list[JobState]:
        return [job.state for job in self.state.jobs.values()]

    def lease(self, n: int = 0) -> int:
        return self.job(n).lease

    def run_state(self, run: str = "r") -> RunState:
        return self.state.runs[run].state

    def end(self, *names: str, outcome: Outcome = Outcome.SUCCEEDED) -> list[ev.Event]:
        """Report the end of these jobs by worker 1, one each second, and return the decided events.
        Also check that a replay gives the same state."""
        decided: list[ev.Event] = []
        for name in names:
            job = next(job for job in self.state.jobs.values() if job.name == name)
            decided += self.see(results(1, (job.lease, outcome)), at=self.now + 1.0).events
        assert picture(replay(self.events)) == picture(self.state)
        return decided

    def explained(self, n: int = 0) -> Explanation:
        """Return the explanation of a job's state. Also check that the code of each reason is
        known."""
        explanation = explain(self.state, FIRST + n, self.now)
        reasons = [*explanation.reasons, *(reason for worker in explanation.workers for reason in worker.reasons)]
        assert all(reason.code in CODES for reason in reasons)
        return explanation


def booted(
    state: State, bursts: tuple[str, ...] = (), draw: str = "", copied: str = "", behind_s: float = 0.0
) -> inputs.MasterBooted:
    """Return the input of a master's start, in the term that the log would give."""
    term = 1 + term_floor(state, copied=bool(copied))
    return inputs.MasterBooted("c", term, bursts, draw, copied, behind_s)


# -- inputs ----------------------------------------------------------------------------------------
def dag(parents: dict[str, str], templates: dict[str, JobTemplate] | None = None, *, name: str = "d") -> DagSpec:
    """Return a DAG. `parents` maps each job to its parents, separated by blanks. Jobs that
    `templates` does not name run `true`."""
    of = {job: (templates or {}).get(job, JobTemplate(command="true")) for job in parents}
    kinds = list(dict.fromkeys(of.values()))
    template_of = [kinds.index(t) for t in of.values()]
    return DagSpec(name, "1", kinds, list(of), template_of, [() for _ in of], [tuple(p.split()) for p in parents.values()])


def fragile_run(
    parents: dict[str, str], templates: dict[str, JobTemplate] | None = None, *, slots: int = 8, key: str = ""
) -> Master:
    """Return a master with a run whose jobs have no retries, and with a worker that has a slot for
    each job."""
    master = Master()
    of = {**dict.fromkeys(parents, FRAGILE), **(templates or {})}
    master.see(register(slots=slots), submit(dag(parents, of), key=key))
    return master


def alike(jobs: str, template: JobTemplate) -> DagSpec:
    """Return a DAG of jobs without parents that share a template. `jobs` are their names, separated
    by blanks."""
    return dag(dict.fromkeys(jobs.split(), ""), dict.fromkeys(jobs.split(), template))


def submit(spec: DagSpec, *, run: str = "r", key: str = "") -> inputs.DagSubmitted:
    return inputs.DagSubmitted(CLIENT, 5, run, key, spec)


def cancel(run: str, job: str = "", *, unstarted: bool = False) -> inputs.CancelRequested:
    return inputs.CancelRequested(CLIENT, 6, run, job, unstarted=unstarted)


def register(
    name: str = "w1",
    *,
    origin: int = 1,
    incarnation: str = "1",
    capabilities: tuple[str, ...] = ("GENERAL",),
    slots: int = 1,
    held: dict[int, float] | None = None,
    draining: bool = False,
) -> inputs.WorkerRegistered:
    """Return the input of a registration. `held` maps each lease to the start of its attempt; 0 if
    the attempt has not started."""
    held = held or {}
    return inputs.WorkerRegistered(
        origin, 7, name, incarnation, capabilities, slots, {}, list(held), list(held.values()), draining
    )  # fmt: skip


def beat(worker: int, held: dict[int, float]) -> inputs.WorkerBeat:
    return inputs.WorkerBeat(worker, list(held), list(held.values()))


def started(worker: int, ats: dict[int, float]) -> inputs.AttemptsStarted:
    return inputs.AttemptsStarted(worker, list(ats), list(ats.values()))


def results(worker: int, *reports: tuple[int, Outcome], jitter: float = 0.5) -> inputs.ResultsReported:
    """Return the input of results, given as (lease, outcome). Every attempt ran from 1.0 to 2.0."""
    good = [outcome is Outcome.SUCCEEDED for _, outcome in reports]
    n = len(reports)
    return inputs.ResultsReported(
        worker,
        [lease for lease, _ in reports],
        [outcome for _, outcome in reports],
        [0 if ok else 1 for ok in good],
        ["" if ok else "why" for ok in good],
        [1.0] * n,
        [2.0] * n,
        [0.25] * n,
        [4096] * n,
        jitter,
    )


def succeeded(worker: int, *leases: int) -> inputs.ResultsReported:
    return results(worker, *((lease, Outcome.SUCCEEDED) for lease in leases))


# -- refusals --------------------------------------------------------------------------------------
def refusal(decision: Decision) -> tuple[str, str]:
    """Return (code, message) of the refusal of an input. Also check that the input changed
    nothing."""
    assert not decision.events
    (effect,) = decision.effects
    assert isinstance(effect, fx.Refuse), effect
    return effect.code, effect.message


# -- events ----------------------------------------------------------------------------------------
def completed(worker: int, jobs: list[int], at: float) -> ev.JobsCompleted:
    """Return the event that follows from `succeeded`."""
    n = len(jobs)
    return ev.JobsCompleted(worker, jobs, [1.0] * n, [2.0] * n, [0.25] * n, [4096] * n, at)


def failed(worker: int, jobs: list[int], outcome: Outcome, retry_at: list[float], at: float) -> ev.JobsFailed:
    """Return the event that follows from `results` in which all attempts have this outcome."""
    n = len(jobs)
    return ev.JobsFailed(
        worker, jobs, [outcome] * n, [1] * n, ["why"] * n, [1.0] * n, [2.0] * n, [0.25] * n, [4096] * n, retry_at, at
    )  # fmt: skip


def joined(worker: int, name: str, at: float, *, incarnation: str = "1", slots: int = 1) -> ev.WorkerJoined:
    return ev.WorkerJoined(worker, name, incarnation, ("GENERAL",), slots, {}, at)


# -- the log ---------------------------------------------------------------------------------------
def replay(events: list[ev.Event], settings: Settings = NO_PREFETCH) -> State:
    """Return the state of a master that reads these events from its journal."""
    payload, count = ev.encode(events)
    state = State(settings)
    decoded = ev.decode(payload) if count else []
    assert len(decoded) == count
    for event in decoded:
        apply(state, event)
    state.reindex()
    return state


def picture(state: State) -> list[object]:
    """Return the durable part of a state: a snapshot of it, without connections and times of
    heartbeats."""
    copy = State(Settings(prefetch=0))
    snapshot.load(copy, snapshot.dump(state))
    for w in copy.workers.values():
        w.connection, w.heard_at, w.deadline, w.watched = 0, 0.0, 0.0, False
        w.recalled.clear()
        w.recalled.clear()
        w.state = WorkerState.SUSPECT if w.state is WorkerState.ALIVE else w.state
    return [msgspec.msgpack.decode(chunk) for chunk in snapshot.dump(copy)]
