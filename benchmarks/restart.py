"""A million finished jobs: the time of the master's next start after a SIGKILL, with and without a
snapshot, and its memory.

python benchmarks/restart.py [--jobs 1000000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import psutil

from titan import Client
from titan.cli.local_cluster import LocalCluster

NEVER = 1 << 40


def noop(_: int) -> None:
    return None


def fill(home: Path, jobs: int, snapshot_bytes: int) -> None:
    """Run this number of jobs, wait for the last snapshot, and kill the master."""
    with LocalCluster(home, workers=2, slots=1, settings={"snapshot_bytes": snapshot_bytes}) as cluster:
        began = time.perf_counter()
        with Client(cluster.address) as client:
            assert sum(1 for _ in client.map(noop, range(jobs))) == jobs
        master = cluster.processes[0]
        took = time.perf_counter() - began
        print(f"{jobs:,} jobs in {took:.1f} s, master {psutil.Process(master.pid).memory_info().rss / 1e6:.0f} MB")
        if snapshot_bytes < NEVER:
            quiet = time.monotonic()
            # a child process makes the snapshot, and the next snapshot may be due at once
            while time.monotonic() - quiet < 2.0:
                time.sleep(0.1)
                quiet = time.monotonic() if psutil.Process(master.pid).children() else quiet
        master.kill()
        master.wait()
    log = sum(path.stat().st_size for path in (home / "store").iterdir()) / 1e6
    print(f"journal and snapshots: {log:.0f} MB")


def start(home: Path, settings: dict[str, float]) -> float:
    began = time.perf_counter()
    with LocalCluster(home, workers=0, settings=settings):
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as folder:
        for name, snapshot_bytes in (("without a snapshot", NEVER), ("with snapshots", 16 << 20)):
            home = Path(folder) / name.replace(" ", "-")
            fill(home, jobs, snapshot_bytes)
            print(f"started again {name}: {start(home, {'snapshot_bytes': snapshot_bytes}):.2f} s")


if __name__ == "__main__":
    main()
