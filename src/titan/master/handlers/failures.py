"""Handlers for gates and the dead letter queue.

They serve live runs from the state, and archived runs from the history. A TitanError that a handler
raises is sent to the client as an error reply.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from titan.core import inputs
from titan.core.handlers.gates import is_repeated, why_not
from titan.core.state.state import State
from titan.errors import CallerError, Conflict, LimitExceeded
from titan.gateway.inbound import purge_input, request_input, retry_input
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.history import HistoryHandler
from titan.model.dag import Kind
from titan.model.failure import MAX_BY, MAX_COMMENT
from titan.net.peer import Peer
from titan.protocol import messages as msg

MAX_KEY = 128
MAX_RESTORED_BYTES = 512 * 1024 * 1024


class FailureHandler:
    def __init__(self, core: CoreLoop, past: HistoryHandler) -> None:
        self._core = core
        self._past = past

    # -- handlers ----------------------------------------------------------------------------------
    def on_list_dead(self, peer: Peer, message: msg.ListDead) -> None:
        self._core.turn()
        self._past.dead(peer, message)

    def on_list_gates(self, peer: Peer, message: msg.ListGates) -> None:
        self._core.turn()
        answer = gates(self._core.state, message)
        self._core.release(lambda: peer.send(answer))

    def on_retry_dead(self, peer: Peer, message: msg.RetryDead) -> None:
        _check_texts(message.by, "", message.key)
        self._with_chunks(peer, message, lambda chunks: retry_input(message, origin=peer.number, actor=peer.actor, chunks=chunks))

    def on_purge_dead(self, peer: Peer, message: msg.PurgeDead) -> None:
        self._with_chunks(peer, message, lambda chunks: purge_input(message, origin=peer.number, actor=peer.actor, chunks=chunks))

    def on_decide(self, peer: Peer, message: msg.Decide) -> None:
        if not message.by:
            raise CallerError("a decision needs the name of the person who decides: give --by NAME")
        _check_texts(message.by, message.comment, message.key)
        if message.token and (message.run or message.job):
            raise CallerError("a token identifies its gate: give either the token or RUN/JOB")
        if message.token or self._past.is_live(message.run):
            self._core.see(request_input(message, origin=peer.number, actor=peer.actor))
        else:
            self._past.answer(peer, message.request, message.run, lambda state: [_decided_before(state, message)])

    # -- the dead letter queue ---------------------------------------------------------------------
    def _with_chunks(
        self,
        peer: Peer,
        message: msg.RetryDead | msg.PurgeDead,
        make: Callable[[list[bytes]], inputs.DeadRetried | inputs.DeadDismissed],
    ) -> None:
        self._core.turn()  # pending inputs may archive or restore the run
        if self._past.is_live(message.run):
            self._core.see(make([]))
        else:
            self._past.with_chunks(peer, message.request, message.run, lambda chunks: self._core.see(make(_bounded(chunks))))


def _bounded(chunks: list[bytes]) -> list[bytes]:
    """Return the chunks unchanged. Raises LimitExceeded if they exceed one journal record."""
    if sum(map(len, chunks)) > MAX_RESTORED_BYTES:
        raise LimitExceeded(
            f"the run takes over {MAX_RESTORED_BYTES:,} bytes and cannot be restored from the history: submit it again"
        )
    return chunks


def gates(state: State, ask: msg.ListGates) -> msg.Gates:
    """Return the open gates, the oldest first."""
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


def _decided_before(state: State, message: msg.Decide) -> msg.Decided:
    """Return the recorded decision if the request repeats it. Raises Conflict otherwise.

    The gate belongs to an archived run, so it cannot be decided any more.
    """
    run = views.find_run(state, message.run)
    job = state.jobs[views.find_job(state, run, message.job)]
    if job.template.kind != Kind.GATE:
        raise Conflict(f"{run.id}/{job.name} is no gate: `titan gates` lists the open ones")
    facts = job.extra.gate if job.extra is not None else None
    if facts is None or not is_repeated(facts, message.key, approve=message.approve):
        raise why_not(state, job)
    return msg.Decided(message.request, run.id, job.name, facts.approved, facts.by, facts.decided_at)


def _check_texts(by: str, comment: str, key: str) -> None:
    if len(by) > MAX_BY or not (by.isprintable() or not by):
        raise CallerError(f"the name of the person who decides is 1 to {MAX_BY} printable characters")
    if len(comment) > MAX_COMMENT or "\0" in comment:
        raise CallerError(f"a comment is at most {MAX_COMMENT:,} characters, without NUL")
    if len(key) > MAX_KEY:
        raise CallerError(f"a request key is at most {MAX_KEY} characters")
