"""Large results from two workers to one client, compared with ProcessPoolExecutor(2), in turn. Also
the memory that the master needs.

python benchmarks/values.py [--megabytes 10] [--count 100] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from titan import Client
from titan.cli.local_cluster import LocalCluster

NOISE: dict[int, bytes] = {}


def large(task: tuple[int, int]) -> bytes:
    """Return a large value. No two values are alike."""
    number, size = task
    if size not in NOISE:
        NOISE[size] = os.urandom(size)
    return b"%20d" % number + NOISE[size]


def rate(map_: Callable[..., Any], first: int, count: int, size: int) -> float:
    """Return the megabytes per second, from the submission until the last value was read."""
    began = time.perf_counter()
    total = sum(len(value) for value in map_(large, [(first + n, size) for n in range(count)]))
    assert total == count * (size + 20)
    return total / 1e6 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=10)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    size = asked.megabytes * 1_000_000
    ours, theirs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2) as pool,
        LocalCluster(Path(folder) / "home", workers=2, slots=1) as cluster,
        Client(cluster.address) as client,
    ):
        master = psutil.Process(json.loads((Path(folder) / "home" / "master.json").read_text())["pid"])
        rate(client.map, 0, 4, size)
        rate(pool.map, 0, 4, size)
        before = master.memory_info().rss
        for turn in range(asked.rounds):
            theirs.append(rate(pool.map, 0, asked.count, size))
            ours.append(rate(client.map, 1000 + asked.count * turn, asked.count, size))
            print(f"round {turn + 1}: titan {ours[-1]:,.0f} MB/s, ProcessPoolExecutor(2) {theirs[-1]:,.0f} MB/s")
        grown = master.memory_info().rss - before
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"median: titan {a:,.0f} MB/s, ProcessPoolExecutor(2) {b:,.0f} MB/s, ratio {a / b:.2f}")
    print(f"the master grew by {grown / 1e6:,.0f} MB over {asked.rounds * asked.count * asked.megabytes:,} MB of values")


if __name__ == "__main__":
    main()
