"""Clients of a chaos test: threads that live as long as the test, and a process that the test kills
and stops.

    python -m chaos.clients ADDRESS TRUTH LOG SEED

The process writes to LOG each request before it sends it, and each acknowledgement. LOG therefore
survives a SIGKILL of the process.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from titan import DAG, Job
from titan.errors import TitanError
from titan.sdk.client import Client
from titan.sdk.run import Run

RUN_S = 60.0
"""Seconds that a client waits for a result. A longer wait is a finding: see `chaos.HEAL_S`."""
OPEN_RUNS = 6
"""Number of open runs at which a client submits no further run. This keeps the remaining work small
when the faults end."""
JOBS = 8
SCRIPT_BYTES = 20_000
COMMAND = """\
f="$TRUTH/run.$TITAN_RUN"
printf '%s begin %s\\n' "$TITAN_JOB" "$TITAN_ATTEMPT" >>"$f"; sync "$f"
sleep 0.0$1
printf '%s end %s\\n' "$TITAN_JOB" "$TITAN_ATTEMPT" >>"$f"; sync "$f"
"""


def add(truth: str, number: int) -> int:
    """Function of the calls. It records that it ran."""
    fd = os.open(f"{truth}/calls.{number // 1000}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"%d\n" % number)
    os.fsync(fd)
    os.close(fd)
    return number + 1


def jobs(truth: Path | str, chance: random.Random, *, service: bool = False) -> list[Job]:
    """Return the jobs of a run. The script of the first job is a new file, so it takes room on the
    disks of its worker and of the master."""
    made = [Job("serve", command="exec sleep 1000", type="service", health="none")] if service else []
    for n in range(JOBS):
        parents = tuple(f"j{p}" for p in range(n) if chance.random() < 0.2)
        if made and n == 0:
            parents = ("serve",)
        script, env = COMMAND.replace("$1", str(chance.randint(10, 99))), {"TRUTH": str(truth)}
        if n == 0:
            file = Path(truth) / f"script.{os.getpid()}.sh"
            file.write_text(f"{script}# {chance.random()} {'x' * SCRIPT_BYTES}\n")
            made.append(Job(f"j{n}", file=file, parents=parents, env=env, retries=3))
        else:
            made.append(Job(f"j{n}", command=script, parents=parents, env=env, retries=3))
    return made


class Load:
    """Clients that continue until they are stopped, and the acknowledgements that they received."""

    def __init__(self, address: str, truth: Path, seed: int) -> None:
        self._address = address
        self._truth = truth
        self._seed = seed
        self._stop = threading.Event()
        self._open: list[str] = []
        self.runs: dict[str, int] = {}
        """Acknowledged run -> number of its jobs."""
        self.asked_calls = 0
        self.calls: dict[int, int] = {}
        """Argument -> result, for the calls that returned."""
        self.failed_calls: list[str] = []
        self.pushed: list[str] = []
        self.refused = 0
        self.broken: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._submit, self._call, self._push)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, deadline_s: float) -> bool:
        """Stop the clients. Return whether all their requests came to an end."""
        self._stop.set()
        give_up = time.monotonic() + deadline_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, give_up - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, work: Callable[[Client, int, random.Random], None]) -> None:
        chance, number = random.Random(f"{self._seed}/{work.__name__}"), 0
        while not self._stop.is_set():
            try:
                with Client(self._address) as client:
                    while not self._stop.is_set():
                        number += 1
                        work(client, number, chance)
            except TitanError:  # the disk is full, or the master was away for longer than a client waits
                self.refused += 1
                self._stop.wait(0.2)
            except BaseException as error:
                self.broken.append(error)
                return

    def _submit(self, client: Client, number: int, chance: random.Random) -> None:
        made = jobs(self._truth, chance, service=number % 10 == 0)
        run = client.submit(DAG("chaos", made))
        self.runs[run.id] = len(made)
        self._open.append(run.id)
        while len(self._open) >= OPEN_RUNS and not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client.run(self._open[0]).wait(timeout=0.5)
                del self._open[0]
        self._stop.wait(0.1)

    def _call(self, client: Client, number: int, chance: random.Random) -> None:
        numbers = [number * 100 + n for n in range(20)]
        self.asked_calls += len(numbers)
        futures = [client.call(add, str(self._truth), n) for n in numbers]
        for n, future in zip(numbers, futures, strict=True):
            try:
                self.calls[n] = future.result(RUN_S)
            except TitanError as error:
                self.failed_calls.append(f"{n}: {error}")
        self._stop.wait(0.1)

    def _push(self, client: Client, number: int, chance: random.Random) -> None:
        client.store.execute("SADD", "pushed", str(number))
        self.pushed.append(str(number))
        self._stop.wait(0.02)


class Diary:
    """Log of a client process, read line by line."""

    def __init__(self, file: Path) -> None:
        lines = [line.split(" ", 2) for line in (file.read_text().split("\n") if file.exists() else []) if line]
        self.tried = [line[1] for line in lines if line[0] == "try"]
        self.runs = {line[1]: line[2] for line in lines if line[0] == "ack"}
        """Run -> its name, which no other run may have."""
        self.asked_calls = sum(int(line[2]) for line in lines if line[0] == "map")
        self.calls = {int(line[1]): int(line[2]) for line in lines if line[0] == "got"}
        self.failed_calls = [" ".join(line[1:]) for line in lines if line[0] == "failed"]
        self.errors = [" ".join(line[1:]) for line in lines if line[0] == "error"]
        self.next = len(lines)


def main(address: str, truth: str, log: str, seed: str) -> int:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    number = Diary(Path(log)).next
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    chance = random.Random(f"{seed}/{number}")

    def say(*words: object) -> None:
        os.write(fd, (" ".join(str(word).replace("\n", " ") for word in words) + "\n").encode())

    open_runs: list[Run] = []
    while not stop:
        try:
            with Client(address) as client:
                open_runs.clear()
                while not stop:
                    number += 1
                    _work(client, truth, number, chance, open_runs, say)
        except TitanError as error:
            say("told", type(error).__name__, error)
            threading.Event().wait(0.2)
        except TimeoutError as error:
            say("error", "-", repr(error))
    return 0


def _work(client: Client, truth: str, number: int, chance: random.Random, open_runs: list[Run], say: Callable[..., None]) -> None:
    if chance.random() < 0.6:
        say("try", f"client-{number}")
        open_runs.append(client.submit(DAG(f"client-{number}", jobs(truth, chance))))
        say("ack", open_runs[-1].id, f"client-{number}")
        if len(open_runs) >= OPEN_RUNS // 2:
            open_runs.pop(0).wait(timeout=RUN_S)
        return
    numbers = [1_000_000_000 + number * 100 + n for n in range(50)]
    say("map", numbers[0], len(numbers))
    results = client.map(add, [truth] * len(numbers), numbers, timeout=RUN_S)
    for n in numbers:
        try:
            say("got", n, next(results))
        except TitanError as error:
            say("failed", n, error)
            return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
