"""Watchers of the cluster: the master pushes changes of runs, workers and queues to them.

Changes are sent together, at most every `EVERY_S`. A watcher with many unread bytes gets nothing
until it has read them, then the newest state of everything that changed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from heapq import nlargest
from typing import Any, NamedTuple

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.master import views
from titan.model.demand import LaneKey, demand_text
from titan.model.states import RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.scheduling.lane import Lane, job_of

EVERY_S = 0.25
FIRST_RUNS = 500
MOST_QUEUES = 100
UNSENT_BYTES = 64 * 1024


class _Watcher:
    """What a watcher was sent last, and the runs that changed since."""

    def __init__(self) -> None:
        self.runs: dict[str, None] = {}
        self.workers: dict[str, msg.WorkerRow] = {}
        self.rest: tuple[Any, ...] = ()


class _Present(NamedTuple):
    """What all watchers get at one time."""

    workers: dict[str, msg.WorkerRow]
    rest: tuple[Any, ...]
    """Last fields of ClusterChanges, from `queues` on."""


class ClusterWatch:
    """Watchers of the cluster. `release(send)` calls `send` when all decisions so far are
    durable. `now` returns seconds since the epoch."""

    def __init__(self, state: State, release: Callable[[Callable[[], None]], None], now: Callable[[], float]) -> None:
        self._state = state
        self._release = release
        self._now = now
        self._watchers: dict[tuple[Peer, int], _Watcher] = {}
        self._changed: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, peer: Peer, ask: msg.WatchCluster) -> None:
        watcher = self._watchers[peer, ask.request] = _Watcher()
        runs = self._state.runs.values()
        for found in (runs, [run for run in runs if run.state is RunState.RUNNING]):
            watcher.runs |= dict.fromkeys(run.id for run in nlargest(FIRST_RUNS, found, key=lambda run: run.id))
        self._send(peer, ask.request, watcher, self._present(), first=True)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)

    def unwatch(self, peer: Peer, request: int) -> None:
        self._watchers.pop((peer, request), None)

    def forget(self, peer: Peer) -> None:
        for key in [key for key in self._watchers if key[0] is peer]:
            del self._watchers[key]

    def note(self, events: list[ev.Event]) -> None:
        """Note the runs that applied events changed."""
        if not self._watchers:
            return
        jobs, changed = self._state.jobs, self._changed
        for event in events:
            if type(event) is ev.ProgressReported:
                continue
            for number in getattr(event, "jobs", ()):
                changed[jobs[number].run.id] = None
            run = getattr(event, "run", None)
            if type(run) is str:
                changed[run] = None

    def close(self) -> None:
        self._watchers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, {}
        if self._watchers:
            present = self._present()
            for (peer, request), watcher in self._watchers.items():
                watcher.runs.update(changed)
                if not peer.closed and peer.unsent <= UNSENT_BYTES:
                    self._send(peer, request, watcher, present, first=False)
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)

    def _present(self) -> _Present:
        state = self._state
        answer = views.workers(state, msg.ListWorkers(0))
        running = sum(run.state is RunState.RUNNING for run in state.runs.values())
        rest = (*_queues(state), running, len(state.gates), len(state.dead), answer.notices)
        return _Present({row.name: row for row in answer.workers}, rest)

    def _send(self, peer: Peer, request: int, watcher: _Watcher, present: _Present, *, first: bool) -> None:
        """Send what changed since the last message, if anything did."""
        runs = self._state.runs
        found = [run for name in watcher.runs if (run := runs.get(name)) is not None and run.state is not RunState.OPENING]
        before, workers = watcher.workers, present.workers
        moved = [row for name, row in workers.items() if before.get(name) != row]
        gone = [name for name in before if name not in workers]
        if first or found or moved or gone or present.rest != watcher.rest:
            watcher.runs, watcher.workers, watcher.rest = {}, workers, present.rest
            rows = [views.run_row(run) for run in found]
            self._release(partial(peer.send, msg.ClusterChanges(request, self._now(), first, rows, moved, gone, *present.rest)))


def _queues(state: State) -> tuple[list[msg.QueueRow], int, int]:
    """Return the largest queues, the number of queues, and the number of queued jobs."""
    open_: list[tuple[Lane, LaneKey, str]] = [(lane, demand, "") for demand, lane in state.lanes.items() if lane.count]
    open_ += [(lane, "", state.worker_name(worker)) for worker, lane in state.pinned.items() if lane.count]
    rows = []
    for lane, demand, worker in nlargest(MOST_QUEUES, open_, key=lambda entry: entry[0].count):
        head = lane.head()
        first_at = state.jobs[job_of(head)].queued_at if head is not None else 0.0
        rows.append(msg.QueueRow(demand_text(demand) if not worker else "", lane.count, first_at, worker))
    return rows, len(open_), sum(lane.count for lane, _, _ in open_)
