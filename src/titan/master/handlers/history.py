"""Handler for requests about runs in the history.

A thread reads the run into a state. The views that serve live runs make the reply from this state.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from titan.core.state.state import State
from titan.errors import EnvironmentFault, TitanError
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.history.database import History
from titan.master.result_stream import ResultStream
from titan.model.states import RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

log = logging.getLogger("titan.master")
REMEMBERED_JOBS = 50_000
"""Maximum number of jobs in the cache of recently requested runs."""
DEAD_LIMIT = 10_000


class HistoryHandler:
    def __init__(self, core: CoreLoop, history: History) -> None:
        self._core = core
        self._history = history
        self._remembered: OrderedDict[str, State] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def is_live(self, run: str) -> bool:
        known = self._core.state.runs.get(run)
        return known is not None and known.state is not RunState.OPENING

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- requests ----------------------------------------------------------------------------------
    def answer(self, peer: Peer, request: int, run: str, view: Callable[[State], list[msg.Message]]) -> None:
        """Send the messages that `view` makes from a state that holds only this run.

        The reply is NotFound if there is no such run.
        """
        self._begin(peer, request, self._answer(peer, run, view))

    def with_run(self, peer: Peer, request: int, run: str, use: Callable[[State], None]) -> None:
        """Call `use` with a state that holds only this run.

        The reply is NotFound if there is no such run.
        """

        async def call() -> None:
            use(await self._state_of(run))

        self._begin(peer, request, call())

    def with_chunks(self, peer: Peer, request: int, run: str, use: Callable[[list[bytes]], None]) -> None:
        """Call `use` with the stored chunks of an archived run, or with [] if the run is live.

        The reply is NotFound if there is no such run.
        """

        async def call() -> None:
            chunks = await asyncio.to_thread(self._history.chunks, run)
            self._core.turn()
            live = self.is_live(run)  # the run may have been restored while the thread read
            if not chunks and not live:
                _raise_unknown(run)
            use([] if live else chunks)

        self._begin(peer, request, call())

    def restored(self, run: str) -> None:
        """Delete the history's row of a restored run after the restoration is durable."""
        self.forget(run)
        self._history.doom(run)
        self._core.release(lambda: self._spawn(self._remove(run)))

    async def _remove(self, run: str) -> None:
        try:
            if self.is_live(run):
                await asyncio.to_thread(self._history.forget, run)
        except EnvironmentFault as error:  # the live run hides the row, and later replaces it
            log.warning("%s", error)

    def runs(self, peer: Peer, ask: msg.ListRuns) -> None:
        """Answer with live runs and runs of the history."""
        live = views.runs(self._core.state, ask)

        async def call() -> None:
            old = await asyncio.to_thread(self._history.runs, ask)
            # A run that is being archived is in both lists.
            rows = {row.run: row for row in (*old, *live)}
            newest = sorted(rows, reverse=True)[: views.run_limit(ask)]
            self._send(peer, msg.Runs(ask.request, [rows[name] for name in newest]))

        self._begin(peer, ask.request, call())

    def dead(self, peer: Peer, ask: msg.ListDead) -> None:
        live = views.dead_jobs(self._core.state, ask)

        async def call() -> None:
            rows, limit = list(live), max(1, min(ask.limit, DEAD_LIMIT))
            for name in await asyncio.to_thread(self._history.dead_runs, ask.run):
                if len(rows) >= limit:
                    break
                if not self.is_live(name):
                    rows += views.dead_jobs(await self._state_of(name), msg.ListDead(0, name, limit - len(rows)))
            if ask.run and not rows and not self.is_live(ask.run):
                await self._state_of(ask.run)  # raises NotFound if there is no such run
            self._send(peer, msg.DeadJobs(ask.request, rows))

        self._begin(peer, ask.request, call())

    def collected(self, peer: Peer, request: int, run: str, wanted: frozenset[int] | None) -> None:
        """Send the results of an archived run to a client that repeats the submission."""

        def send_results(state: State) -> None:
            for frame in ResultStream(state).all_of(request, run, wanted):
                self._send(peer, frame)

        self.with_run(peer, request, run, send_results)

    async def dags(self, runs: list[str]) -> dict[str, str]:
        """Return the DAG of those of at most 1000 runs that are known."""
        live = {run: self._core.state.runs[run].name for run in runs if self.is_live(run)}
        old = await asyncio.to_thread(self._history.dags, [run for run in runs if run not in live])
        return old | live

    # -- private -----------------------------------------------------------------------------------
    async def _answer(self, peer: Peer, run: str, view: Callable[[State], list[msg.Message]]) -> None:
        for message in view(await self._state_of(run)):
            self._send(peer, message)

    def _send(self, peer: Peer, message: msg.Message) -> None:
        self._core.release(lambda: peer.send(message))

    def _begin(self, peer: Peer, request: int, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except TitanError as error:
                peer.send(error_of(request, error))
            except Exception as error:
                peer.send(error_of(request, EnvironmentFault(f"the history cannot be read: {type(error).__name__}: {error}")))

        self._spawn(guarded())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _state_of(self, run: str) -> State:
        state = self._remembered.get(run)
        if state is None:
            state = await asyncio.to_thread(self._history.load, run)
            if state is None:
                _raise_unknown(run)
            self._remembered[run] = state
            while len(self._remembered) > 1 and sum(len(s.jobs) for s in self._remembered.values()) > REMEMBERED_JOBS:
                self._remembered.popitem(last=False)
        if run in self._remembered:
            self._remembered.move_to_end(run)
        return state

    def forget(self, run: str) -> None:
        self._remembered.pop(run, None)


def _raise_unknown(run: str) -> NoReturn:
    views.find_run(State(), run)
    raise AssertionError("an empty state holds no run")
