"""The master pushes changes of runs, workers and queues to watchers of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from support.core import FIRST, Master, alike, cancel, dag, register, submit, succeeded
from titan.core import inputs
from titan.master import cluster_watch
from titan.master.cluster_watch import ClusterWatch
from titan.model.dag import JobTemplate, Needs
from titan.model.states import RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg


class Watcher:
    """Connection of a watcher, which keeps the messages that are sent on it."""

    closed = False

    def __init__(self) -> None:
        self.got: list[msg.ClusterChanges] = []
        self.unsent = 0

    def send(self, message: msg.ClusterChanges) -> None:
        self.got.append(message)

    async def next(self) -> msg.ClusterChanges:
        """Return the only message that comes within two intervals."""
        async with asyncio.timeout(30):
            while not self.got:
                await asyncio.sleep(0)
        (message,) = self.got
        self.got.clear()
        return message


class Hub:
    """Master with watchers of its cluster. Messages are durable at once unless `held` is a list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster_watch, "EVERY_S", 0.001)
        self.master = Master()
        self.held: list[Callable[[], None]] | None = None
        self.watching = ClusterWatch(self.master.state, self._release, lambda: self.master.now)

    def _release(self, send: Callable[[], None]) -> None:
        if self.held is None:
            send()
        else:
            self.held.append(send)

    def see(self, *inputs: inputs.Input) -> None:
        self.watching.note(self.master.see(*inputs).events)

    def watch(self, request: int = 4) -> Watcher:
        watcher = Watcher()
        self.watching.watch(cast(Peer, watcher), msg.WatchCluster(request))
        return watcher


def test_a_watcher_gets_the_present_state_and_then_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        hub.see(submit(dag({"a": "", "b": "a"})), submit(dag({"x": ""}), run="s"), submit(dag({"y": ""}), run="t"), cancel("t"))
        watcher = hub.watch()
        now = await watcher.next()
        assert (now.request, now.first, {row.run for row in now.runs}) == (4, True, {"r", "s", "t"})
        assert (now.running, now.queued, now.queue_count, now.workers) == (2, 2, 1, [])
        hub.see(register())
        change = await watcher.next()
        assert (change.first, [row.name for row in change.workers], change.queued) == (False, ["w1"], 1)
        assert [row.run for row in change.runs] == ["r"], "its first job was sent"
        hub.see(succeeded(1, FIRST))
        change = await watcher.next()
        assert {row.run: row.state for row in change.runs} == {"r": RunState.RUNNING}
        hub.watching.close()

    asyncio.run(main())


def test_nothing_is_sent_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        hub.see(register(), submit(dag({"a": ""})))
        quiet, woken = hub.watch(4), hub.watch(5)
        await quiet.next(), await woken.next()
        ticks = 0
        tick = hub.watching._tick

        def counted() -> None:
            nonlocal ticks
            ticks += 1
            tick()

        monkeypatch.setattr(hub.watching, "_tick", counted)
        async with asyncio.timeout(30):
            while ticks < 3:
                await asyncio.sleep(0)
        assert quiet.got == woken.got == []
        hub.watching.close()

    asyncio.run(main())


def test_a_slow_watcher_gets_the_newest_state_and_no_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        slow, quick = hub.watch(4), hub.watch(5)
        await slow.next(), await quick.next()
        slow.unsent = cluster_watch.UNSENT_BYTES + 1
        for run in "rst":
            hub.see(submit(dag({"a": ""}), run=run))
            assert [row.run for row in (await quick.next()).runs] == [run]
        hub.see(register())
        await quick.next()
        assert slow.got == []
        slow.unsent = 0
        change = await slow.next()
        assert [row.run for row in change.runs] == ["r", "s", "t"]
        assert [row.name for row in change.workers] == ["w1"]
        hub.watching.close()

    asyncio.run(main())


def test_no_change_is_sent_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        hub.held = []
        watcher = hub.watch()
        assert watcher.got == []
        hub.held.pop()()
        assert (await watcher.next()).first
        hub.watching.close()

    asyncio.run(main())


def test_a_watcher_that_ended_or_went_away_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        ended, gone, stays = hub.watch(4), hub.watch(5), hub.watch(6)
        for watcher in (ended, gone, stays):
            await watcher.next()
        hub.watching.unwatch(cast(Peer, ended), 4)
        hub.watching.forget(cast(Peer, gone))
        hub.see(submit(dag({"a": ""})))
        await stays.next()
        assert ended.got == gone.got == []
        hub.watching.close()

    asyncio.run(main())


def test_queues_are_listed_by_demand_with_the_age_of_their_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        hub = Hub(monkeypatch)
        gpu = JobTemplate(command="true", requirement="GPU")
        large = JobTemplate(command="true", needs=Needs(cpus=2.0))
        hub.master.see(submit(alike("a b", gpu), run="r"), at=1.0)
        hub.master.see(submit(alike("c", large), run="s"), at=2.0)
        now = await hub.watch().next()
        assert [(row.demand, row.jobs, row.first_at) for row in now.queues] == [("GPU", 2, 1.0), ("GENERAL, cpus 2", 1, 2.0)]
        monkeypatch.setattr(cluster_watch, "MOST_QUEUES", 1)
        now = await hub.watch(5).next()
        assert ([row.demand for row in now.queues], now.queue_count, now.queued) == (["GPU"], 2, 3)
        hub.watching.close()

    asyncio.run(main())
