"""Cost of the core alone: deciding, applying and encoding as in the master, without sockets and
disk.

    python benchmarks/core.py [--quick] [--queued 1000 1000000] [--workers 2 2000]

Measures the microseconds of a job's whole life (submitted, queued, dispatched, completed), the
microseconds to complete one job and dispatch the next, and the bytes of a queued job. The second
measurement is repeated for several numbers of queued jobs and workers. Each measurement runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import pstats
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from cProfile import Profile
from typing import Any

import msgspec

from titan.core import effects as fx
from titan.core import inputs
from titan.core.events.events import encode
from titan.core.state.state import State
from titan.core.step import Decision, step
from titan.model.dag import DagSpec, JobTemplate
from titan.model.states import Outcome

QUEUED = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (2, 20, 200, 2_000)
TARGET_RATIO = 1.3
TARGET_BYTES = 600
ATTEMPT_S = 0.001
"""Reported duration of each attempt. Because it is so short, about 50 attempts wait on each worker
beyond its slot."""


class Master:
    """Core with the part of its shell that needs no sockets or disk."""

    def __init__(self) -> None:
        self.state = State()
        self.now = 1_000_000.0
        self.dispatched: dict[int, deque[int]] = {}
        """Worker -> leases that it holds, in the order of their dispatch."""
        self.journaled = 0
        self._runs = itertools.count()
        self.see([inputs.MasterBooted("bench", 1)])
        gc.collect()  # from here on, the same settings of garbage collection as in the master
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)

    def see(self, inputs: Sequence[inputs.Input]) -> Decision:
        """Run one turn."""
        self.now += 0.001
        decision = step(self.state, self.now, inputs)
        payload, _ = encode(decision.events)
        self.journaled += len(payload)
        return decision

    def note(self, decision: Decision) -> None:
        """Record the leases that the workers now hold."""
        for effect in decision.effects:
            if isinstance(effect, fx.SendDispatch):
                self.dispatched[effect.worker].extend(range(effect.first_lease, effect.first_lease + len(effect.jobs)))

    def join(self, workers: int) -> None:
        for n in range(workers):
            said = inputs.WorkerRegistered(n + 1, 1, f"w{n}", "1", ("GENERAL",), 1, {}, [], [])
            self.dispatched[n + 1] = deque()
            self.see([said])

    def submission(self, count: int) -> inputs.DagSubmitted:
        run = next(self._runs)
        return inputs.DagSubmitted(0, 1, f"run-{run}", f"key-{run}", dag(count))

    def submit(self, count: int) -> None:
        while count > 0:
            self.note(self.see([self.submission(min(count, 1_000_000))]))
            while self.state.releasing:  # a large run is made ready in slices
                self.note(self.see([inputs.TimePassed()]))
            count -= 1_000_000

    def results(self, worker: int, count: int) -> inputs.ResultsReported:
        """Return the results of the worker's oldest attempts, which have ended."""
        held = self.dispatched[worker]
        leases = [held.popleft() for _ in range(min(count, len(held)))]
        n = len(leases)
        began = [self.now - ATTEMPT_S] * n
        return inputs.ResultsReported(
            worker, leases, [Outcome.SUCCEEDED] * n, [0] * n, [""] * n, began, [self.now] * n, [0.0005] * n, [9_000_000] * n, 0.5
        )  # fmt: skip


def dag(count: int) -> DagSpec:
    """Return independent jobs of one template, as they come from the network: every row has objects
    of its own."""
    sent = DagSpec(
        "bench", "", [JobTemplate(command="true")], [f"job-{i}" for i in range(count)], [0] * count, [()] * count, [()] * count
    )
    return msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=DagSpec)


