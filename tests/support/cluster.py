"""Clusters of real processes for tests: a master, workers that are started, killed and restarted,
and the command line beside them.

All files of a cluster lie below one folder. Processes that a test leaves are therefore found in
/proc: by their working directory, command line or TITAN_WORKER_HOME. `Cluster.close` kills the
processes that the test started, by pid, and fails the test if any other process is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from support.waiting import DEADLINE_S, POLL_S, until
from titan.core.events.events import Event, JobsCompleted, RunGrown, RunSubmitted, decode
from titan.journal import read_records
from titan.sdk.client import Client
from titan.sdk.run import Run
from titan.sdk.status import WorkerStatus

QUIET = {"heartbeat_s": 500, "loss_s": 3000, "missing_s": 2000, "name_guard_s": 1, "backoff_base_s": 0.05, "stop_grace_s": 1}
"""Settings under which no heartbeat is sent during a test. A test then shows if something waits for
the next heartbeat that should happen at once."""
FAST = {**QUIET, "heartbeat_s": 0.5, "loss_s": 3, "missing_s": 2}
"""Settings under which the loss of a worker is noticed within seconds."""
TITAN = (sys.executable, "-m", "titan")
NONE: Mapping[str, str] = {}


def alive(pid: int) -> bool:
    """Return whether a process runs. A zombie counts as dead, because its parent will soon reap
    it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def processes_below(folder: Path) -> dict[int, str]:
    """Return pid -> command line of the running processes that belong to a home below `folder`."""
    mark, found = os.fsencode(folder), {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        if int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{name}/cmdline").read_bytes()
            environment = Path(f"/proc/{name}/environ").read_bytes()
            ours = re.search(rb"(?:^|\0)TITAN_WORKER_HOME=" + re.escape(mark) + rb"(?:[/\0]|$)", environment)
            inside = os.readlink(f"/proc/{name}/cwd").startswith(str(folder))
            if (ours or inside or mark in command) and alive(int(name)):
                found[int(name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


class Spawned:
    """Process in a session of its own, whose output goes to files. `interrupt` signals the whole
    process group."""

    def __init__(
        self, command: Sequence[str], folder: Path, label: str, *, env: Mapping[str, str], cwd: Path, fds: tuple[int, ...] = ()
    ) -> None:
        self.label = label
        number = len(list(folder.glob(f"{label}.*.out")))
        self._out, self._err = folder / f"{label}.{number}.out", folder / f"{label}.{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=cwd,
                pass_fds=fds,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        try:
            return self.popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.label} goes on after {deadline_s:g} s; it said:\n{self.out}{self.err}") from None

    def kill(self) -> None:
        """Kill only this process, with SIGKILL."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> None:
        self.popen.terminate()

    def interrupt(self) -> None:
        """Send SIGINT to the process group, as Ctrl-C does."""
        os.killpg(self.pid, signal.SIGINT)


class Cluster:
    """Master and workers. The kernel chooses the master's port at the first start; later starts use
    the same port."""

    def __init__(self, base: Path, settings: Mapping[str, float] = QUIET) -> None:
        self.base = base.resolve()
        self.home = self.base / "home"
        self.said = self.base / "said"
        self.said.mkdir(parents=True)
        self.settings = dict(settings)
        self.port = 0
        self.master: Spawned | None = None
        self.workers: dict[str, Spawned] = {}
        self._options: tuple[str, ...] = ()
        self._all: list[Spawned] = []
        self._clients: list[Client] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        return self.home / "store"

    # -- processes ---------------------------------------------------------------------------------
    def spawn(
        self,
        *args: str,
        label: str = "cli",
        fds: tuple[int, ...] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] = NONE,
        program: Sequence[str] = (),
    ) -> Spawned:
        """Start `titan ARGS` and return while it runs."""
        made = Spawned([*(program or TITAN), *args], self.said, label, env=self.environment(env), cwd=cwd or self.base, fds=fds)
        self._all.append(made)
        return made

    def cli(
        self,
        *args: str,
        cwd: Path | None = None,
        env: Mapping[str, str] = NONE,
        deadline_s: float = 60.0,
        stdin: str | IO[bytes] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `titan ARGS` to its end. TITAN_MASTER is the address of this cluster's master, if the
        master was started. A text as `stdin` is passed through a pipe."""
        return subprocess.run(
            [*TITAN, *args],
            **({"input": stdin} if isinstance(stdin, str) else {"stdin": stdin or subprocess.DEVNULL}),
            capture_output=True,
            timeout=deadline_s,
            cwd=cwd or self.base,
            env=self.environment(env),
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def json(self, *args: str, code: int = 0, env: Mapping[str, str] = NONE) -> Any:
        done = self.cli(*args, "--json", env=env)
        assert done.returncode == code, done
        return json.loads(done.stdout)

    def environment(self, more: Mapping[str, str] = NONE) -> dict[str, str]:
        """Return an environment without TITAN_* variables, except TITAN_MASTER. A variable with the
        value "" is left out."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
        if self.port:
            env["TITAN_MASTER"] = self.address
        env.update(more)
        return {name: value for name, value in env.items() if value}

    # -- the master --------------------------------------------------------------------------------
    def start_master(self, *options: str) -> None:
        """Start the master, and return when it listens."""
        self._options = options
        ready, told = os.pipe()
        chosen = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        fixed = ("--home", str(self.home), "--port", str(self.port), "--ready-fd", str(told))
        try:
            self.master = self.spawn("master", *fixed, *chosen, *options, label="master", fds=(told,))
        finally:
            os.close(told)
        try:
            readable, _, _ = select.select([ready], [], [], DEADLINE_S)
            address = os.read(ready, 4096).decode().strip() if readable else ""
        finally:
            os.close(ready)
        assert address, f"the master did not start: {self.master.err}"
        self.port = int(address.rpartition(":")[2])

    def kill_master(self) -> None:
        assert self.master is not None
        self.master.kill()

    def restart_master(self, *options: str) -> None:
        """Kill the master with SIGKILL, and start it again with the same home and port."""
        self.kill_master()
        self.start_master(*(options or self._options))

    # -- workers -----------------------------------------------------------------------------------
    def start_worker(self, name: str, *options: str, slots: int = 2, home: str = "") -> Spawned:
        given = ("--master", self.address, "--name", name, "--slots", str(slots))
        made = self.spawn("worker", *given, "--home", str(self.worker_home(home or name)), *options, label=name)
        self.workers[name] = made
        return made

    def worker_home(self, name: str) -> Path:
        return self.base / "workers" / name

    def start_workers(self, *names: str, slots: int = 2) -> None:
        """Start the workers, and return when all of them are registered."""
        for name in names:
            self.start_worker(name, slots=slots)
        self.wait_for_workers(*names)

    def wait_for_workers(self, *names: str) -> None:
        until(lambda: all(self.worker(name).state == "ALIVE" for name in names), f"workers {names} are there")

    def worker(self, name: str) -> WorkerStatus:
        gone = WorkerStatus(name, "UNKNOWN", (), 0, 0, 0.0, 0.0)
        return next((w for w in self.client.workers() if w.name == name), gone)

    def kill_worker(self, name: str) -> None:
        """Kill a worker with SIGKILL, and wait until all processes of its jobs have ended."""
        self.workers.pop(name).kill()
        home = self.worker_home(name)
        until(lambda: not processes_below(home), f"the processes of worker {name} end with it", 5.0)

    # -- what it holds -----------------------------------------------------------------------------
    @property
    def client(self) -> Client:
        if not self._clients:
            client = Client(self.address)
            client.open()
            self._clients.append(client)
        return self._clients[0]

    def events(self) -> Iterator[Event]:
        """Yield the events of the journal, from its first record on."""
        for record in read_records(self.store):
            yield from decode(record.payload)

    def completions(self, run: str) -> dict[str, int]:
        """Return job -> number of times that the journal records it as COMPLETED."""
        names: dict[int, str] = {}
        counts: dict[str, int] = {}
        for event in self.events():
            if isinstance(event, (RunSubmitted, RunGrown)) and event.run == run:
                names.update(enumerate(event.ids, event.first_job))
            elif isinstance(event, JobsCompleted):
                for number in event.jobs:
                    if number in names:
                        counts[names[number]] = counts.get(names[number], 0) + 1
        return counts

    def output(self, target: str, *, stream: int = 0, attempt: int | None = None) -> bytes:
        """Return the output of RUN/JOB in the order of arrival: of stdout (1), of stderr (2), or of
        both (0)."""
        return b"".join(data for number, data in self.client.logs(target, attempt=attempt) if stream in (0, number))

    def printed(self, run: Run | str, job: str) -> str:
        """The standard output of a job, as text."""
        return self.output(f"{run if isinstance(run, str) else run.id}/{job}", stream=1).decode()

    def states(self, run: str) -> dict[str, str]:
        """The state of each job of a run."""
        return {job.id: job.state for job in self.client.status(run).jobs}

    # -- the end -----------------------------------------------------------------------------------
    def close(self) -> None:
        """Kill all processes that the test started. Raises AssertionError if they leave other
        processes behind."""
        for client in self._clients:
            client.close()
        for spawned in reversed(self._all):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(spawned.pid, signal.SIGKILL)
            spawned.popen.wait()
        give_up = time.monotonic() + 5.0
        while (left := processes_below(self.base)) and time.monotonic() < give_up:
            time.sleep(POLL_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"processes are left: {left}"


@contextlib.contextmanager
def cluster(
    base: Path, *workers: str, slots: int = 2, settings: Mapping[str, float] = QUIET, options: Sequence[str] = ()
) -> Iterator[Cluster]:
    """Run a master and registered workers of these names for the duration of the context."""
    made = Cluster(base, settings)
    try:
        made.start_master(*options)
        made.start_workers(*workers, slots=slots)
        yield made
    finally:
        made.close()


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
