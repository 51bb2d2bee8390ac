"""Handlers for runs.

Submissions and cancellations become inputs of the core. Queries are answered from the state, or
from the history for archived runs. A TitanError that a handler raises is sent as an error reply.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state.state import State
from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.gateway.inbound import request_input
from titan.master import run_views, views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.dag_checks import DagChecks
from titan.master.handlers.history import HistoryHandler
from titan.master.result_stream import ResultStream
from titan.master.watch import WatchHub, whole_run
from titan.model.dag import JobTemplate
from titan.model.names import run_id
from titan.net.peer import Peer
from titan.protocol import messages as msg

MAX_OPENINGS = 16


class RunHandler:
    def __init__(self, core: CoreLoop, past: HistoryHandler, hub: WatchHub, checks: DagChecks) -> None:
        self._core = core
        self._past = past
        self._hub = hub
        self._checks = checks
        self._collector = ResultStream(core.state)
        self._opening: dict[tuple[int, int], str] = {}
        """(connection, request) -> id of the run whose DAG arrives in parts."""
        self._last_run = ""

    @property
    def _state(self) -> State:
        return self._core.state

    # -- handlers ----------------------------------------------------------------------------------
    def on_submit(self, peer: Peer, message: msg.Submit) -> None:
        self._checks.payloads(message.dag.payloads)
        self._check_submission(peer, message, message.dag.templates)
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor, run=self.new_run()))

    def on_open_run(self, peer: Peer, message: msg.OpenRun) -> None:
        place = (peer.number, message.request)
        if place in self._opening or sum(key[0] == peer.number for key in self._opening) >= MAX_OPENINGS:
            raise CallerError(
                f"a connection can have at most {MAX_OPENINGS} unfinished submissions that arrive in parts,"
                " each under a request id of its own"
            )
        self._check_submission(peer, message, message.templates)
        run = self._opening[place] = self.new_run()
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor, run=run))

    def on_add_jobs(self, peer: Peer, message: msg.AddJobs) -> None:
        place = (peer.number, message.request)
        run = self._opening.get(place)
        if run is None:  # the submission was already answered, for example with an error
            return
        try:
            self._checks.payloads(message.payloads)
        except NotFound:
            del self._opening[place]
            self._collector.refused(*place)
            self._core.see(inputs.SubmitterGone(run))
            raise
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor, run=run))
        # The next part is read after this part is decided and other peers had their turn. Otherwise
        # a large DAG would delay the other peers.
        peer.pause_reading("submission")
        asyncio.get_running_loop().call_soon(peer.resume_reading, "submission")

    def on_cancel(self, peer: Peer, message: msg.Cancel) -> None:
        if self._past.is_live(message.run):
            self._core.see(request_input(message, origin=peer.number, actor=peer.actor))
        else:  # the run is over, so there is nothing to cancel
            self._past.answer(peer, message.request, message.run, lambda _: [msg.Cancelled(message.request, 0)])

    def on_get_run(self, peer: Peer, message: msg.GetRun) -> None:
        self._answer_of(peer, message, message.run, lambda state: [views.run_status(state, message)])

    def on_get_dag(self, peer: Peer, message: msg.GetDag) -> None:
        self._answer_of(peer, message, message.run, lambda state: [views.submitted_dag(state, message)])

    def on_get_graph(self, peer: Peer, message: msg.GetGraph) -> None:
        self._answer_of(peer, message, message.run, lambda state: [run_views.graph(state, message)])

    def on_get_attempts(self, peer: Peer, message: msg.GetAttempts) -> None:
        self._answer_of(peer, message, message.run, lambda state: [run_views.attempts(state, message)])

    def on_read_values(self, peer: Peer, message: msg.ReadValues) -> None:
        self._answer_of(peer, message, message.run, lambda state: [*ResultStream(state).some_of(message)])

    def on_why(self, peer: Peer, message: msg.Why) -> None:
        self._answer_of(peer, message, message.run, lambda state: [views.why(state, message, self._core.clock.now())])

    def on_list_runs(self, peer: Peer, message: msg.ListRuns) -> None:
        self._core.turn()
        self._past.runs(peer, message)

    def on_watch(self, peer: Peer, message: msg.Watch) -> None:
        self._core.turn()
        if self._past.is_live(message.run):
            self._hub.watch(peer, message)
        else:
            self._past.answer(peer, message.request, message.run, lambda state: whole_run(state, message))

    # -- results -----------------------------------------------------------------------------------
    def forget(self, peer: Peer) -> None:
        """Drop the streams and open submissions of a closed connection."""
        self._collector.forget(peer)
        for key in [key for key in self._opening if key[0] == peer.number]:
            self._core.see(inputs.SubmitterGone(self._opening.pop(key)))

    def unwatch(self, peer: Peer, request: int) -> None:
        self._collector.unwatch(peer, request)

    def note(self, events: list[ev.Event]) -> None:
        """Send the results of ended jobs to the clients that collect them."""
        send = self._collector.note(events)
        if send is not None:
            self._core.release(send)

    def submitted(self, origin: int, request: int, run: str) -> Callable[[], None] | None:
        """Return a function that starts to send the run's results, or None if the client collects
        no results.

        The caller calls the function after the reply to the accepted submission.
        """
        self._opening.pop((origin, request), None)
        if self._past.is_live(run):
            return self._collector.begin(origin, request, run)
        expected = self._collector.expected(origin, request)
        self._collector.refused(origin, request)
        if expected is None:
            return None
        peer, wanted = expected
        return lambda: self._past.collected(peer, request, run, wanted)

    def refused(self, origin: int, request: int) -> None:
        """Clean up after a rejected submission."""
        self._opening.pop((origin, request), None)
        self._collector.refused(origin, request)

    # -- runs --------------------------------------------------------------------------------------
    def _check_submission(self, peer: Peer, message: msg.Submit | msg.OpenRun, templates: list[JobTemplate]) -> None:
        if self._core.low_space:
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then submit again")
        if len(message.key) > 128:
            raise CallerError("a submission key is at most 128 characters")
        self._checks.artifacts(templates)
        if not (
            message.key and (message.key in self._state.keys or message.key in self._state.archived)
        ):  # a repeated submission already has its run, which needs neither secrets nor webhooks again
            self._checks.secrets(templates)
            self._checks.webhooks(templates)
        if message.collect:
            self._collector.expect(peer, message.request, message.wanted)

    def new_run(self) -> str:
        """Return a new run id. Ids sort by the time of submission, also within a millisecond.

        The random part has 14 bits here. In the ids that the core makes for schedules a 15th bit is
        set, so the two never make the same id.
        """
        at_ms = int(self._core.clock.now() * 1000)
        name = run_id(at_ms, secrets.randbits(14))
        while name <= self._last_run or name in self._state.runs:
            at_ms += 1
            name = run_id(at_ms, secrets.randbits(14))
        self._last_run = name
        return name

    def _answer_of(self, peer: Peer, ask: msg.Message, run: str, view: Callable[[State], list[msg.Message]]) -> None:
        """Answer a query about a run from the state, or from the history if the run is archived."""
        self._core.turn()
        if not self._past.is_live(run):
            self._past.answer(peer, ask.request, run, view)
            return
        answer = view(self._state)
        for message in answer:
            self._core.release(partial(peer.send, message))