def life(*, jobs: int, batch: int) -> float:
    """Return the microseconds per job from its submission to its end. `batch` jobs are submitted in
    one turn, and their results come in other turns. There are two workers."""
    master = Master()
    master.join(2)
    coming = [master.submission(batch) for _ in range(max(1, jobs // batch))]
    spent = 0.0
    for submission in coming:
        began = time.perf_counter()
        decision = master.see([submission])
        spent += time.perf_counter() - began
        master.note(decision)
        while reports := [master.results(worker, 64) for worker, held in master.dispatched.items() if held]:
            began = time.perf_counter()
            decision = master.see(reports)
            spent += time.perf_counter() - began
            master.note(decision)
    assert not any(run.open for run in master.state.runs.values())
    return spent / (len(coming) * batch) * 1e6


def steady(*, queued: int, workers: int, reports: int, size: int, seconds: float) -> float:
    """Return the microseconds per job, for its result and the dispatch of the next job.

    In each turn `reports` workers report `size` results each. As many jobs as were completed are
    submitted again, outside of the measured time, so that the queue keeps its length. The result is
    the median of several slices.
    """
    master = Master()
    master.join(workers)
    master.submit(queued)
    load = Load(master, queued=queued, reports=reports, size=size)
    load.warm_up()
    slices: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(slices) < 5:
        slices.append(load.slice())
    return statistics.median(slices)


class Load:
    """Workers that finish their attempts in turn, and a submitter that keeps the length of the
    queue."""

    def __init__(self, master: Master, *, queued: int, reports: int, size: int) -> None:
        self._master, self._queued, self._reports, self._size = master, queued, reports, size
        self._turns = itertools.cycle(list(master.dispatched))
        self.jobs = max(reports * size, min(20 * reports * size, queued // 2))
        """Number of jobs in a slice."""

    def warm_up(self) -> None:
        """Run until every worker's pace is known, which decides how many attempts may wait
        there."""
        turns_a_slice = max(1, self.jobs // (self._reports * self._size))
        for _ in range(3 * len(self._master.dispatched) // (self._reports * turns_a_slice) + 3):
            self.slice()

    def slice(self, watch: Profile | None = None) -> float:
        """Run a slice, and return the microseconds per job, without the new submissions."""
        master, spent, done = self._master, 0.0, 0
        while done < self.jobs:
            reports = [master.results(next(self._turns), self._size) for _ in range(self._reports)]
            done += sum(len(each.leases) for each in reports)
            if watch is not None:
                watch.enable()
            began = time.perf_counter()
            decision = master.see(reports)
            spent += time.perf_counter() - began
            if watch is not None:
                watch.disable()
            master.note(decision)
        # some of the jobs go to workers at once, as long as there is room
        while (missing := self._queued - _waiting(master)) > 0:
            master.submit(missing)
        return spent / done * 1e6


def _waiting(master: Master) -> int:
    return sum(lane.count for lane in master.state.lanes.values())


def memory(*, queued: int) -> float:
    """Return the bytes of resident memory per queued job. The frame of the submission counts
    neither in the memory before nor in the memory after."""
    master = Master()
    frame = sys.stdin.buffer.read()
    before = _resident() - len(frame)
    master.see([inputs.DagSubmitted(0, 1, "run", "key", msgspec.msgpack.decode(frame, type=DagSpec))])
    del frame
    while master.state.releasing:  # a large run is made ready in slices
        master.see([inputs.TimePassed()])
    gc.collect()
    assert _waiting(master) == queued
    return (_resident() - before) / queued


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


MEASURES = {each.__name__: each for each in (life, steady, memory)}


def apart(measure: str, sent: bytes = b"", **settings: Any) -> float:
    """Return the same measurement, made in a new process."""
    command = [sys.executable, __file__, "--one", measure, json.dumps(settings)]
    done = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, nargs="+", default=list(QUEUED))
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each setting")
    parser.add_argument("--rounds", type=int, default=3, help="of the two settings that the target compares")
    parser.add_argument("--quick", action="store_true", help="small and short: only to see that it works")
    parser.add_argument("--profile", action="store_true", help="where the time goes at the greatest setting")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(MEASURES[asked.one[0]](**json.loads(asked.one[1])))
        return
    if asked.quick:
        asked.queued, asked.workers, asked.seconds, asked.rounds = [100, 1_000], [2, 20], 0.05, 1
    if asked.profile:
        profile(queued=max(asked.queued), workers=max(asked.workers))
        return
    print_life(1_000 if asked.quick else 200_000)
    for reports, size in ((2, 16), (2, 1), (100, 1)):
        print_steady(asked, reports, size)
    print_memory(asked.queued)


def print_life(jobs: int) -> None:
    print("A job's life, microseconds: submitted, queued, dispatched, completed\n\n| jobs in a submission | a job |\n| --- | --- |")
    for batch in (1, 16, 256, 4096):
        if batch <= jobs:
            print(f"| {batch:,} | {apart('life', jobs=min(jobs, batch * 5_000), batch=batch):.1f} |", flush=True)


def print_steady(asked: argparse.Namespace, reports: int, size: int) -> None:
    workers = [n for n in asked.workers if n >= reports]
    if not workers:
        return
    print(f"\nCompletion and the next dispatch, microseconds a job; each turn {reports} workers report {size} each\n")
    print(f"| queued | {' | '.join(f'{n:,} workers' for n in workers)} |\n| --- |{' --- |' * len(workers)}")

    def one(queued: int, n: int) -> float:
        return apart("steady", queued=queued, workers=n, reports=reports, size=size, seconds=asked.seconds)

    for queued in asked.queued:
        print(f"| {queued:,} | {' | '.join(f'{one(queued, n):.2f}' for n in workers)} |", flush=True)
    pairs = [
        (one(asked.queued[0], workers[0]), one(asked.queued[-1], workers[-1])) for _ in range(asked.rounds)
    ]  # alternate between both, so that other load of the machine affects both
    least, most = (statistics.median(each) for each in zip(*pairs, strict=True))
    greatest = f"{asked.queued[-1]:,} queued, {workers[-1]:,} workers"
    smallest = f"{asked.queued[0]:,} queued, {workers[0]:,} workers"
    print(
        f"\n{greatest} against {smallest}, in turn, medians of {asked.rounds}: "
        f"{most:.2f} / {least:.2f} = {most / least:.2f} (target: at most {TARGET_RATIO})",
        flush=True,
    )


def print_memory(queued: Sequence[int]) -> None:
    print(f"\nResident memory of a queued job, bytes (target: at most {TARGET_BYTES})\n\n| queued | a job |\n| --- | --- |")
    for count in queued:
        if count >= 1_000:
            print(f"| {count:,} | {apart('memory', msgspec.msgpack.encode(dag(count)), queued=count):,.0f} |", flush=True)


def profile(*, queued: int, workers: int) -> None:
    master = Master()
    master.join(workers)
    master.submit(queued)
    load = Load(master, queued=queued, reports=2, size=16)
    load.warm_up()
    watch = Profile()
    for _ in range(100):
        load.slice(watch)
    pstats.Stats(watch).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
