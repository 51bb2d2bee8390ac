"""Scaling as users see it: the state of each scaling rule, and the decision of the last review."""

from __future__ import annotations

from titan.core.handlers.scaling import look_at, rules_of
from titan.core.state.state import State
from titan.protocol import messages as msg
from titan.scheduling.scale import Rule


def scale_view(state: State, ask: msg.GetScale, now: float) -> msg.Scale:
    return msg.Scale(ask.request, [_row(state, rule, now) for rule in rules_of(state)], state.settings.scale_every_s)


def _row(state: State, rule: Rule, now: float) -> msg.ScaleRow:
    look = look_at(state, rule, now)
    mine = [burst for burst in state.bursts.values() if burst.rule == rule.name]
    seats = [s for s in state.pool.seats.values() if s.open and any(c in rule.capabilities for c in s.group.capabilities)]
    looked_at, decision = state.scale_reasons.get(
        rule.name, (0.0, f"the first review is {state.settings.scale_every_s:g} s after the start")
    )
    return msg.ScaleRow(
        rule=rule.name,
        least=rule.least,
        most=rule.most,
        demand=look.demand,
        slots=look.slots,
        used=sum(min(seat.used, seat.slots) for seat in seats),
        coming=look.coming,
        bursts=[burst.name for burst in mine if not burst.retired_at],
        leaving=[burst.name for burst in mine if burst.retired_at],
        decision=decision,
        looked_at=looked_at,
    )
