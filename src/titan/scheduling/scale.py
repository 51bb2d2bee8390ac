"""How many burst workers there should be: what is queued against what can take it, for one rule at
a time.

A rule names capabilities, and how many workers that offer them may be started beside the permanent
ones. Pure: what is to be known comes in as a `Look`, the decision goes out as a `Plan` with the
reason that people read. Must not know workers' states or jobs.

Two thresholds keep the number from swinging: more than `up` queued jobs per slot start workers, and
only when nothing is queued at all do idle ones leave. In between workers are started when jobs have
waited for `patience_s`: on slots that are taken for long, few jobs would wait for long. After any
change nothing is started for `cooldown_s`.
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
    """What is there of a rule's capabilities at one moment."""

    demand: int
    """Jobs that wait for a slot."""
    slots: int
    """Of all workers that take such work, permanent ones too."""
    coming: int
    """Slots of burst workers that were asked for and have not registered."""
    bursts: int
    """Burst workers that are to stay."""
    leaving: int
    """Those that are to go and have not ended: they count against the maximum."""
    idle: tuple[tuple[str, float], ...]
    """(name, seconds since it had anything to do) of burst workers that have nothing to do, the one
    idle longest first."""
    since_change_s: float
    """Since a worker was last started or retired."""
    waited_s: float = 0.0
    """For how long jobs have waited at every look."""


class Knobs(NamedTuple):
    """What a site may set."""

    up: float
    """Queued jobs per slot above which workers are started."""
    patience_s: float
    """How long fewer than that may wait."""
    idle_s: float
    cooldown_s: float
    slots: int
    """Of each burst worker."""


class Plan(NamedTuple):
    """What is to be done, and why."""

    start: int
    retire: tuple[str, ...]
    why: str


def plan(rule: Rule, look: Look, knobs: Knobs) -> Plan:
    """Never more than the maximum, those that are leaving included; never fewer than the minimum
    for want of work."""
    room = max(0, rule.most - look.bursts - look.leaving)
    if look.bursts < rule.least:
        start = min(rule.least - look.bursts, room)
        why = f"{_count(look.bursts, 'burst worker')}, and the minimum is {rule.least}"
        return Plan(start, (), why if start else f"{why}; those that are leaving have to end first")
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
    seen = f"{look.demand} queued for {_count(slots, 'slot')}"
    missing = look.demand - look.coming
    if missing <= 0:
        return Plan(0, (), f"{seen}, of which {look.coming} are on their way")
    if look.demand <= knobs.up * slots and look.waited_s < knobs.patience_s:
        return Plan(0, (), f"{seen}: not more than {knobs.up:g} per slot, nor for {knobs.patience_s:g} s")
    if not room:
        return Plan(0, (), f"{seen}, and the maximum of {rule.most} is reached")
    if look.since_change_s < knobs.cooldown_s:
        return Plan(
            0, (), f"{seen}; the last change was {look.since_change_s:.0f} s ago, the next comes after {knobs.cooldown_s:g} s"
        )
    return Plan(min(-(-missing // knobs.slots), room), (), seen)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def rule_of(text: str) -> Rule:
    """`GENERAL=0..8`, or `GPU+HIGH_MEM=1..2` for workers that offer both. Raises ValueError that
    says what is wrong.

    >>> rule_of("GENERAL=0..8")
    Rule(capabilities=('GENERAL',), least=0, most=8)
    """
    name, equals, amounts = text.partition("=")
    least, dots, most = amounts.partition("..")
    if not equals or not dots or not (least.isascii() and least.isdigit() and most.isascii() and most.isdigit()):
        raise ValueError(f"{text!r}: give CAPABILITY=MIN..MAX, for example GENERAL=0..8")
    capabilities = tuple(dict.fromkeys(name.split("+")))
    if int(most) < 1 or int(least) > int(most):
        raise ValueError(f"{text!r}: the maximum must be at least 1, and the minimum not above it")
    if int(most) > MAX_BURSTS:
        raise ValueError(f"{text!r}: the maximum must be at most {MAX_BURSTS}")
    return Rule(capabilities, int(least), int(most))


MAX_BURSTS = 10_000
