"""What a course comes to: the chain that decided its length, the least that it could take, and what
kept it from that."""

from __future__ import annotations

from typing import NamedTuple

from titan.model.dag import Kind
from titan.model.demand import demand_text
from titan.predict.engine import Course
from titan.predict.plan import Plan


class Link(NamedTuple):
    """A job of the chain that ends with the last one; `waited`: for "parent", "slot", or "begin" if
    for nothing."""

    job: int
    start_s: float
    end_s: float
    waited: str


class Verdict(NamedTuple):
    utilisation: float
    """Share of the slots' time in which an attempt ran."""
    chain: list[Link]
    """From the first job to the last one: what each waited for last before it began."""
    least_s: float
    """The longest chain of dependencies: what it takes if there is always a free worker."""
    limited_by: str
    """"dependencies", "slots", "cpus", "nobody" (jobs that no worker can take) or "waits" (gates,
    delays, retries)."""
    why: str


def judge(plan: Plan, course: Course) -> Verdict:
    room = plan.slots * course.makespan_s
    chain, least = _chain(plan, course), _least(plan)
    limited_by, why = _limit(plan, course, least)
    return Verdict(course.busy_s / room if room else 0.0, chain, least, limited_by, why)


def _chain(plan: Plan, course: Course) -> list[Link]:
    ends, parents = course.ends, plan.pipeline.parents
    reached = [i for i, end in enumerate(ends) if end >= 0.0]
    chain: list[Link] = []
    at = max(reached, key=ends.__getitem__, default=-1)
    while at >= 0:
        start = course.starts[at]
        parent = max((p for p in parents[at] if ends[p] >= 0.0), key=ends.__getitem__, default=-1)
        before = course.after[at]
        waited, back = "parent", parent
        if (
            before >= 0
            and ends[before] <= start
            and (parent < 0 or ends[before] > ends[parent])
            and _was_ready(course, at, parent, before)
        ):
            waited, back = "slot", before
        if back < 0 or ends[back] > start + 1e-3:  # a service, which goes on
            waited, back = "begin", -1
        chain.append(Link(at, start, ends[at], waited))
        at = back
    return chain[::-1]


def _was_ready(course: Course, at: int, parent: int, before: int) -> bool:
    """Whether it began when that slot fell free, and not when its time had come some while later."""
    return course.starts[at] - course.ends[before] < 0.05 + 0.01 * course.makespan_s or parent < 0


def _least(plan: Plan) -> float:
    """By the longest way through the graph."""
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
            else sum(plan.takes[i].attempts) + link_s
        )
        done[i] = ready + own
    return max(done, default=0.0) + link_s / 2


def _limit(plan: Plan, course: Course, least: float) -> tuple[str, str]:
    span = course.makespan_s or 1e-9
    if course.stuck:
        lack = "; ".join(f"{count:,} jobs for {demand_text(demand)}" for demand, count in list(course.stuck.items())[:5])
        return "nobody", f"no worker can ever take {lack}"
    if least >= 0.9 * span:
        return "dependencies", f"the longest chain of dependencies takes {least:.2f} s by itself: more workers cannot help"
    if course.cpu_full_s >= 0.5 * span:
        what = "the machine that the workers share" if plan.shared_cpus else "a machine"
        return (
            "cpus",
            f"the CPUs of {what} are all in use for {course.cpu_full_s / span:.0%} of the time: more slots there cannot help",
        )
    demand, waited = max(course.waited_s.items(), key=lambda item: item[1], default=("", 0.0))
    if waited >= 0.1 * span:
        return "slots", f"jobs wait for a free worker with {demand_text(demand)} for {waited / span:.0%} of the time"
    return "waits", "neither slots nor the longest chain: delays, gates and retries, or jobs that differ much in length"
