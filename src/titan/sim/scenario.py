"""Random scenario of a seed: graphs, workers, settings and rates of faults. All of it is drawn
before the clock starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from titan.model.conditions import parse
from titan.model.dag import ALWAYS, ENDED, DagSpec, Gate, JobTemplate, Kind, Needs, Parallel, Retry, Service, waits_for_end
from titan.model.demand import NOTHING, Amounts, amounts_of, plus
from titan.model.graph import resolve
from titan.model.settings import Settings
from titan.model.timing import Timing
from titan.sim import cache_plans
from titan.sim.clock import START
from titan.sim.file_plans import draw_share, with_files

MAX_JOBS = 60
MOST_CPUS, MOST_MEMORY, MOST_GPUS = 4, 8, 3
"""Maximum needs of a job."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """Faults of a scenario.

    Rates are per message or attempt unless documented otherwise. `*_every_s` is the mean time
    between two faults of a kind, 0 for never.
    """

    loss: float = 0.0
    duplication: float = 0.0
    spike: float = 0.0
    spike_s: float = 0.0
    stall: float = 0.0
    """Rate per turn of the master or a worker: the turn begins up to `stall_s` late."""
    stall_s: float = 0.0
    slow_sync: float = 0.0
    slow_sync_s: float = 0.0
    fetch_failure: float = 0.0
    cut_every_s: float = 0.0
    half_open: float = 0.0
    """Rate per side of a cut connection: this side notices the cut late."""
    partition_every_s: float = 0.0
    partition_s: float = 0.0
    crash_every_s: float = 0.0
    gone: int = 0
    """Maximum number of workers that go for good."""
    usurp_every_s: float = 0.0
    """The fault cuts a worker off, and starts another process with the worker's name while the old
    process still runs."""
    drain_every_s: float = 0.0
    runner_every_s: float = 0.0
    master_every_s: float = 0.0
    snapshot: float = 0.0
    """Rate per turn of the master: the master takes a snapshot."""
    archive: float = 0.0
    """Rate per finished run: the run moves from the state to the history."""
    webhook: float = 0.0
    """Rate per call of a webhook: the call fails."""
    burst: bool = False
    """True if burst workers may fail to start."""
    fickle: bool = False
    """True if a restarted worker may have other slots and capabilities."""


class WorkerPlan(msgspec.Struct, frozen=True):
    name: str
    capabilities: tuple[str, ...]
    slots: int
    starts_s: float
    mortal: bool
    """True if the worker may go for good or lose a capability, because another worker has all its
    capabilities."""
    total: Amounts = NOTHING
    """Resources for its jobs."""
    least: int = 1
    """Minimum number of slots, even after a restart with other slots."""
    extra: Amounts = NOTHING
    """Additional resources that the worker always has, so that services leave enough for jobs."""


class BurstPlan(msgspec.Struct, frozen=True):
    """Behaviour of the provider of burst workers, if the settings have a scaling rule."""

    start_s: float = 1.0
    """Maximum time that the start of a burst worker takes."""
    fails: float = 0.0
    """Share of requested burst workers that never start."""
    outlive: bool = False
    """True if burst workers outlive the master; otherwise they end with the master."""


class Submission(msgspec.Struct, frozen=True):
    at_s: float
    key: str
    dag: DagSpec
    cancels: tuple[tuple[float, str], ...]
    """(seconds after the acknowledgement, job or "" for the run)."""
    part: int = 0
    """Jobs in each part; 0 submits all jobs in one message."""
    decisions: tuple[tuple[float, str, bool, bool], ...] = ()
    """(seconds after the acknowledgement, gate, approve, use the webhook's token if known)."""
    revivals: tuple[tuple[float, str, bool], ...] = ()
    """(seconds after the acknowledgement, job or "" for the run, purge instead of retry)."""
    stops: tuple[tuple[float, str], ...] = ()
    """(seconds after the acknowledgement, service to stop)."""
    replaces: tuple[tuple[float, str], ...] = ()
    """(seconds after the acknowledgement, service to replace)."""


class SchedulePlan(msgspec.Struct, frozen=True):
    name: str
    dag: DagSpec
    timing: Timing
    overlap: str
    catch_up: str
    steps: tuple[tuple[float, str], ...]
    """(seconds, action): first "add", then "pause", "resume", "change" or "run", last "remove"."""


class Scenario(msgspec.Struct, frozen=True):
    seed: int
    kind: str
    settings: Settings
    workers: list[WorkerPlan]
    submissions: list[Submission]
    faults: Faults
    fault_s: float
    """Time at which the faults end."""
    latency_s: float
    schedules: list[SchedulePlan] = []
    burst: BurstPlan = BurstPlan()
    quick_s: float = 0.02
    """Maximum duration of attempts that workers pipeline."""

    @property
    def quiet(self) -> bool:
        """Return whether failing jobs are the only faults of the scenario."""
        return self.kind == "quiet"

    @property
    def calm(self) -> bool:
        """Return whether no fault can lose a started attempt.

        In a calm scenario only connections break and the master restarts.
        """
        return self.kind in ("quiet", "calm")


def draw_scenario(seed: int, *, without: tuple[str, ...] = ()) -> Scenario:
    """Generate the scenario of a seed. `without` names fields of Faults that stay off."""
    rng = Random(seed)
    kind = rng.choices(("quiet", "calm", "rough"), (2, 2, 12))[0]
    faults = {"quiet": _quiet, "calm": _calm, "rough": _rough}[kind](rng)
    off = {name: getattr(Faults(), name) for name in without}
    scaling, burst = _scaling(Random(f"scaling {seed}"), calm=kind != "rough")
    needy = Random(f"{seed}/needs")
    share = needy.choice((0.0, 0.3, 0.8))
    settings = msgspec.structs.replace(_settings(rng, calm=kind != "rough"), hold_s=needy.choice((0.5, 5.0, 60.0)), **scaling)
    workers = [msgspec.structs.replace(plan, total=draw_total(needy, plan)) for plan in _workers(rng)]
    submissions = [_needy(needy, share, submission) for submission in _submissions(rng)]
    submissions = _with_conditions(Random(f"conditions of {seed}"), submissions)
    submissions, workers, count = with_services(Random(f"long-lived {seed}"), submissions, workers)
    submissions = _with_results(Random(f"{seed}/results"), submissions)
    submissions = _with_arrays(Random(f"{seed}/arrays"), submissions)
    settings = msgspec.structs.replace(settings, burst_slots=settings.burst_slots + count)
    scenario = Scenario(
        seed=seed,
        kind=kind,
        settings=settings,
        workers=workers,
        submissions=submissions,
        faults=msgspec.structs.replace(faults, **off),
        fault_s=rng.uniform(30.0, 120.0),
        latency_s=rng.choice((0.0002, 0.001, 0.05)),
        burst=burst,
        quick_s=Random(f"{seed}/quick").choice((0.02, 2.0, 20.0)),
    )
    scenario = _with_times(Random(f"times of {seed}"), scenario)
    files = Random(f"files of {seed}")
    if share := draw_share(files):
        chosen = [msgspec.structs.replace(s, dag=with_files(files, share, s.dag)) for s in scenario.submissions]
        scenario = msgspec.structs.replace(scenario, submissions=chosen)
    cached = Random(f"{seed}/cache")
    if share := cache_plans.draw_share(cached):
        chosen = [msgspec.structs.replace(s, dag=cache_plans.with_caching(cached, share, s.dag)) for s in scenario.submissions]
        limited = cache_plans.with_limits(cached, scenario.settings)
        scenario = msgspec.structs.replace(scenario, submissions=chosen, settings=limited)
    return scenario


def _settings(rng: Random, *, calm: bool) -> Settings:
    prefetch, prefetch_s = rng.choice(((0, 0.05), (1, 0.05), (1, 5.0), (4, 0.05)))
    return Settings(
        loss_s=rng.choice((15.0, 30.0)) if not calm else 30.0,
        poison_losses=rng.choice((2, 2, 3)),
        stop_grace_s=rng.choice((0.5, 2.0, 5.0)),
        prefetch=prefetch,
        prefetch_s=prefetch_s,
        release_slice=rng.choice((1, 5, 10_000)),
    )


def _scaling(rng: Random, *, calm: bool) -> tuple[dict[str, Any], BurstPlan]:
    """Choose settings for scaling, and the behaviour of the provider.

    `rng` serves only these choices, so that the other choices of a seed do not depend on them.
    """
    forget = {} if calm else {"forget_s": rng.choice((5.0, 60.0, 604_800.0))}
    if rng.random() < 0.4:
        return forget, BurstPlan()
    rules = {}
    for name in rng.sample(("GENERAL", "GPU", "GENERAL+HIGH_MEM"), rng.choice((1, 1, 2))):
        most = rng.randint(1, 5)
        rules[name] = (rng.choice((0, 0, 0, 1, most)), most)
    settings = {
        "scale": rules,
        "scale_every_s": rng.choice((1.0, 5.0, 15.0)),
        "scale_up": rng.choice((0.2, 1.0, 3.0)),
        "scale_cooldown_s": rng.choice((0.5, 5.0, 30.0)),
        "scale_patience_s": rng.choice((2.0, 30.0)),
        "burst_slots": rng.randint(1, 3),
        "burst_idle_s": rng.choice((1.0, 10.0, 45.0)),
        "burst_start_s": 120.0 if calm else rng.choice((20.0, 120.0)),
    }
    start_s = rng.choice((0.5, 5.0, 60.0))
    return {**forget, **settings}, BurstPlan(start_s, 0.0 if calm else rng.choice((0.0, 0.2)), calm or rng.random() < 0.4)


# -- faults ----------------------------------------------------------------------------------------
def _quiet(rng: Random) -> Faults:
    return Faults(snapshot=0.05, archive=0.5)


def _calm(rng: Random) -> Faults:
    return Faults(
        snapshot=0.05,
        archive=0.5,
        cut_every_s=rng.choice((0.0, 8.0, 20.0)),
        master_every_s=rng.choice((0.0, 15.0, 30.0)),
        slow_sync=rng.choice((0.0, 0.2)),
        slow_sync_s=0.5,
    )


def _rough(rng: Random) -> Faults:
    def some(share: float, *choices: float) -> float:
        """Return one of `choices` with the probability `share`, else 0."""
        value = rng.choice(choices)
        return value if rng.random() < share else 0.0

    return Faults(
        loss=some(0.4, 0.01, 0.05, 0.15),
        duplication=some(0.4, 0.02, 0.2),
        spike=some(0.5, 0.02, 0.2),
        spike_s=rng.choice((1.0, 5.0, 30.0)),
        stall=some(0.4, 0.02, 0.2),
        stall_s=rng.choice((0.5, 3.0, 8.0)),
        slow_sync=some(0.5, 0.05, 0.5),
        slow_sync_s=rng.choice((0.2, 1.0, 5.0)),
        fetch_failure=some(0.5, 0.1, 0.4),
        cut_every_s=some(0.5, 5.0, 20.0),
        half_open=rng.choice((0.0, 0.2, 0.5)),
        partition_every_s=some(0.5, 10.0, 25.0),
        partition_s=rng.choice((10.0, 60.0, 60.0)),
        crash_every_s=some(0.5, 6.0, 20.0, 40.0),
        gone=rng.choice((0, 1, 2)),
        usurp_every_s=some(0.2, 30.0),
        drain_every_s=some(0.3, 20.0, 40.0),
        runner_every_s=some(0.3, 20.0),
        master_every_s=some(0.6, 5.0, 20.0, 40.0),
        snapshot=some(0.7, 0.01, 0.05),
        archive=rng.choice((0.0, 0.5, 1.0)),
        webhook=rng.choice((0.0, 0.3, 0.8)),
        fickle=rng.random() < 0.4,
        burst=True,
    )


# -- workers ---------------------------------------------------------------------------------------
def _workers(rng: Random) -> list[WorkerPlan]:
    """Choose the workers. The first worker has all capabilities and always returns, so that every
    job can end."""
    plans = [WorkerPlan("w0", ("GENERAL", "GPU", "HIGH_MEM"), rng.randint(1, 3), rng.uniform(0, 3), False)]
    for i in range(1, rng.randint(1, 5)):
        capabilities = rng.choice((("GENERAL",), ("GENERAL", "GPU"), ("GPU",), ("GENERAL", "HIGH_MEM")))
        plans.append(WorkerPlan(f"w{i}", capabilities, rng.randint(1, 4), rng.uniform(0, 20), True))
    return plans


# -- conditions ------------------------------------------------------------------------------------
def _with_conditions(rng: Random, submissions: list[Submission]) -> list[Submission]:
    """Let some jobs start when all their parents have ended, whatever the ends, and give conditions
    to some.

    `rng` serves only these choices.
    """
    share, conditional = rng.choice((0.0, 0.0, 0.1, 0.4)), rng.choice((0.0, 0.0, 0.1, 0.4))
    found = []
    for submission in submissions:
        dag = submission.dag
        templates, template_of = list(dag.templates), list(dag.template_of)
        for n, (t, parents) in enumerate(zip(dag.template_of, dag.parents, strict=True)):
            template = templates[t]
            if template.kind == Kind.HANDLER or not parents:
                continue
            when = ALWAYS if not template.function and rng.random() < share else ""
            condition = _condition(rng, parents) if rng.random() < conditional else ""
            if condition and parse(condition).jobs_by_state:
                condition, when = ("", when) if template.function else (condition, when or ENDED)
            if when or condition:
                template_of[n] = len(templates)
                templates.append(msgspec.structs.replace(template, when=when, condition=condition))
        dag = msgspec.structs.replace(dag, templates=templates, template_of=template_of)
        found.append(msgspec.structs.replace(submission, dag=dag))
    return found


def _condition(rng: Random, parents: Sequence[str]) -> str:
    """Choose a condition. A result is the text of a lease and a number, or missing."""
    first, other = rng.choice(parents), rng.choice(parents)
    return rng.choice(
        (
            f"{first}.state == COMPLETED",
            f"{first}.state == FAILED or {other}.state == SKIPPED",
            f"not {first}.state != COMPLETED and {other}.state != CANCELLED",
            f"{first}.state == COMPLETED and {first}.result > '42949672{rng.randint(0, 9)}'",
            f"{first}.result < '429496729{rng.randint(0, 9)}' or {other}.result == 'x'",
            f"'{first}' == 'j1'",
        )
    )


def _with_results(rng: Random, submissions: list[Submission]) -> list[Submission]:
    """Put results of parents into the environment and arguments of some jobs.

    `rng` serves only these choices.
    """
    share = rng.choice((0.0, 0.0, 0.05, 0.2))
    found = []
    for submission in submissions if share else ():
        dag = submission.dag
        templates, template_of, args = list(dag.templates), list(dag.template_of), list(dag.args)
        services = [name for name, t in zip(dag.ids, dag.template_of, strict=True) if templates[t].kind == Kind.SERVICE]
        for n, names in enumerate(dag.parents):
            template = templates[template_of[n]]
            parents = [name for name in names if name not in services]
            if template.kind != Kind.JOB or template.function or not parents or rng.random() >= share:
                continue
            name = f"${{{rng.choice(parents)}.result{rng.choice(('', '', '', '.x'))}}}"
            args[n] = (*args[n], f"$${{x.result}} {name}")
            template_of[n] = len(templates)
            env = (*template.env, ("RESULT", f"${{{rng.choice(parents)}.result}}"))
            templates.append(msgspec.structs.replace(template, env=env, fills_results=True))
        dag = msgspec.structs.replace(dag, templates=templates, template_of=template_of, args=args)
        found.append(msgspec.structs.replace(submission, dag=dag))
    return found or submissions


def _with_arrays(rng: Random, submissions: list[Submission]) -> list[Submission]:
    """Let some jobs of a submission share a limit of how many are on workers at a time.

    `rng` serves only these choices.
    """
    share = rng.choice((0.0, 0.0, 0.3, 0.8))
    found = []
    for submission in submissions if share else ():
        dag = submission.dag
        limits = [Parallel("p1", rng.randint(1, 3)), Parallel("p2", 1)]
        templates, template_of = list(dag.templates), list(dag.template_of)
        for n, t in enumerate(dag.template_of):
            template = templates[t]
            if template.kind in (Kind.JOB, Kind.HANDLER) and not template.affinity and rng.random() < share:
                template_of[n] = len(templates)
                templates.append(msgspec.structs.replace(template, parallel=rng.choice(limits)))
        dag = msgspec.structs.replace(dag, templates=templates, template_of=template_of)
        found.append(msgspec.structs.replace(submission, dag=dag))
    return found or submissions


# -- times -----------------------------------------------------------------------------------------
def _with_times(rng: Random, scenario: Scenario) -> Scenario:
    """Add deadlines and `run_at` times to some submissions, and schedules to some scenarios.

    `rng` serves only these choices.
    """
    submissions = list(scenario.submissions)
    for i, submission in enumerate(submissions):
        dag = submission.dag
        if rng.random() < 0.15:
            dag = msgspec.structs.replace(dag, deadline_s=rng.choice((1.0, 10.0, 40.0)))
        if rng.random() < 0.15:
            at = START + rng.uniform(0.0, 60.0)
            dag = msgspec.structs.replace(
                dag, templates=[msgspec.structs.replace(t, run_at=at) if rng.random() < 0.5 else t for t in dag.templates]
            )
        submissions[i] = msgspec.structs.replace(submission, dag=dag)
    count = rng.choice((0, 0, 1, 1, 2))
    schedules = [_schedule(rng, f"s{i}", scenario.fault_s) for i in range(count)]
    return msgspec.structs.replace(scenario, submissions=submissions, schedules=schedules)


def _schedule(rng: Random, name: str, fault_s: float) -> SchedulePlan:
    """Choose a schedule of one or two jobs. The simulated user removes the schedule after the
    faults have ended."""
    step = rng.choice((5, 6, 10, 15))
    timing = Timing(cron=f"*/{step} * * * * *") if rng.random() < 0.5 else Timing(every_s=float(step))
    count = rng.randint(1, 2)
    dag = DagSpec(
        name=name,
        version="",
        templates=[JobTemplate(command="true", retries=1)],
        ids=[f"{name}-{i}" for i in range(count)],
        template_of=[0] * count,
        args=[(rng.choice(("ok", "ok", "flaky")), str(rng.choice((0.05, 0.5, 2.0, 8.0)))) for _ in range(count)],
        parents=[() if not i else (f"{name}-0",) for i in range(count)],
        deadline_s=rng.choice((0.0, 0.0, 0.0, 4.0, 30.0)),
    )
    begin, end = rng.uniform(0.0, 10.0), fault_s + rng.uniform(15.0, 45.0)
    steps = [(begin, "add")]
    while rng.random() < 0.4:
        at = rng.uniform(steps[-1][0], end)
        action = rng.choice(("pause", "run", "change"))
        steps.append((at, action))
        if action == "pause":
            steps.append((rng.uniform(at, end), "resume"))
    steps.append((end, "remove"))
    overlap, catch_up = rng.choice(("skip", "queue", "replace")), rng.choice(("skip", "last", "all"))
    return SchedulePlan(name, dag, timing, overlap, catch_up, tuple(steps))


def draw_total(rng: Random, plan: WorkerPlan) -> Amounts:
    """Choose the resources of a worker. The worker that always returns has enough for every job."""
    total = MOST_CPUS * 1000, MOST_MEMORY, MOST_GPUS
    if plan.mortal:
        total = rng.randint(0, 2 * MOST_CPUS) * 500, rng.randint(0, MOST_MEMORY), rng.randint(0, MOST_GPUS)
    return plus(total, plan.extra)


def _needy(rng: Random, share: float, submission: Submission) -> Submission:
    """Add needs for resources or for several capabilities to some templates."""
    templates = [
        msgspec.structs.replace(template, needs=_needs(rng))
        if rng.random() < share and not template.function and template.kind != Kind.GATE
        else template
        for template in submission.dag.templates
    ]
    return msgspec.structs.replace(submission, dag=msgspec.structs.replace(submission.dag, templates=templates))


def _needs(rng: Random) -> Needs:
    return Needs(
        cpus=rng.choice((0.0, 0.0, 0.1, 0.5, 1.5, float(MOST_CPUS))),
        memory=rng.choice((0, 0, 1, MOST_MEMORY // 2, MOST_MEMORY)),
        gpus=rng.choice((0, 0, 1, MOST_GPUS)),
        capabilities=rng.choice(((), (), ("GPU",), ("HIGH_MEM", "GPU"), ("GENERAL",))),
    )


# -- graphs ----------------------------------------------------------------------------------------
def _submissions(rng: Random) -> list[Submission]:
    found: list[Submission] = []
    left = MAX_JOBS
    dag = None
    for i in range(rng.choice((1, 1, 2, 2, 3))):
        if not left:
            break
        # otherwise submit the same DAG again, so that another run has equal job ids
        if dag is None or rng.random() < 0.5:
            dag = _dag(rng, f"dag{i}", min(left, rng.randint(1, 30)))
        if len(dag.ids) > left:
            break
        left -= len(dag.ids)
        cancels: list[tuple[float, str]] = []
        for job, args in zip(dag.ids, dag.args, strict=True):
            if args[0] == "endless":
                cancels.append((rng.uniform(5.0, 90.0), job if rng.random() < 0.5 else ""))
        while rng.random() < 0.25:
            cancels.append((rng.uniform(0.0, 40.0), rng.choice(dag.ids) if rng.random() < 0.7 else ""))
        part = rng.randint(1, 6) if rng.random() < 0.5 and _is_in_order(dag) else 0
        human = _decisions(rng, dag), _revivals(rng, dag)
        found.append(Submission(rng.uniform(0.0, 15.0), f"key{i}", dag, tuple(cancels), part, *human))
    return found


def _decisions(rng: Random, dag: DagSpec) -> tuple[tuple[float, str, bool, bool], ...]:
    """Choose decisions about gates.

    Some decisions come before the gate opens or after its timeout, and some contradict each other.
    """
    found = []
    for job, kind in zip(dag.ids, dag.template_of, strict=True):
        if dag.templates[kind].kind == Kind.GATE:
            found += [
                (rng.uniform(0.0, 120.0), job, rng.random() < 0.75, rng.random() < 0.5) for _ in range(rng.choice((0, 1, 2, 4)))
            ]
    return tuple(found)


def _revivals(rng: Random, dag: DagSpec) -> tuple[tuple[float, str, bool], ...]:
    count = rng.choice((0, 0, 1, 3, 6))
    return tuple(
        (rng.uniform(5.0, 200.0), rng.choice(dag.ids) if rng.random() < 0.5 else "", rng.random() < 0.2) for _ in range(count)
    )


def _is_in_order(dag: DagSpec) -> bool:
    return all(p < i for i, parents in enumerate(resolve(dag)) for p in parents)


def _dag(rng: Random, name: str, count: int) -> DagSpec:
    shape: Callable[[Random, int], list[tuple[int, ...]]] = rng.choice((_chain, _layers, _diamonds, _wide, _any))
    parents = shape(rng, count)
    count = len(parents)
    affine = rng.choice((0.0, 0.3, 0.9))
    templates = [_template(rng, i, affine) for i in range(rng.randint(1, 5))]
    template_of = [rng.randrange(len(templates)) for _ in range(count)]
    human, handled = rng.choice((0.0, 0.0, 0.1, 0.3)), rng.choice((0.0, 0.0, 0.1, 0.3))
    for i in range(count):
        if rng.random() < human:
            template_of[i] = len(templates)
            templates.append(_gate(rng))
        elif parents[i] and not templates[template_of[i]].function and rng.random() < handled:
            handler = msgspec.structs.replace(templates[template_of[i]], kind=Kind.HANDLER)
            template_of[i] = len(templates)
            templates.append(handler)
    spoilt = rng.choice((0.0, 0.1, 0.3))
    args = [_behaviour(rng, spoilt) for _ in range(count)]
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        args[rng.randrange(count)] = ("endless", "1")
    for i, t in enumerate(template_of):
        if templates[t].function and args[i][0] != "endless":
            args[i] = (args[i][0], str(rng.choice((0.0005, 0.0005, 0.002, 0.05, 2.0))))
    return DagSpec(
        name=name,
        version="1",
        templates=templates,
        ids=[f"j{i}" for i in range(count)],
        template_of=template_of,
        args=args,
        parents=[tuple([f"j{p}" for p in ps]) for ps in parents],
    )


def _template(rng: Random, number: int, affine: float) -> JobTemplate:
    script = rng.random() < 0.4
    call = rng.random() < 0.3
    if call:
        script = False
    return JobTemplate(
        function=f"{number + 100:064x}" if call else "",
        file=f"s{number}.py" if script else "",
        file_hash=f"{number:064x}" if script else "",
        command="" if script or call else "true",
        requirement=rng.choices(("GENERAL", "GPU", "HIGH_MEM"), (6, 2, 1))[0],
        priority=rng.choice((1, 1, 1, 5, -3)),
        delay_s=rng.choice((0.0, 0.0, 0.0, 0.5, 6.0)),
        affinity=rng.random() < affine,
        retries=rng.choice((0, 1, 3, 3, 5)),
        timeout_s=rng.choice((0.0, 0.0, 3.0, 15.0)),
        on_failure="" if call else rng.choice(("", "", "", "continue")),
        retry=rng.choice((None, None, Retry(2.0, 5.0), Retry(final_codes=(2,)))),
    )


def _gate(rng: Random) -> JobTemplate:
    url = rng.choice(("", "http://hook.example/gate"))
    return JobTemplate(
        kind=Kind.GATE, gate=Gate("well?", rng.choice((3.0, 30.0, 300.0, 300.0)), url), delay_s=rng.choice((0.0, 0.0, 6.0))
    )


def _behaviour(rng: Random, spoilt: float) -> tuple[str, ...]:
    """Choose the arguments of a job, which control its fake process: (kind, mean duration in
    seconds).

    See `processes.Fate`.
    """
    kind = "ok"
    if rng.random() < spoilt:
        kind = rng.choices(("flaky", "fail", "signal", "hang", "refused", "broken"), (6, 2, 2, 2, 1, 2))[0]
    return kind, str(rng.choice((0.05, 0.5, 0.5, 2.0, 8.0, 30.0)))


def _chain(rng: Random, count: int) -> list[tuple[int, ...]]:
    return [(i - 1,) if i else () for i in range(min(count, 12))]


def _layers(rng: Random, count: int) -> list[tuple[int, ...]]:
    width = rng.randint(2, 6)
    parents: list[tuple[int, ...]] = []
    for i in range(count):
        first = (i // width - 1) * width
        if first < 0:
            parents.append(())
        else:
            parents.append(tuple(rng.sample(range(first, first + width), rng.randint(1, min(3, width)))))
    return parents


def _diamonds(rng: Random, count: int) -> list[tuple[int, ...]]:
    parents: list[tuple[int, ...]] = [()]
    while len(parents) < count:
        root = len(parents) - 1
        arms = min(rng.randint(2, 4), max(1, count - len(parents) - 1))
        sides = list(range(root + 1, root + 1 + arms))
        parents += [(root,)] * arms
        if len(parents) < count:
            parents.append(tuple(sides))
    return parents


def _wide(rng: Random, count: int) -> list[tuple[int, ...]]:
    if count < 3:
        return [()] * count
    return [(), *[(0,)] * (count - 2), tuple(range(1, count - 1))]


def _any(rng: Random, count: int) -> list[tuple[int, ...]]:
    return [tuple(sorted(rng.sample(range(i), rng.randint(0, min(3, i))))) for i in range(count)]


# -- services --------------------------------------------------------------------------------------
def with_services(
    rng: Random, submissions: list[Submission], workers: list[WorkerPlan]
) -> tuple[list[Submission], list[WorkerPlan], int]:
    """Turn some jobs into services. Return the submissions, the workers, and the number of slots
    that each worker gets in addition.

    Each worker gets enough slots and resources for all services, so that no job waits for the end
    of a service. `rng` serves only these choices.
    """
    if rng.random() < 0.5:
        return submissions, workers, 0
    count, extra = 0, NOTHING
    found = []
    for submission in submissions:
        dag = submission.dag
        named = {p for t, parents in zip(dag.template_of, dag.parents, strict=True) if dag.templates[t].condition for p in parents}
        free = [n for n, args in enumerate(dag.args) if args[0] != "endless" and dag.ids[n] not in named]
        chosen = [n for n in free if _may_serve(dag.templates[dag.template_of[n]])]
        chosen = rng.sample(chosen, min(len(chosen), rng.choice((0, 1, 1, 2, 3))))
        templates, template_of, args = list(dag.templates), list(dag.template_of), list(dag.args)
        stops, replaces = [], []
        waiting = [n for n, t in enumerate(dag.template_of) if not waits_for_end(dag.templates[t])]
        parents = {name for n in waiting for name in dag.parents[n]}
        for n in chosen:
            service = _service(rng)
            old = templates[template_of[n]]
            if old.needs is not None:
                needs = amounts_of(old.needs)
                extra = plus(extra, plus(needs, needs))
            template_of[n] = len(templates)
            templates.append(msgspec.structs.replace(old, kind=Kind.SERVICE, service=service, timeout_s=0.0))
            args[n] = ("serve", "1", str(rng.choice((0, 0, 1, 3, 30))), str(rng.choice((0.0, 0.0, 0.3))))
            if service.keep or dag.ids[n] not in parents or rng.random() < 0.1:
                stops.append((rng.uniform(0.0, 150.0), dag.ids[n]))
            while rng.random() < 0.6:
                replaces.append((rng.uniform(0.0, 100.0), dag.ids[n]))
        count += 2 * len(chosen)
        dag = msgspec.structs.replace(dag, templates=templates, template_of=template_of, args=args)
        found.append(msgspec.structs.replace(submission, dag=dag, stops=tuple(stops), replaces=tuple(replaces)))
    more = [
        msgspec.structs.replace(plan, slots=plan.slots + count, least=1 + count, total=plus(plan.total, extra), extra=extra)
        for plan in workers
    ]
    return found, more, count


def _may_serve(template: JobTemplate) -> bool:
    return not template.kind and not template.function


def _service(rng: Random) -> Service:
    return Service(
        port=rng.choice((0, 8080)),
        health=rng.choice(("tcp", "http", "command")),
        target="/",
        interval_s=rng.choice((0.2, 2.0)),
        start_s=rng.choice((2.0, 10.0, 30.0)),
        restart=rng.choice(("always", "always", "on-failure", "never")),
        backoff_s=rng.choice((0.05, 0.5)),
        backoff_max_s=rng.choice((0.5, 5.0)),
        keep=rng.random() < 0.4,
        max_restarts=rng.choice((0, 0, 0, 5)),
    )
