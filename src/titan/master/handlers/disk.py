"""Handlers for the disk space of the cluster: the master measures its home, and asks the workers to
measure theirs."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections import Counter
from pathlib import Path

from titan.core.state.state import Worker
from titan.errors import EnvironmentFault
from titan.host.folder_size import FolderSizes
from titan.master import disk_usage, views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.history import HistoryHandler
from titan.master.handlers.workers import WorkerHandler
from titan.model.disk import SHARED_FOLDERS
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

log = logging.getLogger("titan.master")

SCAN_S = 10.0
"""Time for which the master and the workers measure. The sizes that they have then are shown."""
ANSWER_S = 15.0
"""Time after which the answer goes out without those who are not ready."""
SILENT = f"no answer within {ANSWER_S:g} s: its disk is slow or hangs"
MOST_RUNS = 1000
FIRST_REQUEST = 1 << 40
"""Above the request ids that workers draw, whose answers have the same form."""


class _Measurement:
    """Answers of the workers to one request. A worker without an answer has a text why."""

    def __init__(self, workers: set[int]) -> None:
        self.answers: dict[int, msg.DiskMeasured] = {}
        self.problems: dict[int, str] = {}
        self.missing = workers
        self.complete = asyncio.Event()
        self._check()

    def answer(self, worker: int, message: msg.DiskMeasured) -> None:
        self.answers[worker] = message
        self._end(worker)

    def fail(self, worker: int, why: str) -> None:
        self.problems[worker] = why
        self._end(worker)

    def _end(self, worker: int) -> None:
        self.missing.discard(worker)
        self._check()

    def _check(self) -> None:
        if not self.missing:
            self.complete.set()


class DiskHandler:
    """Handlers for measurements, one at a time: clients that ask meanwhile get the same answer."""

    def __init__(self, core: CoreLoop, home: Path, workers: WorkerHandler, past: HistoryHandler) -> None:
        self._core = core
        self._home = home.resolve()
        self._workers = workers
        self._past = past
        self._requests = FIRST_REQUEST
        self._open: dict[int, _Measurement] = {}
        self._waiting: list[tuple[Peer, int]] = []
        self._running: asyncio.Task[None] | None = None

    def on_get_disk(self, peer: Peer, message: msg.GetDisk) -> None:
        self._waiting.append((peer, message.request))
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._answer())

    def on_disk_measured(self, peer: Peer, message: msg.DiskMeasured) -> None:
        measurement = self._open.get(message.request)
        if measurement is not None and peer.worker in measurement.missing:
            measurement.answer(peer.worker, message)

    def on_error(self, peer: Peer, message: msg.Error) -> None:
        """Note that a worker of an earlier version does not know the request."""
        measurement = self._open.get(message.request)
        if measurement is not None and peer.worker in measurement.missing:
            measurement.fail(peer.worker, "an earlier Titan that cannot measure: upgrade it")

    def forget(self, peer: Peer) -> None:
        """Drop the requests of a closed connection, and expect no answer from its worker."""
        self._waiting = [waiting for waiting in self._waiting if waiting[0] is not peer]
        for measurement in self._open.values():
            if peer.worker in measurement.missing:
                measurement.fail(peer.worker, "its connection broke: try again")

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _answer(self) -> None:
        """Measure, and answer all clients that wait then."""
        try:
            nodes, runs = await self._measure()
            for peer, request in self._waiting:
                self._core.release(functools.partial(peer.send, msg.DiskUsage(request, nodes, runs)))
        except Exception as e:
            log.exception("the disk space could not be measured")
            for peer, request in self._waiting:
                peer.send(error_of(request, EnvironmentFault(f"the disk space cannot be measured: {type(e).__name__}: {e}")))
        finally:
            self._waiting.clear()
            self._running = None

    async def _measure(self) -> tuple[list[msg.NodeDiskRow], list[msg.RunDiskRow]]:
        self._requests += 1
        peers = dict(self._workers.peers)
        measurement = self._open[self._requests] = _Measurement(set(peers))
        for peer in peers.values():
            peer.send(msg.MeasureDisk(self._requests, SCAN_S))
        sizes, loop = FolderSizes(SCAN_S), asyncio.get_running_loop()
        own = loop.create_task(asyncio.to_thread(disk_usage.measure, self._home, sizes))
        workers = loop.create_task(measurement.complete.wait())
        try:
            await asyncio.wait((own, workers), timeout=ANSWER_S)
            for worker in list(measurement.missing):
                measurement.fail(worker, SILENT)
            return await self._rows(own.result() if own.done() else None, measurement)
        finally:
            sizes.stop()
            own.cancel()
            workers.cancel()
            del self._open[self._requests]

    async def _rows(
        self, own: disk_usage.Usage | None, measurement: _Measurement
    ) -> tuple[list[msg.NodeDiskRow], list[msg.RunDiskRow]]:
        home = os.fsencode(self._home).decode(errors="replace")
        if own is None:
            nodes = [msg.NodeDiskRow("", home, [], 0, 0, False, SILENT)]
        else:
            nodes = [msg.NodeDiskRow("", home, _places(own.places), own.free, own.total, own.complete)]
        totals, places = Counter(own.logs if own else {}), dict[str, list[str]]()
        shared: set[str] = set()
        for worker in sorted(self._core.state.workers.values(), key=lambda worker: worker.name):
            answer = measurement.answers.get(worker.number)
            if answer is None:
                nodes.append(msg.NodeDiskRow(worker.name, "", [], 0, 0, False, _problem(worker, measurement)))
                continue
            is_counted = answer.shared in shared
            shared.add(answer.shared)
            rows = [row for row in answer.places if not (is_counted and row.place == SHARED_FOLDERS)]
            nodes.append(msg.NodeDiskRow(worker.name, answer.home, rows, answer.free, answer.total, answer.complete))
            for run in answer.runs:
                size = run.bytes + (0 if is_counted else run.shared)
                if size:
                    totals[run.run] += size
                    places.setdefault(run.run, []).append(worker.name)
        largest = [(run, size) for run, size in totals.most_common(MOST_RUNS) if size]
        dags = await self._past.dags([run for run, _ in largest])
        return nodes, [msg.RunDiskRow(run, dags.get(run, ""), size, places.get(run, [])) for run, size in largest]


def _places(sizes: dict[str, int]) -> list[msg.PlaceRow]:
    return [msg.PlaceRow(place, size) for place, size in sizes.items()]


def _problem(worker: Worker, measurement: _Measurement) -> str:
    known = measurement.problems.get(worker.number)
    return known or f"{views.worker_state(worker)}: its disk is unknown while it is away"
