"""Burst workers: started when jobs wait, retired when idle.

A burst worker is a worker that the master requested from its provider. From the request to its end
it has a name that is never used again, and counts towards its rule's maximum. All other workers are
permanent, and scaling never stops them. The provider's report that a worker ended is final. Orders
to the provider may be lost, so each review repeats them.

`titan.scheduling.scale` decides the number of burst workers.
"""

from __future__ import annotations

from collections.abc import Iterable

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.workers import ask_to_leave, depart
from titan.core.inputs import BurstGone, WorkerToldToLeave
from titan.core.state.burst_worker import Burst
from titan.core.state.state import BURST_PREFIX, State, Worker
from titan.core.turn import Turn
from titan.errors import NotFound
from titan.model.demand import amounts_in, capabilities_of
from titan.model.states import WorkerState
from titan.scheduling.scale import Knobs, Look, Plan, Rule, plan

GONE = (WorkerState.LOST, WorkerState.LEFT)


# -- reports of the provider -----------------------------------------------------------------------
def take_resources(turn: Turn, existing: Iterable[str]) -> None:
    """Match the burst workers in the state with those that the provider has at the start of the
    master.

    Burst workers in the state but not in `existing` ended together with the previous process of the
    master. Their loss counts against no job. Burst workers that the state does not know are
    stopped.
    """
    names = dict.fromkeys(existing)
    for name in [name for name in turn.state.bursts if name not in names]:
        _end(turn, name, "it ended together with the previous process of the master", count_losses=False)
    for name in names:
        if name not in turn.state.bursts:
            turn.order(fx.StopBurst(name))


def on_burst_gone(turn: Turn, received: BurstGone) -> None:
    burst = turn.state.bursts.get(received.name)
    if burst is not None:
        _end(turn, received.name, received.reason, count_losses=not burst.retired_at)


def _end(turn: Turn, name: str, reason: str, *, count_losses: bool) -> None:
    state = turn.state
    worker = _worker_of(state, name)
    if worker is not None and worker.state not in GONE:
        if worker.connection:
            turn.order(fx.Disconnect(worker.connection))
        lost = count_losses and not worker.asked
        depart(turn, worker, lost=lost, count_losses=lost, reason=f"worker {name} ended: {reason}")
    if worker is not None:
        turn.emit(ev.WorkersForgotten([worker.number], turn.now))
    turn.emit(ev.BurstEnded([name], reason, turn.now))


def _worker_of(state: State, name: str) -> Worker | None:
    return state.workers.get(state.worker_numbers.get(name, -1))


def forget_if_due(turn: Turn, number: int) -> None:
    """Remove a worker from the state if it has been gone for `forget_s`. A burst worker is removed
    when the provider reports its end."""
    worker = turn.state.workers.get(number)
    if worker is None or worker.state not in GONE or worker.name in turn.state.bursts:
        return
    if worker.left_at + turn.state.settings.forget_s <= turn.now:
        turn.emit(ev.WorkersForgotten([number], turn.now))


# -- requests of users -----------------------------------------------------------------------------
def on_worker_told_to_leave(turn: Turn, received: WorkerToldToLeave) -> None:
    worker = _worker_of(turn.state, received.name)
    if worker is None:
        text = f"there is no worker {received.name[:128]!r}: `titan workers` lists them"
        turn.order(fx.Refuse(received.origin, received.request, NotFound.code, text))
        return
    if worker.state not in GONE:
        ask_to_leave(turn, worker, now=received.now)
    turn.order(fx.ReplyTold(received.origin, received.request, worker.state.name, worker.used))


# -- the review ------------------------------------------------------------------------------------
def review_if_due(turn: Turn) -> None:
    """Review the scaling rules every `scale_every_s`. Do nothing without rules."""
    state = turn.state
    if not state.settings.scale or state.scale_due > turn.now:
        return
    _repeat_orders(turn)
    rules, reasons, changed, waiting = [], [], [], []
    for rule in rules_of(state):
        look = look_at(state, rule, turn.now)
        decided = plan(rule, look, _knobs(state))
        if decided.start:
            _start(turn, rule, decided)
        for name in decided.retire:
            _retire(turn, state.bursts[name], decided.why)
        rules.append(rule.name)
        reasons.append(_reason_text(decided))
        changed.append(bool(decided.start or decided.retire))
        waiting.append(look.demand > look.coming)
    turn.emit(ev.ScaleReviewed(rules, reasons, changed, waiting, turn.now))


