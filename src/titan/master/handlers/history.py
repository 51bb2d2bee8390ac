"""What clients ask about runs that have left the state: answered from the history, in a thread, by
the views of live runs."""

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
"""Of runs that were asked for last, whose states are kept for the next question."""
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

    # -- questions ---------------------------------------------------------------------------------
    def answer(self, peer: Peer, request: int, run: str, view: Callable[[State], list[msg.Message]]) -> None:
        """Sends what `view` makes of the state that holds this run alone; NotFound if there is no
        such run."""
        self._begin(peer, request, self._answer(peer, run, view))

    def with_run(self, peer: Peer, request: int, run: str, use: Callable[[State], None]) -> None:
        """Calls `use` with the state that holds this run alone; answers NotFound if there is no
        such run."""

        async def call() -> None:
            use(await self._state_of(run))

        self._begin(peer, request, call())

    def with_chunks(self, peer: Peer, request: int, run: str, use: Callable[[list[bytes]], None]) -> None:
        """Calls `use` with the run as the history has it, [] if it has come back to the state;
        NotFound if there is none."""

        async def call() -> None:
            chunks = await asyncio.to_thread(self._history.chunks, run)
            self._core.turn()
            live = self.is_live(run)  # it may have come back meanwhile
            if not chunks and not live:
                _raise_unknown(run)
            use([] if live else chunks)

        self._begin(peer, request, call())

    def restored(self, run: str) -> None:
        """A run is live again: when that is durable, what is here is removed."""
        self.forget(run)
        self._history.doom(run)
        self._core.release(lambda: self._spawn(self._remove(run)))

    async def _remove(self, run: str) -> None:
        try:
            if self.is_live(run):
                await asyncio.to_thread(self._history.forget, run)
        except EnvironmentFault as error:  # it is shadowed by the live run, and replaced when that leaves
            log.warning("%s", error)

    def runs(self, peer: Peer, ask: msg.ListRuns) -> None:
        """Live runs and old ones."""
        live = views.runs(self._core.state, ask)

        async def call() -> None:
            old = await asyncio.to_thread(self._history.runs, ask)
            # One that is just leaving is in both.
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
                await self._state_of(ask.run)  # NotFound if there is no such run
            self._send(peer, msg.DeadJobs(ask.request, rows))

        self._begin(peer, ask.request, call())

    def collected(self, peer: Peer, request: int, run: str, wanted: frozenset[int] | None) -> None:
        """A submission that is repeated after its run has left: all that its jobs came to."""

        def tell(state: State) -> None:
            for frame in ResultStream(state).all_of(request, run, wanted):
                self._send(peer, frame)

        self.with_run(peer, request, run, tell)

    # -- within ------------------------------------------------------------------------------------
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
