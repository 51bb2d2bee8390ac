"""Cost of an idle cluster: the CPU time of all its processes over a while, and their memory.

python benchmarks/idle.py [--seconds 60] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import psutil

from titan import Client
from titan.cli.local_cluster import LocalCluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder) / "home", workers=asked.workers) as cluster:
        with Client(cluster.address) as client:
            while sum(w.state == "ALIVE" for w in client.workers()) < asked.workers:
                time.sleep(0.05)
        processes = psutil.Process(os.getpid()).children(recursive=True)
        before = sum(sum(p.cpu_times()[:2]) for p in processes)
        began = time.monotonic()
        time.sleep(asked.seconds)
        spent = sum(sum(p.cpu_times()[:2]) for p in processes) - before
        print(f"CPU of {len(processes)} processes: {100 * spent / (time.monotonic() - began):.2f} % of one core")
        for p in processes:
            words = p.cmdline()
            role = words[words.index("titan") + 1] if "titan" in words else "warden"
            print(f"{role}: {p.memory_info().rss / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
