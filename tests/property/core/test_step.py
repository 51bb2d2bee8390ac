"""Random inputs to the core in any order. All invariants hold after every turn, a replay of the log
gives the same state, and all jobs end."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from support.core import CLIENT, Master, beat, cancel, dag, picture, register, replay, results, started, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.model.dag import DagSpec, Gate, JobTemplate, Needs, Parallel
from titan.model.demand import NOTHING, amounts_in, capabilities_of, demand_of, totals_of, within
from titan.model.settings import Settings
from titan.model.states import Outcome, RunState, WorkerState
from titan.model.timing import Timing

NEEDS = [None, None, Needs(gpus=1), Needs(cpus=0.5), Needs(cpus=1.5, memory=4), Needs(capabilities=("GPU",))]
TEMPLATES = st.builds(
    JobTemplate,
    command=st.just("true"),
    requirement=st.sampled_from(["GENERAL", "GENERAL", "GPU"]),
    priority=st.integers(0, 2),
    delay_s=st.sampled_from([0.0, 0.0, 5.0]),
    affinity=st.booleans(),
    retries=st.integers(0, 2),
    on_failure=st.sampled_from(["", "", "continue"]),
    run_at=st.sampled_from([0.0, 0.0, 30.0]),
    needs=st.sampled_from(NEEDS),
    parallel=st.sampled_from([None, None, None, Parallel("p", 1), Parallel("q", 2)]),
).map(lambda template: msgspec.structs.replace(template, parallel=None) if template.affinity else template)
GATE = JobTemplate(kind="gate", gate=Gate("", 40.0, "http://127.0.0.1/"))
SHAPES = st.lists(st.sampled_from(["job", "job", "job", "gate", "handler"]), min_size=5, max_size=5)
NAMES = st.sampled_from(["w1", "w2", "w3"])
SLOTS = {"w1": 1, "w2": 2, "w3": 3}
FACTS: dict[str, dict[str, str | int | float]] = {
    "w1": {"cpus": 1, "memory_bytes": 2},
    "w2": {"cpus": 2, "memory_bytes": 8, "gpus": 1},
    "w3": {"gpus": 2, "memory_bytes": 8},
    "good": {"cpus": 4, "memory_bytes": 16, "gpus": 2},
}
CAPABILITIES = {"w1": ("GENERAL",), "w2": ("GENERAL", "GPU"), "w3": ("GPU", "GENERAL")}
OUTCOMES = st.sampled_from([Outcome.SUCCEEDED] * 3 + list(Outcome))
SEEDS = st.integers(0, 1 << 30)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.master = Master(Settings())
        self.origin = 0
        self.said: list[int] = []
        """All leases that were ever issued."""
        self.runs = 0
        self.kept: dict[str, list[bytes]] = {}
        """Run -> its chunks in the history, for runs that left the state."""
        self.tokens = 0

    def see(self, *inputs: inputs.Input, after: float = 1.0) -> None:
        decision = self.master.see(*inputs, at=self.master.now + after)
        dispatched = [e for e in decision.events if isinstance(e, ev.JobsDispatched)]
        self.said += [e.first_lease + i for e in dispatched for i in range(len(e.jobs))]
        sent = [e for e in decision.effects if isinstance(e, fx.SendDispatch)]
        assert [(e.worker, e.jobs, e.first_lease) for e in dispatched] == [(e.worker, e.jobs, e.first_lease) for e in sent]
        for one in sent:
            worker = self.master.state.workers[one.worker]
            assert worker.takes_work
            wanted = {c for j in one.jobs for c in capabilities_of(demand_of(self.master.state.jobs[j].template))}
            assert wanted <= set(worker.capabilities)
            if any(amounts_in(demand_of(self.master.state.jobs[j].template)) != NOTHING for j in one.jobs):
                assert within(worker.taken, totals_of(worker.facts)), "more than there is"
            assert len(worker.held) + len(worker.ending) <= worker.slots * (1 + Settings().prefetch_max), "over capacity"

    def some_leases(self, worker: int, seed: int) -> list[int]:
        """Return about three quarters of the leases that the worker should hold, some of them
        twice, and a few other leases."""
        entry = self.master.state.workers[worker]
        listed = [*entry.held, *entry.held, *entry.ending, *self.said[-3:]]
        picked = [lease for i, lease in enumerate(listed) if seed >> i % 30 & 1]
        return [*picked, *([12345] if seed & 1 << 29 else [])]

    def some_worker(self, name: str) -> int | None:
        return self.master.state.worker_numbers.get(name)

    @rule(
        parents=st.lists(st.sets(st.integers(0, 4), max_size=2), min_size=1, max_size=5),
        kinds=st.lists(TEMPLATES, min_size=5, max_size=5),
        shapes=SHAPES,
    )
    def submits(self, parents: list[set[int]], kinds: list[JobTemplate], shapes: list[str]) -> None:
        jobs = {f"j{i}": " ".join(f"j{p}" for p in sorted(ps) if p < i) for i, ps in enumerate(parents)}
        for i, shape in enumerate(shapes[: len(parents)]):
            if shape == "gate":
                kinds[i] = GATE
            elif shape == "handler" and jobs[f"j{i}"]:
                kinds[i] = msgspec.structs.replace(kinds[i], kind="handler")
        self.runs += 1
        run = f"r{self.runs - 1}"
        self.see(submit(dag(jobs, dict(zip(jobs, kinds, strict=False))), run=run, key=run))

    @rule(name=NAMES, newer=st.booleans(), seed=SEEDS, draining=st.sampled_from([False, False, False, True]))
    def registers(self, name: str, newer: bool, seed: int, draining: bool) -> None:
        number = self.some_worker(name)
        known = self.master.state.workers[number] if number is not None else None
        incarnation = int(known.incarnation) + newer if known else 1
        held = {} if number is None or newer else {lease: float(seed >> lease % 30 & 1) for lease in self.some_leases(number, seed)}
        self.origin += 1
        inputs = register(
            name,
            origin=self.origin,
            incarnation=str(incarnation),
            capabilities=CAPABILITIES[name],
            slots=SLOTS[name],
            held=held,
            draining=draining,
        )
        self.see(msgspec.structs.replace(inputs, facts=FACTS[name]), after=float(seed % 20))

    @rule(name=NAMES, seed=SEEDS)
    def starts(self, name: str, seed: int) -> None:
        if (worker := self.some_worker(name)) is not None:
            leases = self.some_leases(worker, seed)
            self.see(inputs.AttemptsStarted(worker, leases, [self.master.now + 0.5] * len(leases)))

    @rule(name=NAMES, seed=SEEDS, outcomes=st.lists(OUTCOMES, min_size=12, max_size=12))
    def reports(self, name: str, seed: int, outcomes: list[Outcome]) -> None:
        if (worker := self.some_worker(name)) is not None:
            self.see(results(worker, *zip(self.some_leases(worker, seed), outcomes, strict=False), jitter=seed / (1 << 31)))

    @rule(name=NAMES, seed=SEEDS)
    def beats(self, name: str, seed: int) -> None:
        if (worker := self.some_worker(name)) is not None:
            self.see(beat(worker, {lease: float(seed & 2) for lease in self.some_leases(worker, seed)}))

    @rule(name=NAMES)
    def beats_in_order(self, name: str) -> None:
        """Send the usual heartbeat: the worker holds and runs exactly what it should."""
        if (worker := self.some_worker(name)) is not None:
            self.see(beat(worker, dict.fromkeys(self.master.state.workers[worker].held, self.master.now)))

    @rule(name=NAMES, what=st.sampled_from(["disconnects", "drains", "leaves"]))
    def goes(self, name: str, what: str) -> None:
        if (worker := self.some_worker(name)) is not None:
            connection = self.master.state.workers[worker].connection
            match what:
                case "disconnects":
                    self.see(inputs.WorkerDisconnected(worker, connection or 999))
                case "drains":
                    self.see(inputs.WorkerDraining(worker))
                case _:
                    self.see(inputs.WorkerLeaving(worker))

    @rule(
        by=st.integers(-1, 40),
        run=st.integers(0, 3),
        parents=st.lists(st.sets(st.integers(0, 9), max_size=2), min_size=1, max_size=4),
        before=st.integers(-1, 6),
        children=st.booleans(),
        kind=TEMPLATES,
    )
    def grows(self, by: int, run: int, parents: list[set[int]], before: int, children: bool, kind: JobTemplate) -> None:
        """Add jobs to a run, by a random attempt or by a user. The new jobs depend on each other
        and on jobs of the run, and a job of the run may have to wait for them."""
        held = [(w.number, lease) for w in self.master.state.workers.values() for lease in w.held]
        worker, lease = held[by % len(held)] if by >= 0 and held else (0, 0)
        name = self.master.state.jobs[self.master.state.workers[worker].held[lease]].run.id if worker else f"r{run}"
        grown = self.master.state.runs.get(name)
        there = [self.master.state.jobs[n].name for n in grown.numbers()] if grown is not None else []
        ids = [f"g{self.runs}-{len(there)}-{i}" for i in range(len(parents))]
        behind = [tuple([(ids + there)[p] for p in sorted(ps) if p < len(ids + there) and p != i]) for i, ps in enumerate(parents)]
        spec = DagSpec("more", "", [kind], ids, [0] * len(ids), [()] * len(ids), behind)
        targets = (there[before],) if 0 <= before < len(there) else ()
        self.see(inputs.RunGrowthRequested(CLIENT, 9, worker, lease, name, f"k{len(there)}", spec, targets, children))

    @rule(run=st.integers(0, 3), job=st.integers(-1, 4))
    def cancels(self, run: int, job: int) -> None:
        self.see(cancel(f"r{run}", f"j{job}" if job >= 0 else ""))

    @rule(run=st.integers(0, 3), job=st.integers(0, 4), approve=st.booleans(), token=st.booleans())
    def decides(self, run: int, job: int, approve: bool, token: bool) -> None:
        digest = b""
        gates = list(self.master.state.gates)
        if token and gates:
            self.tokens += 1
            digest = str(self.tokens).encode()
            self.see(inputs.TokenDrawn(gates[run % len(gates)], digest))
        self.see(inputs.GateDecisionMade(CLIENT, 8, f"r{run}", f"j{job}", approve, "ann", "", f"k{self.tokens}", digest))

    @rule(run=st.integers(0, 3), job=st.integers(-1, 4), purge=st.sampled_from([False, False, True]))
    def takes_off_the_dlq(self, run: int, job: int, purge: bool) -> None:
        name, which = f"r{run}", f"j{job}" if job >= 0 else ""
        chunks = [] if name in self.master.state.runs else self.kept.get(name, [])
        if purge:
            self.see(inputs.DeadDismissed(CLIENT, 8, name, which, chunks))
        else:
            self.see(inputs.DeadRetried(CLIENT, 8, name, which, "ann", "", chunks))

    @rule(run=st.integers(0, 3))
    def leaves_for_the_history(self, run: int) -> None:
        found = self.master.state.runs.get(f"r{run}")
        if found is not None and found.state is not RunState.RUNNING:
            self.kept[found.id] = list(snapshot.dump_run(self.master.state, found, 3))
            self.see(inputs.HistoryKept([found.id]))

    @rule(
        name=st.sampled_from(["s1", "s2"]),
        every=st.sampled_from([5.0, 40.0]),
        overlap=st.sampled_from(["skip", "queue", "replace"]),
        catch_up=st.sampled_from(["skip", "last", "all"]),
    )
    def schedules(self, name: str, every: float, overlap: str, catch_up: str) -> None:
        spec = dag({"a": "", "b": "a"})
        self.see(inputs.ScheduleRequested(1, 1, "", name, spec, Timing(every_s=every), overlap, catch_up, False, True))

    @rule(name=st.sampled_from(["s1", "s2"]), what=st.sampled_from(["pauses", "resumes", "removes", "runs"]))
    def plans_anew(self, name: str, what: str) -> None:
        match what:
            case "removes":
                self.see(inputs.RemovalRequested(1, 1, name))
            case "runs":
                run = f"r{len(self.master.state.runs)}"
                self.see(inputs.ScheduleRunRequested(1, 1, run, run, name))
            case _:
                self.see(inputs.PauseRequested(1, 1, name, what == "pauses"))

    @rule(seconds=st.sampled_from([0.3, 1.0, 5.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.see(inputs.TimePassed(), after=seconds)

    @rule()
    def the_master_is_killed(self) -> None:
        self.master.state = replay(self.master.events, Settings())
        self.see(inputs.MasterBooted("c", self.master.state.term + 1))

    @invariant()
    def the_log_tells_the_same(self) -> None:
        again = replay(self.master.events)
        assert picture(again) == picture(self.master.state)

    def teardown(self) -> None:
        """Register a good worker that stays, and check that everything ends."""
        master = self.master
        for name in list(master.state.schedules):
            self.see(inputs.RemovalRequested(1, 1, name))
        good = register("good", origin=1_000_000, capabilities=("GENERAL", "GPU"), slots=4)
        self.see(inputs.TimePassed(), after=60.0)
        self.see(msgspec.structs.replace(good, facts=FACTS["good"]))
        worker = master.state.worker_numbers["good"]
        for _ in range(200):
            held = list(master.state.workers[worker].held)
            self.see(started(worker, dict.fromkeys(held, master.now)), succeeded(worker, *held))
            self.see(inputs.TimePassed(), beat(worker, {}), after=10.0)
            for gate in list(master.state.gates):
                job = master.state.jobs[gate]
                self.see(inputs.GateDecisionMade(CLIENT, 8, job.run.id, job.name, True, "ann", "", "end"))
            if all(run.state is not RunState.RUNNING for run in master.state.runs.values()):
                break
        assert all(run.state is not RunState.RUNNING for run in master.state.runs.values()), "something waits for ever"
        assert master.state.workers[worker].state is WorkerState.ALIVE
        self.the_log_tells_the_same()
        check(master.state)


class RandomSteps:
    """Steps of a random walk, each with random arguments."""

    def __init__(self, walk: AnyOrder, chance: random.Random) -> None:
        self.walk = walk
        self.chance = chance

    def bits(self) -> int:
        return self.chance.getrandbits(30)

    def template(self) -> JobTemplate:
        chance = self.chance
        return JobTemplate(
            command="true",
            requirement=chance.choice(["GENERAL", "GENERAL", "GPU"]),
            priority=chance.randrange(3),
            delay_s=chance.choice([0.0, 0.0, 5.0]),
            affinity=chance.random() < 0.6,
            retries=chance.randrange(3),
            on_failure=chance.choice(["", "", "continue"]),
            needs=chance.choice(NEEDS),
        )

    def shapes(self) -> list[str]:
        return self.chance.choices(["job", "gate", "handler"], [6, 1, 1], k=5)

    def run(self) -> int:
        return self.chance.randrange(self.walk.runs + 1)

    def name(self) -> str:
        return self.chance.choice(list(SLOTS))

    def outcomes(self) -> list[Outcome]:
        return self.chance.choices(list(Outcome), [8, *[1] * (len(Outcome) - 1)], k=12)

    def policies(self) -> tuple[str, str]:
        return self.chance.choice(["skip", "queue", "replace"]), self.chance.choice(["skip", "last", "all"])

    def additions(self) -> list[set[int]]:
        chance = self.chance
        return [{chance.randrange(10) for _ in range(chance.randrange(3))} for _ in range(chance.randint(1, 4))]

    def weighted(self) -> list[tuple[int, Callable[[], None]]]:
        """Return (weight, step) of all steps."""
        walk, chance, bits, run, name = self.walk, self.chance, self.bits, self.run, self.name
        return [
            (
                3,
                lambda: walk.submits([{chance.randrange(5)} for _ in range(5)], [self.template() for _ in range(5)], self.shapes()),
            ),
            (3, lambda: walk.registers(name(), chance.random() < 0.3, bits() | bits(), chance.random() < 0.1)),
            (6, lambda: walk.starts(name(), bits() | bits())),
            (6, lambda: walk.reports(name(), bits() & bits(), self.outcomes())),
            (2, lambda: walk.beats(name(), bits() | bits())),
            (6, lambda: walk.beats_in_order(name())),
            (2, lambda: walk.goes(name(), chance.choices(["disconnects", "drains", "leaves"], [6, 1, 1])[0])),
            (
                3,
                lambda: walk.grows(
                    bits() % 42 - 1, run(), self.additions(), bits() % 8 - 1, chance.random() < 0.5, self.template()
                ),
            ),
            (2, lambda: walk.cancels(run(), chance.randrange(-1, 5))),
            (4, lambda: walk.decides(run(), chance.randrange(5), chance.random() < 0.7, chance.random() < 0.5)),
            (4, lambda: walk.takes_off_the_dlq(run(), chance.randrange(-1, 5), chance.random() < 0.3)),
            (2, lambda: walk.leaves_for_the_history(run())),
            (3, lambda: walk.time_passes(chance.choice([0.3, 1.0, 5.0, 31.0]))),
            (1, walk.the_master_is_killed),
            (1, lambda: walk.schedules(chance.choice(["s1", "s2"]), chance.choice([5.0, 40.0]), *self.policies())),
            (2, lambda: walk.plans_anew(chance.choice(["s1", "s2"]), chance.choice(["pauses", "resumes", "removes", "runs"]))),
        ]


@pytest.mark.parametrize("seed", range(40))
def test_a_long_walk_of_random_inputs_keeps_every_invariant(seed: int) -> None:
    """Hypothesis finds short sequences that fail. This test tries long random sequences."""
    chance = random.Random(seed)
    walk = AnyOrder()
    steps = RandomSteps(walk, chance).weighted()
    for _ in range(300):
        chance.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()
    walk.the_log_tells_the_same()
    walk.teardown()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
