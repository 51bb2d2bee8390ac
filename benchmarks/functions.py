"""No-op functions, one job each, on two workers of one slot, compared with ProcessPoolExecutor(2)
at chunk 1, in turn. Then single calls on an idle cluster, and chains of calls in which each call
waits for the one before.

python benchmarks/functions.py [--calls 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import titan
from titan import Client
from titan.cli.local_cluster import LocalCluster


def noop(_: int) -> None:
    return None


def rate(map_: Callable[..., Any], calls: int) -> float:
    """Return the calls per second, from the submission to the last result."""
    began = time.perf_counter()
    assert sum(1 for _ in map_(noop, range(calls), chunksize=1)) == calls
    return calls / (time.perf_counter() - began)


def latencies(client: Client, calls: int) -> list[float]:
    """Return the milliseconds of single calls on an idle cluster, sorted."""
    found = []
    for _ in range(calls):
        began = time.perf_counter()
        client.call(noop, 1).result()
        found.append((time.perf_counter() - began) * 1e3)
    return sorted(found)


@titan.task
def link(_: None) -> None:
    return None


def links(client: Client, length: int) -> float:
    """Return the links per second of one chain on an idle cluster."""
    node = link(None)
    for _ in range(length - 1):
        node = link(node)
    began = time.perf_counter()
    client.compute(node).result()
    return length / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ours, theirs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(2) as pool,
        LocalCluster(Path(folder) / "home", workers=2, slots=1) as cluster,
        Client(cluster.address) as client,
    ):
        rate(client.map, 2000)
        rate(pool.map, 200)
        for turn in range(asked.rounds):
            theirs.append(rate(pool.map, asked.calls // 5))
            ours.append(rate(client.map, asked.calls))
            print(f"round {turn + 1}: titan {ours[-1]:,.0f}/s, ProcessPoolExecutor(2) {theirs[-1]:,.0f}/s")
        one = latencies(client, 500)
        chains = sorted(links(client, 1000) for _ in range(5))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"median: titan {a:,.0f} calls/s, ProcessPoolExecutor(2) {b:,.0f} calls/s, ratio {a / b:.1f}")
    print(f"one call, idle cluster: p50 {one[len(one) // 2]:.2f} ms, p99 {one[len(one) * 99 // 100]:.2f} ms")
    print(f"chains of 1,000: median {chains[2]:,.0f} links/s, best {chains[-1]:,.0f}")


if __name__ == "__main__":
    main()
