"""What clients ask about gates and the dead letter queue, wherever the run is: in the state, or in the history."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from titan.core import inputs as seen
from titan.core.gates import is_repeated, why_not
from titan.core.state import State
from titan.errors import CallerError, Conflict, LimitExceeded
from titan.gateway.inbound import asked, purge_input, retry_input
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.history_desk import HistoryDesk
from titan.model.dag import Kind
from titan.model.failure import MAX_BY, MAX_COMMENT
from titan.peer import Peer
from titan.protocol import messages as msg

MAX_KEY = 128
MAX_RESTORED_BYTES = 512 * 1024 * 1024


class FailureDesk:
    def __init__(self, core: CoreLoop, past: HistoryDesk) -> None:
        self._core = core
        self._past = past

    # -- what it is asked: each raises TitanError, which becomes the answer -------------------------------------------------
    def on_list_dead(self, peer: Peer, it: msg.ListDead) -> None:
        self._core.turn()
        self._past.dead(peer, it)

    def on_list_gates(self, peer: Peer, it: msg.ListGates) -> None:
        self._core.turn()
        answer = gates(self._core.state, it)
        self._core.release(lambda: peer.send(answer))

    def on_retry_dead(self, peer: Peer, it: msg.RetryDead) -> None:
        _check_words(it.by, "", it.key)
        self._with_chunks(peer, it, lambda chunks: retry_input(it, origin=peer.number, actor=peer.actor, chunks=chunks))

    def on_purge_dead(self, peer: Peer, it: msg.PurgeDead) -> None:
        self._with_chunks(peer, it, lambda chunks: purge_input(it, origin=peer.number, actor=peer.actor, chunks=chunks))

    def on_decide(self, peer: Peer, it: msg.Decide) -> None:
        if not it.by:
            raise CallerError("a decision needs to say who decides: give --by NAME")
        _check_words(it.by, it.comment, it.key)
        if it.token and (it.run or it.job):
            raise CallerError("a token names its gate: give the token alone, or RUN/JOB without one")
        if it.token or self._past.is_live(it.run):
            self._core.see(asked(it, origin=peer.number, actor=peer.actor))
        else:
            self._past.answer(peer, it.request, it.run, lambda state: [_decided_before(state, it)])

    # -- the dead letter queue ------------------------------------------------------------------------------------------------
    def _with_chunks(
        self, peer: Peer, it: msg.RetryDead | msg.PurgeDead, make: Callable[[list[bytes]], seen.DeadRetried | seen.DeadDismissed]
    ) -> None:
        self._core.turn()  # whether it is live is said by what was seen so far
        if self._past.is_live(it.run):
            self._core.see(make([]))
        else:
            self._past.with_chunks(peer, it.request, it.run, lambda chunks: self._core.see(make(_bounded(chunks))))


def _bounded(chunks: list[bytes]) -> list[bytes]:
    """What comes back is one record of the journal. Raises LimitExceeded."""
    if sum(map(len, chunks)) > MAX_RESTORED_BYTES:
        raise LimitExceeded(
            f"the run takes over {MAX_RESTORED_BYTES:,} bytes and cannot come back from the history: submit it anew"
        )
    return chunks


def gates(state: State, ask: msg.ListGates) -> msg.Gates:
    """The open ones, the oldest first."""
    if ask.run:
        views.find_run(state, ask.run)
    chosen = (state.jobs[n] for n in state.gates if not ask.run or state.jobs[n].run.id == ask.run)
    rows = []
    for job in islice(chosen, max(1, min(ask.limit, 10_000))):
        gate, facts = job.template.gate, job.extra.gate if job.extra is not None else None
        assert gate is not None and facts is not None, job.name
        webhook = facts.webhook or ("due" if gate.webhook else "")
        rows.append(msg.GateRow(job.run.id, job.run.name, job.name, gate.message, facts.opened_at, facts.expires_at, webhook))
    return msg.Gates(ask.request, rows)


def _decided_before(state: State, it: msg.Decide) -> msg.Decided:
    """The answer about a gate of a run that has left the state."""
    run = views.find_run(state, it.run)
    job = state.jobs[views.find_job(state, run, it.job)]
    if job.template.kind != Kind.GATE:
        raise Conflict(f"{run.id}/{job.name} is no gate")
    facts = job.extra.gate if job.extra is not None else None
    if facts is None or not is_repeated(facts, it.key, approve=it.approve):
        raise why_not(state, job)
    return msg.Decided(it.request, run.id, job.name, facts.approved, facts.by, facts.decided_at)


def _check_words(by: str, comment: str, key: str) -> None:
    if len(by) > MAX_BY or not (by.isprintable() or not by):
        raise CallerError(f"who decides is told in 1 to {MAX_BY} printable characters")
    if len(comment) > MAX_COMMENT or "\0" in comment:
        raise CallerError(f"a comment is at most {MAX_COMMENT:,} characters, without NUL")
    if len(key) > MAX_KEY:
        raise CallerError(f"a request key is at most {MAX_KEY} characters")
