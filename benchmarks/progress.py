"""A thousand running jobs that report their progress ten times a second, and two watchers. One of
the watchers stops reading for a while.

python benchmarks/progress.py [--jobs 1000] [--rate 10] [--workers 4] [--seconds 20]

Each job is a small process (perl) with its own connection to the worker. It sends the messages that
`context.progress` sends. The text of each message is the time at which it was sent. The benchmark
measures the CPU time of the master and the age of the values that a watcher gets. One watcher is
stopped by SIGSTOP. When it continues, old values would show that a backlog had built up.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import psutil

from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster
from titan.net.job_link import REPORT_PROGRESS

REPORTER = """
use strict; use Socket; use Time::HiRes qw(time sleep);
my ($opcode, $rate, $until) = @ARGV;
socket(my $link, PF_UNIX, SOCK_STREAM, 0) or die $!;
connect($link, sockaddr_un($ENV{TITAN_CONTEXT})) or die $!;
syswrite($link, "TITAN $ENV{TITAN_LEASE} job\\n");
my ($said, $next) = (0, time() + rand(1 / $rate));
until (-e $until) {
    sleep($next - time()) if $next > time();
    $next += 1 / $rate;
    my $text = sprintf("%.3f", time());
    my $body = pack("C C C d> C C a*", 0x93, 0, 0xcb, (++$said % 1000) / 1000, 0xd9, length($text), $text);
    syswrite($link, pack("CCCCN", 1, $opcode, 0, 0, length($body)) . $body) or die $!;
}
"""


def watch(address: str, run_id: str) -> None:
    """Watch the jobs in a process of its own. Print one line per second about the values received,
    until the process is ended."""
    with Client(address) as client:
        ages: list[float] = []
        second = int(time.time())
        for change in client.run(run_id).events(progress=True):
            now = time.time()
            if int(now) != second and ages:
                ages.sort()
                print(json.dumps([second, len(ages), median(ages), ages[int(len(ages) * 0.99)], ages[-1]]), flush=True)
                ages, second = [], int(now)
            if change.status.progress is not None and change.status.message:
                ages.append(now - float(change.status.message))


class Watcher:
    def __init__(self, address: str, run_id: str) -> None:
        command = [sys.executable, __file__, "--watch", address, run_id]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.rows: list[list[float]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.rows.append(json.loads(line))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def shown(self, since: float, until: float) -> str:
        rows = [row for row in self.rows if since <= row[0] < until]
        if not rows:
            return "nothing"
        seen = sum(row[1] for row in rows) / len(rows)
        oldest = max(row[4] for row in rows)
        p99 = median(row[3] for row in rows)
        return (
            f"{seen:,.0f} values a second, p50 {median(row[2] for row in rows):.2f} s old, p99 {p99:.2f} s, oldest {oldest:.2f} s"
        )


def measure(cluster: LocalCluster, asked: argparse.Namespace, folder: Path) -> None:
    master = psutil.Process(cluster.processes[0].pid)
    workers = [psutil.Process(process.pid) for process in cluster.processes[1:]]
    over = folder / "over"
    command = ["perl", "-e", REPORTER, str(REPORT_PROGRESS), str(asked.rate), str(over)]
    with Client(cluster.address) as client:
        run = client.submit(DAG("progress", [Job("job", command=command, foreach=asked.jobs)]))
        try:
            while sum(job.state == "RUNNING" for job in run.status().jobs) < asked.jobs:
                time.sleep(0.5)
            for label, watchers in (("no watcher", 0), ("one watcher", 1), ("two watchers, of whom one stops", 2)):
                seen = [Watcher(cluster.address, run.id) for _ in range(watchers)]
                time.sleep(5.0)
                processes = [master, *workers]
                began, before = time.time(), [sum(it.cpu_times()[:2]) for it in processes]
                stop_at, stopped_s = began + asked.seconds / 4, asked.seconds / 2
                if watchers == 2:
                    time.sleep(asked.seconds / 4)
                    os.kill(seen[1].process.pid, signal.SIGSTOP)
                    time.sleep(stopped_s)
                    os.kill(seen[1].process.pid, signal.SIGCONT)
                    time.sleep(asked.seconds / 4)
                else:
                    time.sleep(asked.seconds)
                took = time.time() - began
                used = [(sum(it.cpu_times()[:2]) - was) / took * 100 for it, was in zip(processes, before, strict=True)]
                print(f"{label}: the master takes {used[0]:.1f} % of a core, the workers {sum(used[1:]):.0f} % in all", flush=True)
                if seen:
                    print(f"  it is shown {seen[0].shown(began, began + took)}")
                if watchers == 2:
                    again = stop_at + stopped_s
                    print(
                        f"  the one that was stopped for {stopped_s:g} s, from then on: {seen[1].shown(int(again), began + took)}"
                    )
                for one in seen:
                    one.close()
        finally:
            over.touch()
            run.wait(timeout=120)
        busy = [job for job in run.status().jobs if job.state != "COMPLETED"]
        print(f"{asked.jobs - len(busy):,} of {asked.jobs:,} jobs COMPLETED")


def main() -> None:
    if sys.argv[1:2] == ["--watch"]:
        watch(*sys.argv[2:4])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slots = -(-asked.jobs // asked.workers)
        with LocalCluster(Path(folder) / "home", workers=asked.workers, slots=slots) as cluster:
            measure(cluster, asked, Path(folder))


if __name__ == "__main__":
    main()
