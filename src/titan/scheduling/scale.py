"""Number of burst workers: compares the demand of one scaling rule with its capacity.

A rule names capabilities and limits the number of burst workers that offer them; permanent workers
do not count. The module is pure: the facts come in as a `Look`, and the decision goes out as a
`Plan` with a reason for people. It must not know the states of workers or jobs.

Two thresholds prevent oscillation. Above `up` queued jobs per slot, workers are started. Idle
workers leave only when nothing is queued. In between, workers are started only when jobs have
waited for `patience_s`, because even a few jobs would wait long behind long attempts. For
`cooldown_s` after any change, no worker is started.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """At least `least` and at most `most` burst workers that offer `capabilities`."""

    capabilities: tuple[str, ...]
    least: int
    most: int

    @property
    def name(self) -> str:
        return "+".join(self.capabilities)


class Look(NamedTuple):
    """Demand and capacity for a rule's capabilities at one moment."""

    demand: int
    """Number of jobs that wait for a slot."""
    slots: int
    """Slots of all workers that take work and offer one of the rule's capabilities, including
    permanent workers."""
    coming: int
    """Slots of burst workers that were requested and have not registered."""
    bursts: int
    """Number of burst workers that are not leaving."""
    leaving: int
    """Number of burst workers that are leaving but have not ended. These workers count towards the
    maximum."""
    idle: tuple[tuple[str, float], ...]
    """(name, idle seconds) of idle burst workers, the longest idle first."""
    since_change_s: float
    """Seconds since a worker was last started or retired."""
    waited_s: float = 0.0
    """Seconds since the first of the consecutive reviews that found jobs waiting."""


class Knobs(NamedTuple):
    """Settings for scaling."""

    up: float
    """Queued jobs per slot above which workers are started."""
    patience_s: float
    """Time after which workers are also started for fewer queued jobs, if jobs wait that long."""
    idle_s: float
    cooldown_s: float
    slots: int
    """Slots of each burst worker."""


class Plan(NamedTuple):
    """Decision for one rule, with its reason."""

    start: int
    retire: tuple[str, ...]
    why: str


def plan(rule: Rule, look: Look, knobs: Knobs) -> Plan:
    """Return the decision for one rule.

    The decision never starts workers beyond the maximum, which includes workers that are leaving.
    Lack of work never reduces the number of workers below the minimum.
    """
    room = max(0, rule.most - look.bursts - look.leaving)
    if look.bursts < rule.least:
        start = min(rule.least - look.bursts, room)
        why = f"{_count(look.bursts, 'burst worker')}, and the minimum is {rule.least}"
        return Plan(start, (), why if start else f"{why}; workers that are leaving must end first")
    if look.bursts > rule.most:
        surplus = tuple(name for name, _ in look.idle[: look.bursts - rule.most])
        return Plan(0, surplus, f"{_count(look.bursts, 'burst worker')}, and the maximum is {rule.most}")
    if look.demand:
        return _grow(rule, look, knobs, room)
    spare = look.bursts - rule.least
    retire = tuple([name for name, idle_s in look.idle if idle_s >= knobs.idle_s][:spare])
    if retire:
        return Plan(0, retire, f"nothing is queued and {_count(len(retire), 'worker')} had nothing to do for {knobs.idle_s:g} s")
    return Plan(0, (), "nothing is queued")


def _grow(rule: Rule, look: Look, knobs: Knobs, room: int) -> Plan:
    slots = look.slots + look.coming
    queue = f"{look.demand} queued for {_count(slots, 'slot')}"
    missing = look.demand - look.coming
    if missing <= 0:
        return Plan(0, (), f"{queue}, of which {look.coming} are starting")
    if look.demand <= knobs.up * slots and look.waited_s < knobs.patience_s:
        return Plan(0, (), f"{queue}: at most {knobs.up:g} per slot, and for less than {knobs.patience_s:g} s")
    if not room:
        return Plan(0, (), f"{queue}, and the maximum of {rule.most} is reached")
    if look.since_change_s < knobs.cooldown_s:
        return Plan(
            0, (), f"{queue}; the last change was {look.since_change_s:.0f} s ago, the next comes after {knobs.cooldown_s:g} s"
        )
    return Plan(min(-(-missing // knobs.slots), room), (), queue)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rule_of(text: str) -> Rule:
    """Return the rule in a text: `GENERAL=0..8`, or `GPU+HIGH_MEM=1..2` for workers that offer
    both. Raises ValueError if the text is wrong.

    >>> rule_of("GENERAL=0..8")
    Rule(capabilities=('GENERAL',), least=0, most=8)
    """
    name, equals, amounts = text.partition("=")
    least, dots, most = amounts.partition("..")
    if not equals or not dots or not (least.isascii() and least.isdigit() and most.isascii() and most.isdigit()):
        raise ValueError(f"{text!r} is not a scaling rule: give CAPABILITY=MIN..MAX, for example GENERAL=0..8")
    capabilities = tuple(dict.fromkeys(name.split("+")))
    if int(most) < 1 or int(least) > int(most):
        raise ValueError(f"{text!r}: the maximum must be at least 1, and the minimum not above it")
    if int(most) > MAX_BURSTS:
        raise ValueError(f"{text!r}: the maximum must be at most {MAX_BURSTS}")
    return Rule(capabilities, int(least), int(most))


MAX_BURSTS = 10_000
