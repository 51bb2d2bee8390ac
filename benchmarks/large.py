"""One DAG of a million jobs: the time to submit it, its memory, the delay of other requests, and
the time of a restart.

python benchmarks/large.py [--jobs 1000000] [--array]

No worker can run the jobs, so all stay queued. The master is killed and started again on its log.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster


def memory(master: psutil.Process) -> int:
    return int(master.memory_info().rss)


def longest_answer(address: str, over: Connection) -> None:
    """Send small requests one after the other, until told to stop. Then send back the seconds of
    the slowest one."""
    longest = 0.0
    with Client(address) as client:
        while not over.poll():
            began = time.perf_counter()
            client.workers()
            longest = max(longest, time.perf_counter() - began)
            time.sleep(0.01)
    over.send(longest)


def single_jobs(count: int) -> list[Job]:
    return [Job(f"job-{i}", command="true", requirement="NOBODY") for i in range(count)]


def one_array(count: int) -> list[Job]:
    return [Job("job", command="true", requirement="NOBODY", foreach=count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--array", action="store_true", help="as one job array, not as so many jobs")
    asked = parser.parse_args()
    count = asked.jobs
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with LocalCluster(home, workers=0) as cluster, Client(cluster.address) as client:
            master = psutil.Process(cluster.processes[0].pid)
            before = memory(master)
            began = time.perf_counter()
            dag = DAG("large", one_array(count) if asked.array else single_jobs(count))
            print(f"{count:,} jobs made in Python: {time.perf_counter() - began:.1f} s")
            over, end = context.Pipe()
            asking = context.Process(target=longest_answer, args=(cluster.address, end))
            asking.start()
            began = time.perf_counter()
            client.submit(dag)
            print(f"submitted, checked and durable: {time.perf_counter() - began:.1f} s")
            while client.runs(limit=1)[0].tally.get("QUEUED", 0) < count:
                time.sleep(0.05)
            print(f"and all queued: {time.perf_counter() - began:.1f} s")
            over.send(None)
            print(f"meanwhile another client waited {over.recv() * 1e3:.0f} ms for an answer at most")
            asking.join()
            print(f"master: {(memory(master) - before) / count:.0f} bytes a job, {memory(master) / 1e6:.0f} MB in all")
            master.kill()
            master.wait()
        began = time.perf_counter()
        with LocalCluster(home, workers=0) as cluster:
            print(f"started again, all replayed: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
