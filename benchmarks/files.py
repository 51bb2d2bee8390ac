"""Transfer of a file through the master: from a job on one worker to a job on another worker.

python benchmarks/files.py [--megabytes 1000] [--rounds 3] [--consumers 1] [--folder DIR]

The cluster has a master and three workers, each with a home of its own. The benchmark measures the
time from the end of the producer until its output is durable at the master, and from then until the
start of the consumer. During the transfer one client calls functions on the third worker, and
another client requests the list of workers. For comparison the benchmark also measures the speed of
the disk (write and sync) and of SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

from titan import DAG, Client, Job, task
from titan.cli.local_cluster import LocalCluster

MAKE = "import os, sys; f = open('out.bin', 'wb'); b = os.urandom(1 << 20); n = int(sys.argv[1])\n" + (
    "for i in range(n): f.write(i.to_bytes(8, 'big') + b[8:1000000])\n"
)


def disk_speed(folder: Path, megabytes: int) -> float:
    block = os.urandom(1_000_000)
    began = time.perf_counter()
    with open(folder / "disk", "wb", buffering=0) as file:
        for _ in range(megabytes):
            file.write(block)
        os.fsync(file.fileno())
    took = time.perf_counter() - began
    os.unlink(folder / "disk")
    return megabytes / took


def hash_speed() -> float:
    block = bytes(100_000_000)
    began = time.perf_counter()
    hashlib.sha256(block).digest()
    return 100 / (time.perf_counter() - began)


def one() -> int:
    return 1


class Asking:
    """Client that sends small requests all the time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: list[float] = []
        self.calls: list[float] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._call)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with Client(self.address) as client:
            while not self._over.wait(0.01):
                began = time.perf_counter()
                client.workers()
                self.answers.append(time.perf_counter() - began)

    def _call(self) -> None:
        small = task(requirement="C")(one)
        with Client(self.address) as client:
            while not self._over.wait(0.01):
                began = time.perf_counter()
                client.compute(small()).result()
                self.calls.append(time.perf_counter() - began)


def one_round(client: Client, megabytes: int, consumers: int) -> tuple[float, float]:
    """Return the seconds from the producer's end until its output is durable, and from then until
    the last consumer began."""
    make = Job("make", command=[sys.executable, "-c", MAKE, str(megabytes)], requirement="A", outputs={"data": "out.bin"})
    given = {"in/data.bin": make.output("data")}
    use = Job("use", command=["test", "-s", "in/data.bin"], requirement="B", foreach=consumers, args=["-a", "1"], inputs=given)
    os.sync()  # write out the data of earlier rounds
    run = client.submit(DAG("files", [make, use]))
    durable = 0.0
    for change in run.events():
        if change.job == "make" and change.state == "COMPLETED":
            durable = time.time()
    status = {job.id: job for job in run.status().jobs}
    assert all(job.state == "COMPLETED" for job in status.values()), status
    began = max(job.started_at or 0.0 for name, job in status.items() if name != "make")
    return durable - (status["make"].finished_at or 0.0), began - durable


def shown(times: list[float]) -> str:
    times = sorted(times) or [0.0]
    return f"p50 {median(times) * 1e3:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:.1f} ms, at most {times[-1] * 1e3:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--consumers", type=int, default=1)
    parser.add_argument("--folder", help="where the homes are; default: a temporary folder")
    parser.add_argument("--quiet", action="store_true", help="nobody asks meanwhile")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        root = Path(folder)
        print(f"disk: {disk_speed(root, asked.megabytes):,.0f} MB/s written and synced; SHA-256: {hash_speed():,.0f} MB/s a core")
        with LocalCluster(root / "home", workers=0) as cluster:
            workers = []
            held, hold = os.pipe()
            for name in ("A", "B", "C"):
                home = ["--home", str(root / name), "--name", f"w{name}", "--capability", name, "--slots", "2", "--quiet"]
                command = [sys.executable, "-m", "titan", "worker", "--master", cluster.address, *home, "--parent-fd", str(held)]
                workers.append(subprocess.Popen(command, pass_fds=(held,), process_group=0))
            os.close(held)
            try:
                with Client(cluster.address) as client:
                    measure(client, cluster.address, asked, [cluster.processes[0].pid, *[w.pid for w in workers]])
            finally:
                os.close(hold)
                for worker in workers:
                    worker.wait()


def cpu_s(pids: list[int]) -> list[float]:
    return [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]


def measure(client: Client, address: str, asked: argparse.Namespace, pids: list[int]) -> None:
    size = asked.megabytes
    one_round(client, 1, 1)  # start everything that the measurement needs
    before = cpu_s(pids)
    if asked.quiet:
        rounds = [one_round(client, size, asked.consumers) for _ in range(asked.rounds)]
    else:
        with Asking(address) as others:
            time.sleep(2.0)  # let the small requests begin when everything is started
            others.answers.clear()
            others.calls.clear()
            time.sleep(2.0)
            print(f"idle: an answer takes {shown(others.answers)}; a call {shown(others.calls)}")
            others.answers.clear()
            others.calls.clear()
            rounds = [one_round(client, size, asked.consumers) for _ in range(asked.rounds)]
            print(f"meanwhile: an answer takes {shown(others.answers)}; a call {shown(others.calls)}")
    used = [(after - then) / asked.rounds / size * 1000 for then, after in zip(before, cpu_s(pids), strict=True)]
    print(f"CPU seconds for 1 GB: master {used[0]:.2f}, producer {used[1]:.2f}, consumer {used[2]:.2f}")
    for up, down in rounds:
        in_all = size / (up + down)
        print(f"{size:,} MB: to the master {size / up:,.0f} MB/s, to the consumer {size / down:,.0f}, in all {in_all:,.0f}")
    best = sorted(up + down for up, down in rounds)
    print(f"median: {size / median(best):,.0f} MB/s from the end of the producer to the start of the consumer")


if __name__ == "__main__":
    main()
