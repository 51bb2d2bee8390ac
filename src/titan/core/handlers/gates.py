"""Gates: jobs that are human decisions. A gate takes no slot and starts no process. It is PAUSED
until a user decides or its time limit passes.

An approved gate is COMPLETED. A rejected gate is CANCELLED with its dependents, so its run is
FAILED. A rejection is not a failure of a job: it puts no job into the dead letter queue and causes
no retry.
"""

from __future__ import annotations

from collections.abc import Sequence

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel_descendants, dismiss
from titan.core.handlers.ready import unlock
from titan.core.inputs import GateDecisionMade, TokenDrawn, WebhookAnswered
from titan.core.state.state import GateFacts, Job, State
from titan.core.turn import Turn
from titan.errors import CallerError, Conflict, NotFound, TitanError
from titan.model.dag import GATE
from titan.model.states import JobState, RunState


def on_gate_decision_made(turn: Turn, received: GateDecisionMade) -> None:
    try:
        number = find_gate(turn.state, received)
        job = turn.state.jobs[number]
        facts = job.extra.gate if job.extra is not None else None
        if job.state is not JobState.PAUSED:
            if facts is None or not is_repeated(facts, received.key, approve=received.approve):
                raise why_not(turn.state, job)
        else:
            decide(turn, [number], approve=received.approve, by=received.by, comment=received.comment, key=received.key)
            assert facts is not None
    except TitanError as error:
        turn.order(fx.Refuse(received.origin, received.request, error.code, str(error), received.job))
        return
    assert facts is not None
    reply = fx.ReplyDecided(received.origin, received.request, job.run.id, job.name, facts.approved, facts.by, facts.decided_at)
    turn.order(reply)


def find_gate(state: State, received: GateDecisionMade) -> int:
    """Return the gate that the request names, whatever its state. Raises NotFound or
    CallerError."""
    if received.digest:
        number = state.tokens.get(received.digest)
        if number is None:
            raise NotFound(
                "no gate of a live run has this token: it is mistyped, or its run is over. `titan gates` lists open gates"
            )
        return number
    run = state.runs.get(received.run)
    if run is None or run.state is RunState.OPENING:
        raise NotFound(f"there is no run {received.run[:80]!r}: `titan gates` lists the open gates")
    number = state.find(run, received.job)
    if number is None:
        raise NotFound(f"run {run.id} has no job {received.job[:128]!r}: `titan gates` lists the open gates")
    if state.jobs[number].template.kind != GATE:
        raise CallerError(f"{run.id}/{received.job} is no gate: `titan gates` lists the open ones")
    return number


def is_repeated(facts: GateFacts, key: str, *, approve: bool) -> bool:
    """Return True if a request repeats the decision already made. A client repeats a request whose
    answer was lost."""
    return bool(key) and facts.key == key and facts.approved is approve and facts.decided_at > 0


def why_not(state: State, job: Job) -> TitanError:
    """Return the error for a gate that cannot be decided because it is not PAUSED."""
    where = f"{job.run.id}/{job.name}"
    facts = job.extra.gate if job.extra is not None else None
    if facts is not None and facts.decided_at:
        decision = "approved" if facts.approved else "rejected"
        decider = f"by {facts.by}" if facts.by else "when its time was up"
        return Conflict(f"gate {where} was {decision} already, {decider}: a gate is decided once")
    if job.state is JobState.WAITING:
        return Conflict(f"gate {where} is not open yet: it waits for {job.missing} of its {len(job.parents)} parents")
    if job.state is JobState.DELAYED:
        return Conflict(f"gate {where} is not open yet: its delay is not over")
    return Conflict(f"gate {where} is {job.state.name} and cannot be decided: {job.reason}")


def decide(turn: Turn, gates: list[int], *, approve: bool, by: str, comment: str, key: str) -> None:
    """Decide open gates, then unlock or cancel their dependents."""
    turn.emit(ev.GatesDecided(gates, approve, by, comment, key, turn.now, turn.actor))
    jobs = turn.state.jobs
    turn.runs.update((jobs[number].run.id, jobs[number].run) for number in gates)
    if approve:
        dismiss(turn, unlock(turn, gates))
        return
    for number in gates:
        cancel_descendants(turn, number, f"its ancestor {jobs[number].name} was {jobs[number].reason}")


def expire(turn: Turn, gates: Sequence[int]) -> None:
    """Reject gates that nobody decided in time."""
    for number in gates:
        wait_s = _wait_s(turn.state.jobs[number])
        decide(turn, [number], approve=False, by="", comment=f"nobody decided within {wait_s:g} s", key="")


def _wait_s(job: Job) -> float:
    assert job.template.gate is not None, job.name
    return job.template.gate.max_wait_s


# -- webhooks --------------------------------------------------------------------------------------
def announce_open(turn: Turn) -> None:
    """Call the webhooks of open gates whose delivery is not recorded, at the start of a master."""
    for number in turn.state.gates:
        announce(turn, number)


def announce(turn: Turn, number: int) -> None:
    job = turn.state.jobs[number]
    facts = job.extra.gate if job.extra is not None else None
    if job.template.gate is not None and job.template.gate.webhook and facts is not None and not facts.webhook:
        turn.order(fx.AnnounceGate(number))


def on_token_drawn(turn: Turn, received: TokenDrawn) -> None:
    job = turn.state.jobs.get(received.job)
    if job is not None and job.state is JobState.PAUSED and received.digest not in turn.state.tokens:
        turn.emit(ev.TokenIssued(received.job, received.digest, turn.now))


def on_webhook_answered(turn: Turn, received: WebhookAnswered) -> None:
    job = turn.state.jobs.get(received.job)
    if job is not None and job.extra is not None and job.extra.gate is not None and not job.extra.gate.webhook:
        turn.emit(ev.WebhookEnded(received.job, received.result, turn.now))
