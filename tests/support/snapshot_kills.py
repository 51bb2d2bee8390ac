"""Kill a real master with SIGKILL at random moments of its snapshots, under load. After each start,
everything that was acknowledged must be there.

    PYTHONPATH=tests python -m support.snapshot_kills --kills 200 --seed 1

Half of the kills wait for a snapshot that is half written; the others come at any time. After every
start, the store's counters, a list and the submitted runs are compared. `titan journal verify` runs
while the master is down.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from support.cluster import QUIET, Cluster
from support.waiting import until
from titan import DAG, Job
from titan.journal import verify

FIRST_SNAPSHOT_BYTES = 36_000_000
SETTINGS = {**QUIET, "snapshot_bytes": FIRST_SNAPSHOT_BYTES}
PAYLOAD = b"x" * 1500
KILLS_OF_A_HOME = 4
JOBS = 20_000
"""Number of jobs that are in the state from the beginning."""
_pause = threading.Event()


@dataclass
class Figures:
    """Results. `unwhole` has the journals of killed masters in which `verify` found damage."""

    kills: int = 0
    in_snapshots: int = 0
    failed_starts: list[str] = field(default_factory=list)
    unwhole: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    acknowledged: int = 0
    runs: int = 0
    slowest_start_s: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.failed_starts or self.unwhole or self.lost)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.in_snapshots} in a snapshot), {len(self.failed_starts)} starts failed, "
            f"{len(self.unwhole)} journals found damaged, {self.acknowledged:,} writes and {self.runs} runs acknowledged, "
            f"{len(self.lost)} lost; slowest start {self.slowest_start_s:.2f} s"
        )


class Writer(threading.Thread):
    """Writes to the store as fast as the store answers, and counts the answers. While the master is
    away, it waits."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self.key = f"n{number}"
        self.list = f"l{number}"
        self.answered = self.pushed = 0
        self.ended = threading.Event()
        self.port = 0

    def run(self) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
                self._write()
            self.ended.wait(0.02)

    def _write(self) -> None:
        client: Any = redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=10, retry=Retry(NoBackoff(), 0))
        try:
            while not self.ended.is_set():
                self.answered = max(self.answered, client.incr(self.key))
                self.pushed = max(self.pushed, client.rpush(self.list, self.answered))
                client.set(f"{self.key}:{self.answered % 200}", PAYLOAD)
        finally:
            client.close()


class Submitter(threading.Thread):
    """Submits runs through the SDK, which repeats submissions without an acknowledgement."""

    def __init__(self, made: Cluster) -> None:
        super().__init__(daemon=True)
        self.submitted: list[str] = []
        self.ended = threading.Event()
        self._made = made

    def run(self) -> None:
        while not self.ended.is_set():
            dag = DAG(f"d{len(self.submitted)}", [Job("a", command="true", args=[len(self.submitted)])])
            self.submitted.append(self._made.client.submit(dag).id)
            self.ended.wait(0.02)


def kill_in_snapshots(base: Path, *, kills: int, seed: int, say: bool = False) -> Figures:
    chance, figures, number = random.Random(seed), Figures(), 0
    while figures.kills < kills and len(figures.failed_starts) < 20:
        number += 1
        _one_home(base / f"c{number}", min(kills - figures.kills, KILLS_OF_A_HOME), chance, figures)
        if say:
            print(f"{figures}", flush=True)
    return figures


