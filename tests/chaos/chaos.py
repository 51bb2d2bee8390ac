"""Chaos over real processes: a master, three workers and clients, with faults that a seed
determines. In the end all faults are healed, and the result is judged.

    PYTHONPATH=tests python -m chaos.chaos --seconds 600 --seed 1

Jobs record outside of Titan what really ran: each run has a file to which its jobs append, with a
sync. The judge compares these files and the journal with the answers that clients received. The
judge checks:

- No acknowledged run, call or value is lost.
- No job is COMPLETED that never ran, and none is recorded twice.
- No job is stuck, and no job is DEAD except by the poison rule.
- No process ends by itself, and no process is left.

The results are printed as a Markdown table. The exit code is 1 if a check failed.

Faults come in rounds: each kind once, in an order that the seed determines. After a round there are
no faults until all acknowledged runs have ended. Otherwise the next fault could free a job that is
stuck. A chaos of a minute or more completes at least its first round.

The faults end processes, not the machine. What a process wrote survives the process, so even the
sync policy `everysec` may lose nothing. Each start of the master chooses a sync policy at random,
unless an option sets it.

With the necessary privileges, each worker is a host of its own, and homes are small disks that can
be filled: see `places`. Without the privileges, a proxy before the master causes partitions and
resets. Faults that are then impossible are printed with the reason.
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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from chaos.clients import Diary, Load
from chaos.judge import Stories, Strike
from chaos.places import HUB, Network, SmallDisk, enter
from support.cluster import FAST, TITAN, Cluster, Spawned, processes_below
from support.false_clock import FalseClock, libraries, remove_leftovers
from support.proxy import DOWN, UP, Proxy
from support.waiting import until
from titan.errors import TitanError

WORKERS = ("ada", "bob", "cyd")
WITH_SMALL_DISK = "cyd"
DISK_MIB, MASTER_DISK_MIB = 64, 256
HEAL_S = 60.0
"""Seconds within which all open runs end after the faults have stopped. The loss of a worker is
noticed after 3 s, and a worker registers again within 5 s. The back-offs of 3 retries take 3.5 s,
as long as the back-off of a service that lost its worker. The remaining work is 10 runs and 70
calls, which take about 10 s on two busy cores. The rest is a reserve for slow machines."""
PAUSE_S = (0.2, 1.0)
"""Range of seconds between two faults."""
SPAN_S = (0.1, 1.0, 4.0)
"""Seconds that a fault may last. `loss_s` is 3 s."""
ROUND_FROM_S = 60.0
DAY_S = 86_400
NO_ROOM = 74
"""Exit code of a worker or master that cannot use its home and says why."""
Fault = Callable[[str], bool]


class Chaos:
    def __init__(self, base: Path, *, seed: int, fsync: str, unprivileged: str) -> None:
        """`unprivileged` is the reason why there are no namespaces; "" if there are."""
        self.chance = random.Random(seed)
        self._began = time.monotonic()
        self.seed = seed
        self.fsync = fsync
        self.faults: Counter[str] = Counter()
        self.starts: Counter[str] = Counter()
        """Sync policy -> number of starts of the master with it."""
        self.skipped: dict[str, str] = {}
        self.strikes: list[Strike] = []
        self.base = base
        self.truth = base / "truth"
        self.truth.mkdir()
        self.verdicts: dict[str, list[str]] = {
            what: [] for what in ("lost", "COMPLETED and never ran", "doubled", "stuck", "dead", "crashed", "left")
        }
        settings = {k: v for k, v in FAST.items() if k != "stop_grace_s"}
        self.cluster = Cluster(base / "c", {**settings, "stop_grace_s": 1.0, "keep_journal": 1})
        self.network = None if unprivileged else Network(WORKERS)
        self.disks: dict[str, SmallDisk] = {}
        if not unprivileged:
            home = self.cluster.worker_home(WITH_SMALL_DISK)
            self.disks = {WITH_SMALL_DISK: SmallDisk(home, DISK_MIB), "master": SmallDisk(self.cluster.home, MASTER_DISK_MIB)}
        self._start_master()
        self.proxies = {} if self.network else {name: Proxy(self.cluster.port) for name in WORKERS}
        self.load = Load(self.cluster.address, self.truth, seed)
        self.log = base / "client.log"
        self.client: Spawned | None = None
        self.diary = Diary(self.log)
        self.stories = Stories()
        self._over: set[str] = set()
        """Acknowledged runs that have ended."""
        self.clocks: dict[str, FalseClock] = {}
        """Worker -> its false clock, for workers whose clock is wrong."""
        self._kinds = self._choose_kinds(unprivileged)

    def _choose_kinds(self, unprivileged: str) -> list[tuple[str, Fault]]:
        kinds: list[tuple[str, Fault]] = [
            ("kill the master", self._kill_master),
            ("kill a worker", self._kill_worker),
            ("kill a warden", self._kill_warden),
            ("kill a client", self._kill_client),
            ("freeze the master", lambda _: self._freeze(self.cluster.master)),
            ("freeze a worker", lambda name: self._freeze(self.cluster.workers[name], struck=name)),
            ("freeze a warden", self._freeze_warden),
            ("freeze both", lambda name: self._freeze(self.cluster.master, self.cluster.workers[name], struck=name)),
            ("freeze a client", lambda _: self._freeze(self.client)),
        ]
        network: list[tuple[str, Fault]] = [("partition", self._drop), ("reset", self._reject), ("30 % loss", self._lose)]
        disks: list[tuple[str, Fault]] = [("fill a worker's disk", self._fill), ("fill the master's disk", self._fill_master)]
        clocks: list[tuple[str, Fault]] = [("start with a wrong clock", self._start_wrong), ("set a clock", self._set_clock)]
        if unprivileged:
            kinds += [("partition", self._hold), ("reset", self._cut)]
            self.skipped |= {kind: unprivileged for kind, _ in (network[2], *disks)}
        else:
            kinds += [*network, *disks]
        if libraries():
            kinds += clocks
        else:
            self.skipped |= {kind: "libfaketime is not installed (sh tests/packages.sh)" for kind, _ in clocks}
        return kinds

    # -- the processes -----------------------------------------------------------------------------
    def _start_master(self) -> None:
        setting = self.fsync or self.chance.choice(("always", "everysec"))
        self.starts[setting] += 1
        where = ("--host", "0.0.0.0", "--insecure") if self.network else ()
        self.cluster.start_master("--fsync", setting, "--quiet", *where)

    def _start_worker(self, name: str) -> None:
        address = f"{HUB}:{self.cluster.port}" if self.network else self.proxies[name].address
        options = ("worker", "--master", address, "--name", name, "--slots", "2", "--quiet")
        home = ("--home", str(self.cluster.worker_home(name)))
        program = (*(self.network.prefix(name) if self.network else ()), *TITAN)
        env = self.clocks[name].environment if name in self.clocks else {}
        self.cluster.workers[name] = self.cluster.spawn(*options, *home, label=name, program=program, env=env)

    def _start_client(self) -> None:
        arguments = (self.cluster.address, str(self.truth), str(self.log), str(self.seed))
        path = {"PYTHONPATH": str(Path(__file__).parents[1])}
        program = (sys.executable, "-m", "chaos.clients")
        self.client = self.cluster.spawn(*arguments, label="client", program=program, env=path)

    def _end(self, process: Spawned) -> None:
        """Kill a process with SIGKILL. A process that has already ended by itself is a finding."""
        if not process.running:
            tail = process.err.strip().splitlines()[-3:]
            self.verdicts["crashed"].append(f"{process.label} ended by itself with code {process.popen.returncode}: {tail}")
        process.kill()

    def _wardens(self, name: str) -> list[int]:
        worker, found = self.cluster.workers[name], []
        with contextlib.suppress(OSError):
            for pid in map(int, Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()):
                with contextlib.suppress(OSError):
                    if b"warden" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(pid)
        return found

    # -- faults ------------------------------------------------------------------------------------
    def run(self, seconds: float) -> None:
        for proxy in self.proxies.values():
            proxy.__enter__()
        for name in WORKERS:
            self._start_worker(name)
        self.cluster.wait_for_workers(*WORKERS)
        self.load.start()
        self._start_client()
        end, rounds = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            must_end = rounds == 0 and seconds >= ROUND_FROM_S
            self._round(float("inf") if must_end else end)
            rounds += 1
            self._say("no faults until all is over")
            self._wait_for_all()
            self._say("all is over")

    def _round(self, end: float) -> None:
        kinds = self._kinds[:]
        self.chance.shuffle(kinds)
        pause = threading.Event()
        for what, fault in kinds:
            if time.monotonic() >= end:
                return
            pause.wait(self.chance.uniform(*PAUSE_S))
            name = self.chance.choice(WORKERS)
            if not fault(name):  # no process to strike, because the worker had just started
                until(partial(fault, name), f"a process to strike: {what}")
            self.faults[what] += 1
            self._say(f"{what} ({name})")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} {text}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _striking(self, name: str) -> Iterator[None]:
        begin = time.time()
        strike = Strike(name, begin, begin)
        self.strikes.append(strike)
        try:
            yield
        finally:
            strike.end = time.time()

    def _span(self) -> None:
        threading.Event().wait(self.chance.choice(SPAN_S))

    def _kill_master(self, _: str) -> bool:
        assert self.cluster.master is not None
        self._end(self.cluster.master)
        self._start_master()
        return True

    def _kill_worker(self, name: str) -> bool:
        self.clocks.pop(name, None)
        self._replace(name)
        return True

    def _replace(self, name: str) -> None:
        with self._striking(name):
            self._end(self.cluster.workers[name])
            self._start_worker(name)

    def _kill_warden(self, name: str) -> bool:
        wardens = self._wardens(name)
        with self._striking(name), contextlib.suppress(ProcessLookupError):
            for pid in wardens[:1]:
                os.kill(pid, signal.SIGKILL)
        return bool(wardens)

    def _freeze_warden(self, name: str) -> bool:
        """Stop a warden for a while. A worker kills its warden if two checks in a row find the
        warden stopped."""
        wardens = self._wardens(name)
        with self._striking(name):
            self._freeze_pids(wardens[:1])
        return bool(wardens)

    def _kill_client(self, _: str) -> bool:
        assert self.client is not None
        self._end(self.client)
        self._start_client()
        return True

    def _freeze(self, *processes: Spawned | None, struck: str = "") -> bool:
        """Stop processes for a while, sometimes longer than `loss_s`. A master that was stopped may
        find any worker silent."""
        names = (struck,) if struck else WORKERS if self.cluster.master in processes else ()
        with contextlib.ExitStack() as stack:
            for name in names:
                stack.enter_context(self._striking(name))
            self._freeze_pids([p.pid for p in processes if p is not None and p.running])
        return True

    def _freeze_pids(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        self._span()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    # -- of the network ----------------------------------------------------------------------------
    def _drop(self, name: str) -> bool:
        chains = self.chance.choice((("from",), ("to",), ("from", "to")))
        return self._spoil(name, lambda network: network.drop(name, *chains))

    def _reject(self, name: str) -> bool:
        return self._spoil(name, lambda network: network.reset(name))

    def _lose(self, name: str) -> bool:
        return self._spoil(name, lambda network: network.lose(name))

    def _spoil(self, name: str, spoil: Callable[[Network], None]) -> bool:
        assert self.network is not None
        with self._striking(name):
            spoil(self.network)
            try:
                self._span()
            finally:
                self.network.heal()
        return True

    def _hold(self, name: str) -> bool:
        proxy = self.proxies[name]
        with self._striking(name):
            proxy.hold(UP, 0)
            proxy.hold(DOWN, 0)
            self._span()
            proxy.cut() if self.chance.random() < 0.5 else proxy.let_go()
        return True

    def _cut(self, name: str) -> bool:
        with self._striking(name):
            self.proxies[name].cut()
        return True

    # -- of disks and clocks -----------------------------------------------------------------------
    def _fill(self, _: str) -> bool:
        """Fill a worker's disk for a while. In half of the cases the worker is also replaced, and
        may then refuse to start on the full disk."""
        name, disk = WITH_SMALL_DISK, self.disks[WITH_SMALL_DISK]

        def worker() -> Spawned:
            return self.cluster.workers[name]

        with self._striking(name):
            disk.fill()
            self._span()
            if self.chance.random() < 0.5:
                self._replace(name)
                self._span()
            disk.free()
            until(lambda: self._wardens(name) or not worker().running, f"{name} has begun or ended")
            if not worker().running:
                self.faults["worker that would not start on a full disk"] += 1
                if worker().wait() != NO_ROOM:
                    self._end(worker())
                self._start_worker(name)
        return True

    def _fill_master(self, _: str) -> bool:
        """Fill the master's disk for a while. The master refuses requests or stops by itself. If it
        has stopped, it is started again when there is room."""
        disk = self.disks["master"]
        disk.fill()
        self._span()
        disk.free()
        assert self.cluster.master is not None
        if not self.cluster.master.running:
            self.faults["master that stopped for its full disk"] += 1
            self._start_master()
        return True

    def _start_wrong(self, name: str) -> bool:
        if name not in self.clocks:
            self.clocks[name] = FalseClock(self.base / f"clock.{name}")
        self.clocks[name].set(self._wrong_by())
        self._replace(name)
        return True

    def _set_clock(self, _: str) -> bool:
        """Set the clock of a worker that runs with a false clock. If there is none, start such a
        worker first."""
        name = self.chance.choice(WORKERS)
        if name not in self.clocks:
            self._start_wrong(name)
            until(lambda: self._wardens(name), f"{name} runs")
        self.clocks[name].set(self._wrong_by())
        return True

    def _wrong_by(self) -> float:
        return self.chance.choice((-1, 1)) * self.chance.choice((60, 3600, DAY_S, 10 * DAY_S, 100 * DAY_S))

    # -- the judgement -----------------------------------------------------------------------------
    def _acknowledged(self) -> list[str]:
        return [*self.load.runs, *Diary(self.log).runs]

    def _wait_for_all(self) -> None:
        """Wait, without faults, until all runs that were acknowledged so far have ended. A run is
        stuck if this takes longer than HEAL_S in total."""
        give_up = time.monotonic() + HEAL_S
        for run in self._acknowledged():
            if run in self._over:
                continue
            try:
                left = max(0.1, give_up - time.monotonic())
                until(partial(self._is_over, run), f"run {run} is over", left)
                self._over.add(run)
            except AssertionError:
                self._tell_stuck(run)
                return
            except TitanError as error:
                self.verdicts["lost"].append(f"{run}: {error}")
                self._over.add(run)

    def _is_over(self, run: str) -> bool:
        return self.cluster.client.status(run).state != "RUNNING"

    def _tell_stuck(self, run: str) -> None:
        jobs = [f"{job.id} {job.state} {job.reason}" for job in self.cluster.client.status(run).jobs]
        self.verdicts["stuck"] += [f"{run} after {HEAL_S:.0f} s without faults: {jobs}"]
        self.verdicts["stuck"] += self.cluster.cli("why", run).stdout.splitlines()
        self.verdicts["stuck"] += self.cluster.cli("workers").stdout.splitlines()

    def judge(self) -> None:
        v, began = self.verdicts, time.monotonic()
        assert self.client is not None
        self.client.terminate()
        if not self.load.stop(HEAL_S):
            v["stuck"].append("a client")
        try:
            code = self.client.wait(max(1.0, HEAL_S - (time.monotonic() - began)))
            v["crashed"] += [f"the client ended with code {code}: {self.client.err[-500:]}"] if code else []
        except AssertionError as error:
            v["stuck"].append(f"a client process: {error}")
        v["stuck"] += [f"a client ended: {error!r}" for error in self.load.broken]
        self._wait_for_all()
        self.diary = Diary(self.log)
        v["stuck"] += self.diary.errors
        client = self.cluster.client
        kept = {bytes(member).decode() for member in client.store.smembers("pushed")}
        v["lost"] += [f"member {number}" for number in self.load.pushed if number not in kept]
        self._wait_for_the_rest(HEAL_S - (time.monotonic() - began))
        self._judge_journal()
        for run in self._acknowledged():
            self._judge_run(run)

    def _wait_for_the_rest(self, deadline_s: float) -> None:
        """Wait for the runs and calls of clients that were killed before they got the
        acknowledgement."""
        client = self.cluster.client
        running: list[str] = []

        def is_over() -> bool:
            running[:] = [run.run for run in client.runs(100_000) if run.state == "RUNNING"]
            return not running

        try:
            until(is_over, "all runs are over", max(1.0, deadline_s))
        except AssertionError:
            self._tell_stuck(running[0])

    def _judge_journal(self) -> None:
        v, load, diary = self.verdicts, self.load, self.diary
        self.stories = stories = Stories(self.strikes).read(self.cluster.events())
        for what, found in stories.verdicts().items():
            v[what] += found
        v["lost"] += [f"run {run} is not in the journal" for run in self._acknowledged() if run not in stories.runs]
        v["doubled"] += [f"{n} runs {name}" for name in diary.tried if (n := stories.names[name]) > 1]
        calls = [job for job in stories.jobs.values() if job.call]
        asked = load.asked_calls + diary.asked_calls
        ran = {int(line) for file in self.truth.glob("calls.*") for line in file.read_text().split()}
        completed = sum(job.completions > 0 for job in calls)
        if len(calls) > asked:
            v["doubled"].append(f"{asked} calls were made and {len(calls)} recorded")
        if completed > len(ran):
            v["COMPLETED and never ran"].append(f"{completed} calls are COMPLETED and {len(ran)} ran")
        for number, result in (load.calls | diary.calls).items():
            if result != number + 1 or number not in ran:
                v["COMPLETED and never ran"].append(f"call {number}")
        failed = [*load.failed_calls, *diary.failed_calls]
        if len(failed) > stories.excused_calls():
            v["dead"] += [f"{len(failed)} calls failed, and faults explain {stories.excused_calls()} of them", *failed]

    def _judge_run(self, run: str) -> None:
        file = self.truth / f"run.{run}"
        times = Counter(file.read_text().splitlines() if file.exists() else [])
        self.verdicts["doubled"] += [f"{run}/{line} {n} times" for line, n in times.items() if n > 1]
        ended = {line.split()[0] for line in times if " end " in line}
        with contextlib.suppress(TitanError):  # already recorded as lost
            for job in self.cluster.client.status(run).jobs:
                if job.state == "COMPLETED" and job.id not in (*ended, "serve"):
                    self.verdicts["COMPLETED and never ran"].append(f"{run}/{job.id}")

    def close(self) -> None:
        """End all processes in order. A process that is left then is a finding."""
        try:
            for process in (*self.cluster.workers.values(), *([self.client] if self.client is not None else [])):
                if process.running:
                    process.terminate()
                    process.wait(HEAL_S)
            below = self.cluster.base / "workers"
            try:
                until(lambda: not processes_below(below), "no process of a worker is left", 10.0)
            except AssertionError:
                self.verdicts["left"] += list(processes_below(below).values())
        finally:
            self.cluster.close()
            remove_leftovers()
            for proxy in self.proxies.values():
                proxy.__exit__(None, None, None)
            for disk in self.disks.values():
                disk.close()
            if self.network is not None:
                self.network.close()

    def table(self, seconds: float) -> str:
        rows = [f"| {kind} | {count} |" for kind, count in sorted(self.faults.items())]
        rows += [f"| {kind} | skipped: {reason} |" for kind, reason in sorted(self.skipped.items())]
        rows += [f"| starts of the master with `--fsync {setting}` | {count} |" for setting, count in sorted(self.starts.items())]
        jobs = list(self.stories.jobs.values())
        counts = {
            "runs acknowledged": len(self._acknowledged()),
            "jobs of scripts": sum(not job.call for job in jobs),
            "calls": sum(job.call for job in jobs),
            "store writes": len(self.load.pushed),
            "times that a client was refused": self.load.refused,
            "workers set aside": self.stories.set_aside.total(),
            "DEAD by the rule": sum(job.state == "DEAD" and not job.dead for job in jobs),
        }
        rows += [f"| {what} | {count} |" for what, count in counts.items()]
        rows += [f"| **{what}** | **{len(found)}** |" for what, found in self.verdicts.items()]
        head = f"Chaos of {seconds:.0f} s, seed {self.seed}:\n\n| what | how many |\n| --- | --- |"
        return "\n".join([head, *rows])

    def idle(self) -> list[str]:
        """Return the faults and effects that should have happened but did not. Without these, the
        chaos test proves nothing."""
        happened = {"faults": self.faults, "runs": self.load.runs, "calls": self.load.calls, "store writes": self.load.pushed}
        return [f"no {what}" for what, found in happened.items() if not found]


def play(base: Path, *, seconds: float, seed: int, fsync: str, unprivileged: str) -> Chaos:
    chaos = Chaos(base, seed=seed, fsync=fsync, unprivileged=unprivileged)
    try:
        chaos.run(seconds)
        chaos.judge()
    finally:
        chaos.load.stop(5.0)
        chaos.close()
    return chaos


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=ROUND_FROM_S)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fsync", choices=("always", "everysec"), default="", help="Else each start of the master draws.")
    parser.add_argument("--unprivileged", action="store_true", help="Make no namespaces and no disks.")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # also on SIGTERM, no process is left
    reason = "--unprivileged" if asked.unprivileged else enter("chaos.chaos", sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="titan-chaos-") as folder:
        chaos = play(Path(folder), seconds=asked.seconds, seed=asked.seed, fsync=asked.fsync, unprivileged=reason)
    print(chaos.table(asked.seconds))
    for what, found in chaos.verdicts.items():
        for each in found[:20]:
            print(f"{what}: {each}")
    for each in chaos.idle():
        print(each)
    return int(any(chaos.verdicts.values()) or bool(chaos.idle()))


if __name__ == "__main__":
    sys.exit(main())
