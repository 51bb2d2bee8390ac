"""Verdict on a timeline: critical path, lower bound of the duration, and bottleneck."""

from __future__ import annotations

from typing import NamedTuple

from titan.model.dag import Kind
from titan.model.demand import demand_text
from titan.predict.engine import Timeline
from titan.predict.plan import Plan


class Link(NamedTuple):
    """Job of the critical path. `waited` is the last thing that the job waited for: "parent" or
    "slot"; "begin" means that the job did not wait."""

    job: int
    start_s: float
    end_s: float
    waited: str


class Verdict(NamedTuple):
    utilisation: float
    """Share of the slots' time in which an attempt ran."""
    chain: list[Link]
    """The critical path, first job first. The last thing that each job waited for was the job
    before it, or the slot of that job."""
    least_s: float
    """Duration of the longest chain of dependencies, which no number of workers can shorten."""
    limited_by: str
    """The bottleneck: "dependencies", "slots", "cpus", "nobody" (jobs that no worker can take) or
    "waits" (gates, delays, retries)."""
    why: str


def judge(plan: Plan, timeline: Timeline) -> Verdict:
    slot_s = plan.slots * timeline.makespan_s
    chain, least = _chain(plan, timeline), _least(plan)
    limited_by, why = _limit(plan, timeline, least)
    return Verdict(timeline.busy_s / slot_s if slot_s else 0.0, chain, least, limited_by, why)


def _chain(plan: Plan, timeline: Timeline) -> list[Link]:
    ends, parents = timeline.ends, plan.pipeline.parents
    reached = [i for i, end in enumerate(ends) if end >= 0.0]
    chain: list[Link] = []
    at = max(reached, key=ends.__getitem__, default=-1)
    while at >= 0:
        start = timeline.starts[at]
        parent = max((p for p in parents[at] if ends[p] >= 0.0), key=ends.__getitem__, default=-1)
        before = timeline.after[at]
        waited, back = "parent", parent
        if (
            before >= 0
            and ends[before] <= start
            and (parent < 0 or ends[before] > ends[parent])
            and _was_ready(timeline, at, parent, before)
        ):
            waited, back = "slot", before
        if back < 0 or ends[back] > start + 1e-3:  # a service, which is still running
            waited, back = "begin", -1
        chain.append(Link(at, start, ends[at], waited))
        at = back
    return chain[::-1]


def _was_ready(timeline: Timeline, at: int, parent: int, before: int) -> bool:
    """Return whether the job `at` started because the slot of the job `before` became free.

    Otherwise the job started some time later, after a delay.
    """
    return timeline.starts[at] - timeline.ends[before] < 0.05 + 0.01 * timeline.makespan_s or parent < 0


def _least(plan: Plan) -> float:
    """Return the duration of the longest path through the graph."""
    p, link_s = plan.pipeline, plan.overheads.link_s
    done = [0.0] * len(p.ids)
    for i, (kind, parents) in enumerate(zip(p.template_of, p.parents, strict=True)):
        template = p.templates[kind]
        ready = max((done[q] for q in parents), default=plan.overheads.begin_s - link_s)
        ready = max(ready + template.delay_s, template.run_at - plan.begin)
        own = (
            plan.gate_wait_s
            if template.kind == Kind.GATE
            else 0.0
            if template.kind == Kind.HANDLER
            else sum(plan.durations[i].attempts) + link_s
        )
        done[i] = ready + own
    return max(done, default=0.0) + link_s / 2


def _limit(plan: Plan, timeline: Timeline, least: float) -> tuple[str, str]:
    span = timeline.makespan_s or 1e-9
    if timeline.stuck:
        lack = "; ".join(f"{count:,} jobs for {demand_text(demand)}" for demand, count in list(timeline.stuck.items())[:5])
        return "nobody", f"no worker can ever take {lack}"
    if least >= 0.9 * span:
        return "dependencies", f"the longest chain of dependencies alone takes {least:.2f} s: more workers cannot help"
    if timeline.cpu_full_s >= 0.5 * span:
        machine = "the machine that the workers share" if plan.shared_cpus else "a machine"
        return (
            "cpus",
            f"all CPUs of {machine} are in use for {timeline.cpu_full_s / span:.0%} of the time: more slots on it cannot help",
        )
    demand, waited = max(timeline.waited_s.items(), key=lambda item: item[1], default=("", 0.0))
    if waited >= 0.1 * span:
        return "slots", f"jobs wait for a free worker with {demand_text(demand)} for {waited / span:.0%} of the time"
    return "waits", "delays, gates and retries, or jobs of very different lengths, rather than slots or dependencies"