def rules_of(state: State) -> list[Rule]:
    return [Rule(tuple(name.split("+")), least, most) for name, (least, most) in state.settings.scale.items()]


def look_at(state: State, rule: Rule, now: float) -> Look:
    """Return the figures about a rule's capabilities. O(workers + capabilities)."""
    mine = [burst for burst in state.bursts.values() if burst.rule == rule.name]
    staying = [burst for burst in mine if not burst.retired_at]
    coming = sum(burst.slots for burst in staying if _worker_of(state, burst.name) is None)
    seats = [seat for seat in state.pool.seats.values() if seat.open and _overlap(seat.group.capabilities, rule.capabilities)]
    # Burst workers run on this machine and add no GPUs, so jobs that ask for GPUs do not count.
    served = (
        (key, lane)
        for key, lane in state.lanes.items()
        if set(capabilities_of(key)) <= set(rule.capabilities) and not amounts_in(key)[2]
    )
    queued = sum(min(lane.count, state.places_left(key)) for key, lane in served)
    waiting = sum(max(0, seat.used - seat.slots) for seat in seats)
    idle = []
    for burst in staying:
        worker = _worker_of(state, burst.name)
        if worker is not None and worker.takes_work and not worker.used and not worker.held:
            idle.append((burst.name, now - worker.idle_since))
    idle.sort(key=lambda entry: -entry[1])
    since = now - state.scale_changed.get(rule.name, float("-inf"))
    waited = now - state.scale_waiting.get(rule.name, now)
    slots, leaving = sum(seat.slots for seat in seats), len(mine) - len(staying)
    return Look(queued + waiting, slots, coming, len(staying), leaving, tuple(idle), since, waited)


def _overlap(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    return any(capability in others for capability in some)


def _knobs(state: State) -> Knobs:
    s = state.settings
    return Knobs(s.scale_up, s.scale_patience_s, s.burst_idle_s, s.scale_cooldown_s, s.burst_slots)


def _start(turn: Turn, rule: Rule, decided: Plan) -> None:
    state = turn.state
    names = [f"{BURST_PREFIX}{state.term}-{state.burst_serial + i}" for i in range(1, decided.start + 1)]
    slots = state.settings.burst_slots
    turn.emit(ev.BurstRequested(names, rule.name, rule.capabilities, slots, decided.why, turn.now))
    for name in names:
        turn.order(fx.StartBurst(name, rule.capabilities, slots))


def _retire(turn: Turn, burst: Burst, reason: str) -> None:
    turn.emit(ev.BurstRetired([burst.name], reason, turn.now))
    worker = _worker_of(turn.state, burst.name)
    if worker is not None and worker.state not in GONE:
        ask_to_leave(turn, worker, now=False)
    else:
        turn.order(fx.StopBurst(burst.name))


def _repeat_orders(turn: Turn) -> None:
    """Stop burst workers that did not register in time, and burst workers that are LOST or LEFT,
    because the provider may still have them."""
    state = turn.state
    for burst in list(state.bursts.values()):
        worker = _worker_of(state, burst.name)
        late = turn.now - burst.requested_at > state.settings.burst_start_s
        if worker is None and (burst.retired_at or late):
            if not burst.retired_at:
                turn.emit(ev.BurstRetired([burst.name], f"it did not register within {state.settings.burst_start_s:g} s", turn.now))
            turn.order(fx.StopBurst(burst.name))
        elif worker is not None and worker.state in GONE:
            if not burst.retired_at:
                turn.emit(ev.BurstRetired([burst.name], f"it is {worker.state.name}", turn.now))
            turn.order(fx.StopBurst(burst.name))


def _reason_text(decided: Plan) -> str:
    if decided.start:
        return f"started {decided.start}: {decided.why}"
    if decided.retire:
        return f"retired {len(decided.retire)}: {decided.why}"
    return f"no change: {decided.why}"
