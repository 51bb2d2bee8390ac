"""Cost of 100,000 timers in an idle master: its CPU time over a while, compared with a master
without timers, and its memory.

python benchmarks/timers.py [--jobs 99000] [--schedules 1000] [--seconds 60]

The jobs are delayed by a day, the schedules are due once a year; no worker is there.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil

from titan import DAG, AsyncClient, Client, Job
from titan.cli.local_cluster import LocalCluster
from titan.sdk.address import find_address


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=99_000)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalCluster(Path(folder) / "home", workers=0) as cluster:
        port = find_address(cluster.address)[1]
        (master,) = [p for p in psutil.Process().children(recursive=True) if _listens(p, port)]
        report("no timers", master, asked.seconds)
        began = time.monotonic()
        with Client(cluster.address) as client:
            if asked.jobs:
                run = client.submit(DAG("later", [Job("j", command="true", delay=86_400, foreach=asked.jobs)]))
                while client.run(run.id).status().summary.tally.get("DELAYED", 0) < asked.jobs:
                    time.sleep(0.2)
        asyncio.run(add_schedules(cluster.address, asked.schedules))
        print(f"{asked.jobs:,} delayed jobs and {asked.schedules:,} schedules made in {time.monotonic() - began:.1f} s")
        report(f"{asked.jobs + asked.schedules:,} timers", master, asked.seconds)


async def add_schedules(address: str, count: int) -> None:
    dag = DAG("yearly", [Job("a", command="true")])
    room = asyncio.Semaphore(50)
    async with AsyncClient(address) as client:

        async def add(number: int) -> None:
            async with room:
                await client.schedules.add(f"s{number}", dag, cron="0 0 1 1 *", tz="Europe/Berlin")

        await asyncio.gather(*map(add, range(count)))


def report(what: str, master: psutil.Process, seconds: float) -> None:
    time.sleep(2.0)  # let the master finish its writes
    before, began = sum(master.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    share = (sum(master.cpu_times()[:2]) - before) / (time.monotonic() - began)
    print(f"{what}: {100 * share:.2f} % of a core over {seconds:g} s, {master.memory_info().rss / 1e6:.0f} MB", flush=True)


def _listens(process: psutil.Process, port: int) -> bool:
    return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections())


if __name__ == "__main__":
    main()