def _one_home(base: Path, kills: int, chance: random.Random, figures: Figures) -> None:
    """Kill the master of one home several times. The first kill falls into the first snapshot of
    the home, which removes all segments before it."""
    made = Cluster(base, SETTINGS)
    writers = [Writer(number) for number in range(3)]
    submitter = Submitter(made)
    threads: list[Writer | Submitter] = [*writers, submitter]
    try:
        _start(made, figures)
        for writer in writers:
            writer.port = _store_port(made)
        made.client.submit(DAG("many", [Job(f"j{i}", command="true", args=[i]) for i in range(JOBS)]))
        _fill_segments(made)
        made.settings = {**QUIET, "snapshot_bytes": 400_000}
        for thread in threads:
            thread.start()
        for i in range(kills):
            figures.in_snapshots += _kill(made, chance, first=i == 0)
            figures.kills += 1
            known = [(w, w.answered, w.pushed) for w in writers]
            runs = list(submitter.submitted)
            _verify(made, figures)
            if not _start(made, figures):
                return
            _compare(made, figures, known, runs)
        figures.acknowledged += sum(w.answered + w.pushed for w in writers)
        figures.runs += len(submitter.submitted)
    finally:
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            if thread.ident is not None and made.master is not None and made.master.running:
                thread.join(20)
        made.close()


def _fill_segments(made: Cluster) -> None:
    """Write so many records that the first snapshot covers several segments, and that a kill can
    hit the replay."""
    client: Any = redis.Redis(host="127.0.0.1", port=_store_port(made), socket_timeout=20)
    try:
        for first in range(0, FIRST_SNAPSHOT_BYTES, 500 * len(PAYLOAD)):
            pipe = client.pipeline(transaction=False)
            for i in range(500):
                pipe.set(f"filled:{i}", PAYLOAD + b"%d" % first)
            pipe.execute()
    finally:
        client.close()


def _start(made: Cluster, figures: Figures) -> bool:
    """Start the master. A failed start is counted and tried once more, because a second start may
    succeed."""
    began = time.monotonic()
    for _ in range(2):
        try:
            made.start_master("--store-port", str(_store_port(made)))
        except AssertionError as error:
            figures.failed_starts.append(str(error)[-1500:])
        else:
            figures.slowest_start_s = max(figures.slowest_start_s, time.monotonic() - began)
            return True
    return False


_ports: dict[Path, int] = {}


def _store_port(made: Cluster) -> int:
    """Return the store's port. The kernel chooses it at the first start."""
    if made.base not in _ports:
        about = made.home / "master.json"
        if not about.exists():
            return 0
        _ports[made.base] = int(json.loads(about.read_text())["store"].rpartition(":")[2])
    return _ports[made.base]


def _kill(made: Cluster, chance: random.Random, *, first: bool) -> bool:
    """Kill the master. Return True if a snapshot was half written."""
    kind = chance.random()
    # Kill while the compactor replays. A compactor that survived the kill would still replay during
    # the next start.
    if first and kind < 0.7:
        until(lambda: len(list(made.store.glob("*.seg"))) > 1, "a snapshot is ordered", 60.0)
        _pause.wait(chance.uniform(0, 1.0))
    elif first or kind < 0.5:
        until(lambda: next(made.store.glob("*.snap.tmp"), None), "a snapshot is written", 60.0)
        _pause.wait(chance.choice((0.0, chance.uniform(0, 0.05))))
    else:
        _pause.wait(chance.uniform(0, 1.0))
    half_written = next(made.store.glob("*.snap.tmp"), None) is not None
    made.kill_master()
    return half_written


def _verify(made: Cluster, figures: Figures) -> None:
    report = verify(made.store)
    if not report.ok:
        figures.unwhole.append("; ".join(report.problems))


def _compare(made: Cluster, figures: Figures, known: list[tuple[Writer, int, int]], runs: list[str]) -> None:
    client: Any = redis.Redis(host="127.0.0.1", port=_store_port(made), socket_timeout=20)
    try:
        for writer, answered, pushed in known:
            there, length = int(client.get(writer.key) or 0), int(client.llen(writer.list))
            if there < answered or length < pushed:
                figures.lost.append(f"{writer.key}: {answered} acknowledged, {there} there; {pushed} pushed, {length} there")
    finally:
        client.close()
    there_now = {row.run for row in made.client.runs(limit=10_000)}
    figures.lost += [f"run {run}" for run in runs[-5000:] if run not in there_now]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = kill_in_snapshots(Path(folder) / "c", kills=asked.kills, seed=asked.seed, say=True)
    for line in (*figures.failed_starts, *figures.unwhole, *figures.lost):
        print(line)
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
