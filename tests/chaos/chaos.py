"""Chaos over real processes: a master, three workers and clients, with faults drawn from a seed; then all heals and is judged.

    PYTHONPATH=tests python tests/chaos/chaos.py --seconds 600 --seed 1

Jobs write down outside Titan what really ran: each execution appends to a file of its own, synced. The judge compares that with
what the master says: nothing acknowledged is lost, nothing is COMPLETED that never ran, nothing is recorded twice, nothing is
stuck, and no process is left. The table is Markdown. Exit code 1: something did not hold.

Partitions and resets are those of a proxy before the master, which needs no privileges; packets are not lost one by one. Disks
that fail are those of the journal's own tests.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from support.cluster import FAST, Cluster, Spawned, processes_below, until
from support.proxy import DOWN, UP, Proxy
from titan import DAG, Job
from titan.errors import TitanError
from titan.sdk.client import Client

WORKERS = ("ada", "bob", "cyd")
HEAL_S = 60.0
PAUSE_S = (0.2, 1.5)
"""Between two faults."""
COMMAND = """\
f="$TRUTH/$TITAN_RUN.$TITAN_JOB"
printf 'begin %s\\n' "$TITAN_ATTEMPT" >>"$f"; sync "$f"
sleep 0.0$1
printf 'end %s\\n' "$TITAN_ATTEMPT" >>"$f"; sync "$f"
"""


def add(truth: str, number: int) -> int:
    """A call: what it is writes down that it ran."""
    fd = os.open(f"{truth}/call.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"end\n")
    os.fsync(fd)
    os.close(fd)
    return number + 1


class Load:
    """Clients that go on until they are told to stop, and what was acknowledged to them."""

    def __init__(self, cluster: Cluster, truth: Path, seed: int) -> None:
        self._cluster = cluster
        self._truth = truth
        self._seed = seed
        self._stop = threading.Event()
        self.runs: dict[str, int] = {}
        """Acknowledged runs, and how many jobs each has."""
        self.calls: dict[int, int] = {}
        """Argument -> result of calls that returned."""
        self.failed_calls: list[str] = []
        self.pushed: list[str] = []
        self.broken: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._submit, self._call, self._push)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, deadline_s: float) -> bool:
        """Whether all that was under way came to its end."""
        self._stop.set()
        give_up = time.monotonic() + deadline_s
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, work: Callable[[Client, int, random.Random], None]) -> None:
        chance, number = random.Random(f"{self._seed}/{work.__name__}"), 0
        while not self._stop.is_set():
            try:
                with Client(self._cluster.address) as client:
                    while not self._stop.is_set():
                        number += 1
                        work(client, number, chance)
            except TitanError:  # the master was away for longer than a client waits: it was told so, and goes on
                self._stop.wait(0.2)
            except BaseException as error:
                self.broken.append(error)
                return

    def _submit(self, client: Client, number: int, chance: random.Random) -> None:
        env = {"TRUTH": str(self._truth)}
        jobs = [Job("serve", command="exec sleep 1000", type="service", health="none")] if number % 10 == 0 else []
        for n in range(8):
            parents = tuple(f"j{p}" for p in range(n) if chance.random() < 0.2)
            if jobs and n == 0:
                parents = ("serve",)
            jobs.append(
                Job(f"j{n}", command=COMMAND.replace("$1", str(chance.randint(10, 99))), parents=parents, env=env, retries=3)
            )
        run = client.submit(DAG("chaos", jobs))
        self.runs[run.id] = len(jobs)
        if len(jobs) > 8:  # services keep their slots: several such runs at once could leave none for their jobs
            with contextlib.suppress(TimeoutError):
                run.wait(timeout=HEAL_S)
        self._stop.wait(0.1)

    def _call(self, client: Client, number: int, chance: random.Random) -> None:
        numbers = [number * 100 + n for n in range(20)]
        futures = [client.call(add, str(self._truth), n) for n in numbers]
        for n, future in zip(numbers, futures, strict=True):
            try:
                self.calls[n] = future.result(HEAL_S)
            except TitanError as error:
                self.failed_calls.append(f"{n}: {error}")

    def _push(self, client: Client, number: int, chance: random.Random) -> None:
        client.store.execute("SADD", "pushed", str(number))
        self.pushed.append(str(number))
        self._stop.wait(0.02)


class Chaos:
    def __init__(self, base: Path, *, seed: int, fsync: str) -> None:
        self.chance = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.truth = base / "truth"
        self.truth.mkdir()
        settings = {k: v for k, v in FAST.items() if k != "stop_grace_s"}
        self.cluster = Cluster(base / "c", {**settings, "stop_grace_s": 1.0})
        self.cluster.start_master("--fsync", fsync, "--quiet")
        self.proxies = {name: Proxy(self.cluster.port) for name in WORKERS}
        self.load = Load(self.cluster, self.truth, seed)
        self.verdicts: dict[str, list[str]] = {}

    # -- the processes ------------------------------------------------------------------------------------------------------
    def start_worker(self, name: str) -> None:
        options = ("--master", self.proxies[name].address, "--name", name, "--slots", "2", "--quiet")
        home = ("--home", str(self.cluster.worker_home(name)))
        self.cluster.workers[name] = self.cluster.spawn("worker", *options, *home, label=name)

    def _wardens(self, worker: Spawned) -> list[int]:
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        with contextlib.suppress(OSError):
            return [int(pid) for pid in children.read_text().split()]
        return []

    # -- faults ---------------------------------------------------------------------------------------------------------------
    def run(self, seconds: float) -> None:
        for proxy in self.proxies.values():
            proxy.__enter__()
        for name in WORKERS:
            self.start_worker(name)
        self.cluster.wait_for_workers(*WORKERS)
        self.load.start()
        pause, end = threading.Event(), time.monotonic() + seconds
        kinds = (
            *(self._kill_master, self._kill_worker, self._kill_warden, self._freeze_master, self._freeze_worker),
            *(self._freeze_both, self._partition, self._reset),
        )
        while time.monotonic() < end:
            pause.wait(self.chance.uniform(*PAUSE_S))
            fault = self.chance.choice(kinds)
            fault(self.chance.choice(WORKERS))
            self.faults[fault.__name__[1:].replace("_", " ")] += 1

    def _kill_master(self, _: str) -> None:
        self.cluster.restart_master()

    def _kill_worker(self, name: str) -> None:
        self.cluster.workers[name].kill()
        self.start_worker(name)

    def _kill_warden(self, name: str) -> None:
        for pid in self._wardens(self.cluster.workers[name])[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _frozen(self, *processes: Spawned | None) -> None:
        """Longer than `loss_s` now and then."""
        found = [p for p in processes if p is not None and p.running]
        for process in found:
            os.kill(process.pid, signal.SIGSTOP)
        threading.Event().wait(self.chance.choice((0.1, 1.0, 4.0)))
        for process in found:
            os.kill(process.pid, signal.SIGCONT)

    def _freeze_master(self, _: str) -> None:
        self._frozen(self.cluster.master)

    def _freeze_worker(self, name: str) -> None:
        self._frozen(self.cluster.workers[name])

    def _freeze_both(self, name: str) -> None:
        self._frozen(self.cluster.master, self.cluster.workers[name])

    def _partition(self, name: str) -> None:
        proxy = self.proxies[name]
        proxy.hold(UP, 0)
        proxy.hold(DOWN, 0)
        threading.Event().wait(self.chance.choice((0.2, 1.0, 4.0)))
        proxy.cut() if self.chance.random() < 0.5 else proxy.let_go()

    def _reset(self, name: str) -> None:
        self.proxies[name].cut()

    # -- the judgement ------------------------------------------------------------------------------------------------------
    def judge(self) -> None:
        v = self.verdicts = {what: [] for what in ("lost", "COMPLETED and never ran", "doubled", "stuck", "dead", "left")}
        if not self.load.stop(HEAL_S):
            v["stuck"].append("a client")
        v["stuck"] += [f"a client ended: {error!r}" for error in self.load.broken]
        client = self.cluster.client
        for run in self.load.runs:
            try:
                until(lambda: client.status(run).state != "RUNNING", f"run {run} is over", HEAL_S)  # noqa: B023
            except AssertionError:
                v["stuck"].append(f"{run}: {[f'{job.id} {job.state} {job.reason}' for job in client.status(run).jobs]}")
                v["stuck"] += self.cluster.cli("why", run).stdout.splitlines()
                v["stuck"] += self.cluster.cli("workers").stdout.splitlines()
            except TitanError as error:
                v["lost"].append(f"{run}: {error}")
        self._judge_jobs(client)
        for number, result in self.load.calls.items():
            if result != number + 1 or not (self.truth / f"call.{number}").exists():
                v["COMPLETED and never ran"].append(f"call {number}")
        v["dead"] += [text for text in self.load.failed_calls if not _is_poison(text)]
        kept = {bytes(member).decode() for member in client.store.smembers("pushed")}
        v["lost"] += [f"member {number}" for number in self.load.pushed if number not in kept]

    def _judge_jobs(self, client: Client) -> None:
        v = self.verdicts
        for run in self.load.runs:
            with contextlib.suppress(TitanError):
                for job in client.status(run).jobs:
                    if job.id != "serve":
                        self._judge_job(run, job.id, job.state, job.reason)
            v["doubled"] += [f"{run}/{job} {n} times" for job, n in self.cluster.completions(run).items() if n > 1]

    def _judge_job(self, run: str, name: str, state: str, reason: str) -> None:
        file = self.truth / f"{run}.{name}"
        lines = file.read_text().split("\n") if file.exists() else []
        ends = Counter(line for line in lines if line.startswith("end "))
        if state == "COMPLETED" and not ends:
            self.verdicts["COMPLETED and never ran"].append(f"{run}/{name}")
        self.verdicts["doubled"] += [f"{run}/{name} {end} {n} times" for end, n in ends.items() if n > 1]
        if state == "DEAD" and not _is_poison(reason):
            self.verdicts["dead"].append(f"{run}/{name}: {reason}")

    def close(self) -> None:
        """Ends all in order; what is left then is a finding."""
        for worker in self.cluster.workers.values():
            worker.terminate()
        for worker in self.cluster.workers.values():
            worker.wait(60.0)
        try:
            until(lambda: not processes_below(self.cluster.base / "workers"), "no process of a worker is left", 10.0)
        except AssertionError:
            self.verdicts["left"] += list(processes_below(self.cluster.base / "workers").values())
        self.cluster.close()
        for proxy in self.proxies.values():
            proxy.__exit__(None, None, None)

    def table(self, *, seconds: float, seed: int, fsync: str) -> str:
        rows = [f"| {kind} | {count} |" for kind, count in sorted(self.faults.items())]
        counts = {"jobs": sum(self.load.runs.values()), "calls": len(self.load.calls), "store writes": len(self.load.pushed)}
        rows += [f"| {what} | {count} |" for what, count in counts.items()]
        rows += [f"| **{what}** | **{len(found)}** |" for what, found in self.verdicts.items()]
        head = f"Chaos of {seconds:.0f} s, seed {seed}, `--fsync {fsync}`:\n\n| what | how many |\n| --- | --- |"
        return "\n".join([head, *rows])


def _is_poison(reason: str) -> bool:
    """Its workers were killed under it twice, which is what `poison_losses` promises; or a call's process was killed."""
    return "poison" in reason or "killed" in reason or "died" in reason


def play(base: Path, *, seconds: float, seed: int, fsync: str) -> Chaos:
    chaos = Chaos(base, seed=seed, fsync=fsync)
    try:
        chaos.run(seconds)
        chaos.judge()
    finally:
        chaos.load.stop(5.0)
        chaos.close()
    return chaos


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fsync", choices=("always", "everysec"), default="")
    asked = parser.parse_args()
    fsync = asked.fsync or ("always", "everysec")[asked.seed % 2]
    with tempfile.TemporaryDirectory(prefix="titan-chaos-") as folder:
        chaos = play(Path(folder), seconds=asked.seconds, seed=asked.seed, fsync=fsync)
    print(chaos.table(seconds=asked.seconds, seed=asked.seed, fsync=fsync))
    for what, found in chaos.verdicts.items():
        for each in found[:20]:
            print(f"{what}: {each}")
    return int(any(chaos.verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
