"""The master pushes the changes of a run to its watchers, once they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast
from unittest import mock

import pytest

from support.core import FIRST, Master, dag, register, started, submit, succeeded
from titan.core import inputs
from titan.errors import NotFound
from titan.master import watch
from titan.master.watch import WatchHub
from titan.model.states import JobState
from titan.net.peer import Peer
from titan.protocol import messages as msg


class Watcher:
    """Connection of a watcher, which keeps the messages that are sent on it."""

    closed = False

    def __init__(self) -> None:
        self.got: list[msg.Changes] = []
        self.unsent = 0

    def send(self, message: msg.Changes) -> None:
        self.got.append(message)

    def take(self) -> list[tuple[int, list[tuple[str, int]], bool, bool]]:
        """Return (request, [(job, state)], first, last) of the messages since the last call."""
        got, self.got = self.got, []
        return [(c.request, [(row.id, row.state) for row in c.jobs], c.first, c.last) for c in got]


class Hub:
    """Master with a watch hub. Messages wait until `durable` is called."""

    def __init__(self) -> None:
        self.master = Master()
        self.held: list[Callable[[], None]] = []
        self.hub = WatchHub(self.master.state, self.held.append)
        self.master.see(register(slots=2), submit(dag({"a": "", "b": "a"})))

    def durable(self) -> None:
        held, self.held[:] = list(self.held), []
        for call in held:
            call()

    def see(self, *inputs: inputs.Input) -> None:
        self.hub.note(self.master.see(*inputs).events)

    def watch(self, request: int, *, jobs: bool = True, watcher: Watcher | None = None, run: str = "r") -> Watcher:
        watcher = watcher or Watcher()
        self.hub.watch(cast(Peer, watcher), msg.Watch(request, run, jobs))
        self.durable()
        return watcher


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run the test in an event loop of its own."""

    def run() -> None:
        asyncio.run(cast(Any, test()))

    run.__name__ = test.__name__
    return run


DISPATCHED, RUNNING, COMPLETED, WAITING = JobState.DISPATCHED, JobState.RUNNING, JobState.COMPLETED, JobState.WAITING


@in_loop
async def test_a_watcher_gets_the_current_state_then_every_change_then_the_end() -> None:
    hub = Hub()
    watcher = hub.watch(4)
    assert watcher.take() == [(4, [("a", DISPATCHED), ("b", WAITING)], True, False)]
    hub.see(started(1, {FIRST: 1.0}))
    hub.durable()
    assert watcher.take() == [(4, [("a", RUNNING)], False, False)]
    await asyncio.sleep(watch.EVERY_S)
    hub.see(succeeded(1, FIRST))
    hub.durable()
    assert watcher.take() == [(4, [("a", COMPLETED), ("b", DISPATCHED)], False, False)]
    hub.see(succeeded(1, FIRST + 1))
    hub.durable()
    assert watcher.take() == [(4, [("b", COMPLETED)], False, True)]
    assert hub.hub._runs == {}


@in_loop
async def test_no_change_is_sent_before_it_is_durable() -> None:
    hub = Hub()
    watcher = hub.watch(4)
    watcher.take()
    hub.see(started(1, {FIRST: 1.0}))
    assert watcher.take() == []
    hub.durable()
    assert len(watcher.take()) == 1


@in_loop
async def test_close_changes_are_sent_together_with_their_newest_state() -> None:
    hub = Hub()
    watcher = hub.watch(4)
    with mock.patch.object(watch, "EVERY_S", 0.5):  # longer than a machine under load needs between two lines of this test
        hub.see(started(1, {FIRST: 1.0}))
        hub.durable()
        watcher.take()
        hub.see(succeeded(1, FIRST))
        hub.see(started(1, {FIRST + 1: 2.0}))
        assert hub.held == [], "the last changes of the run were sent a moment ago"
        while not hub.held:
            await asyncio.sleep(0.001)
        hub.durable()
    assert watcher.take() == [(4, [("a", COMPLETED), ("b", RUNNING)], False, False)]


@in_loop
async def test_a_watcher_without_jobs_gets_only_the_run() -> None:
    hub = Hub()
    both = Watcher()
    hub.watch(4, jobs=False, watcher=both)
    hub.watch(5, watcher=both)
    both.take()
    hub.see(started(1, {FIRST: 1.0}))
    hub.durable()
    assert both.take() == [(4, [], False, False), (5, [("a", RUNNING)], False, False)]


@in_loop
async def test_the_end_of_a_finished_run_is_sent_at_once_and_the_run_is_not_watched() -> None:
    hub = Hub()
    hub.see(inputs.CancelRequested(9, 1, "r", ""))
    assert hub.watch(4).take() == [(4, [("a", JobState.CANCELLED), ("b", JobState.CANCELLED)], True, True)]
    assert hub.watch(4, jobs=False).take() == [(4, [], True, True)]
    assert hub.hub._runs == {}


@in_loop
async def test_a_large_run_is_sent_in_pages() -> None:
    hub = Hub()
    page, watch.PAGE = watch.PAGE, 1
    try:
        assert hub.watch(4).take() == [(4, [("a", DISPATCHED)], True, False), (4, [("b", WAITING)], True, False)]
    finally:
        watch.PAGE = page


@in_loop
async def test_a_watcher_that_stops_or_disconnects_gets_no_more_changes() -> None:
    hub = Hub()
    one, other = hub.watch(4), hub.watch(4)
    hub.see(started(1, {FIRST: 1.0}))
    hub.durable()
    one.take(), other.take()
    hub.see(succeeded(1, FIRST))
    hub.hub.unwatch(cast(Peer, one), 4)
    hub.hub.forget(cast(Peer, other))
    assert hub.hub._runs == {}
    await asyncio.sleep(2 * watch.EVERY_S)
    hub.durable()
    assert one.take() == other.take() == []


def said(watcher: Watcher) -> list[tuple[list[str], list[float], list[str]]]:
    got, watcher.got = watcher.got, []
    return [(c.moved, c.fractions, c.texts) for c in got]


@in_loop
async def test_only_the_newest_progress_is_sent_and_slow_watchers_get_it_after_reading() -> None:
    hub = Hub()
    quick, slow = hub.watch(4), hub.watch(5)
    hub.see(started(1, {FIRST: 1.0}))
    hub.durable()
    quick.take(), slow.take()
    slow.unsent = watch.UNSENT_BYTES + 1

    async def say(*fractions: float) -> None:
        for fraction in fractions:
            hub.see(inputs.ProgressSeen(1, [FIRST, 99], [fraction, 1.0], [f"at {fraction}", "a lease that is not there"]))
        while not hub.held and slow.unsent:
            await asyncio.sleep(0.001)
        hub.durable()

    await say(0.25)
    assert (said(quick), said(slow)) == ([(["a"], [0.25], ["at 0.25"])], [])
    await say(0.375, 0.5)
    assert (said(quick), said(slow)) == ([(["a"], [0.5], ["at 0.5"])], [])
    slow.unsent = 0
    while not hub.held:
        await asyncio.sleep(0.001)
    hub.durable()
    assert (said(quick), said(slow)) == ([], [(["a"], [0.5], ["at 0.5"])])


@in_loop
async def test_watching_a_run_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotFound):
        Hub().watch(4, run="x")
