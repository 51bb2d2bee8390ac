"""The worker's side of a warden: the link starts the warden, batches orders, passes reports on, and
notices the warden's death.

The link owns the warden process and the stream to it. It does not know the purpose of a job. The
link's owner chooses the keys and interprets the reports. On the stream, orders and reports are the
tuples that `titan.worker.isolated.warden` describes. In the interface of the link they are values
of `processes.orders` and `processes.reports`.

    link = WardenLink(on_reports=take, on_died=start_a_new_one)
    link.launch()
    options = ProcessOptions(cwd="/src", env={"PATH": "/bin", "TITAN_LEASE": "7"}, ...)
    link.start(7, Command(["make"]), options)
    link.stop(7, grace_s=5)
    await link.close()

The link watches the warden while the warden has jobs. It kills a warden that is stopped (SIGSTOP)
or does not answer, and handles this like any other death. Without jobs there is no watch, so an
idle worker is not woken. The next order starts the watch again.

Limits: a message has at most 64 MiB. The link answers a larger order with a `Refused` report. While
output is paused the link reads no reports, not even the end of a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from titan.errors import Bug, EnvironmentFault
from titan.host.core_dumps import core_dumps_as_before
from titan.host.privacy import umask_before
from titan.worker.isolated import warden, warm
from titan.worker.isolated.capture import Capture
from titan.worker.isolated.job_pipes import NOTE_BYTES, HeldPipes
from titan.worker.isolated.masking import MaskedCapture, Masker, Patterns
from titan.worker.isolated.orders import pack_orders
from titan.worker.isolated.processes import (
    Process,
    become_subreaper,
    children_by_parent,
    environ_value,
    kill,
    read_process,
    scan_processes,
    subtree,
)
from titan.worker.isolated.reports import FRAME_BYTES, take_reports
from titan.worker.processes.orders import ProcessOptions, Program, Script
from titan.worker.processes.reports import LAST, Refused, Report, typed
from titan.worker.processes.stream import LocalStream

__all__ = ["WardenLink", "become_subreaper", "kill_descendants", "kill_marked"]

CLOSE_S = 4.0  # the warden's own bound for killing everything is 2 s
DEATH_POLL_S = 0.005
DEATH_POLLS = 400
KILL_S = 2.0
WATCH_S = 1.0
STOPPED_LOOKS = 2
"""A warden that is found stopped in this many checks in a row is killed. One check is not enough,
because a debugger or a shell may stop a process for a moment."""
SILENT_LOOKS = 10
"""A warden that has not answered in this many checks in a row is killed. Checks are counted instead
of seconds, because a worker that was itself stopped could not read the answers."""
HOME_MARK = b"TITAN_WORKER_HOME"
# Equivalent to `python warden.py FD`, but an imported module has its bytecode cached, which saves
# 8 ms and 2 MB. The folder is removed from the path again, so that no module in it can shadow one
# of the standard library.
BOOT = "import sys; sys.path.append(sys.argv[1]); from warden import main; sys.path.pop(); main(sys.argv[2])"

# A warm warden starts in two stages. The first stage runs with -I and -S, like a plain warden, and
# executes the second stage in the same interpreter without these options. The second stage removes
# the folder that -c puts on the path. It passes its own code object, and the names of the modules
# that a plain interpreter has imported, to `titan.worker.isolated.warm`.
WARM_STAGE = "import sys; sys.path.append(sys.argv[1]); from warden import enter; enter(sys.argv[2:])"
WARM_BOOT = """\
import sys
base = set(sys.modules)
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]
sys.path.append(sys.argv[1])
no_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, False
import script_exit, warden
from warm import serve
sys.dont_write_bytecode = no_bytecode
sys.path.pop()
sys.path_importer_cache.pop(sys.argv[1], None)
serve(sys.argv[2], sys.argv[3:], sys._getframe().f_code, base)
"""

HELD_SHARE = 8
"""For each warden, the worker holds the pipes of at most N / HELD_SHARE jobs. N is the worker's
limit on descriptors. The pipes of a job take two of them."""

log = logging.getLogger("titan.worker")


class _Logs(NamedTuple):
    """Log files of a job, and the rules for writing them."""

    stdout: str
    stderr: str
    limit: int
    masks: Sequence[bytes]


class WardenLink:
    """Link to one warden. A link cannot be used after `on_died` or `close`."""

    def __init__(
        self,
        *,
        on_reports: Callable[[list[Report]], None],
        on_died: Callable[[int], None],
        env: Mapping[str, str] | None = None,
        python: str | None = None,
        preload: Sequence[str] = (),
        jobs_env: Mapping[str, str] | None = None,
    ) -> None:
        """Create a link without a process.

        `on_died(returncode)` is called once if the warden ends without `close`. The owner then has
        to kill the warden's jobs with `kill_descendants`. Until `on_died` returns, the owner can
        call `begun` for the jobs that had a process, and `salvage` for their unreported output.

        `env` is the environment of the warden itself (default: that of this process), not of its
        jobs. It should have TITAN_WORKER_HOME, so that `kill_marked` finds the warden too.
        `jobs_env` is added to the environment of every job.

        `python` is the path of an interpreter, which need not have Titan installed. If `python` is
        given, the warden is warm: it runs a script in a fork instead of a new interpreter. A script
        can be forked only if the job's environment agrees with `env` in the variables that Python
        reads at its start. `preload` names modules that a warm warden imports first.
        """
        self._on_reports = on_reports
        self._on_died = on_died
        self._env = env
        self._python = python
        self._preload = tuple(preload)
        self._jobs_env = dict(jobs_env or {})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: LocalStream | None = None
        self._orders: list[tuple[Any, ...]] = []
        self._paused = False
        self._closing = False
        self._ended: asyncio.Future[None] | None = None
        self._logs: dict[int, _Logs] = {}  # of jobs that were ordered and have not ended
        self._pipes: HeldPipes | None = None
        self._watching = False
        self._heard = True  # True if a report has arrived since the last check
        # numbers of consecutive checks that found the warden stopped, and that found it silent
        self._stopped = self._silent = 0
        self.ready = False
        """True after the warden has sent its first report. It then executes orders without
        delay."""

    @property
    def pid(self) -> int:
        """The warden's pid, 0 before `launch`."""
        return self._process.pid if self._process is not None else 0

    @property
    def load(self) -> int:
        """Number of jobs that were ordered and have not ended."""
        return len(self._logs)

    def launch(self) -> None:
        """Start the warden. Must be called in a running event loop.

        The call takes a millisecond or two. The warden is ready some 20 ms later, and orders wait
        until then. Raises EnvironmentFault if no process can be created.
        """
        if self._process is not None:
            raise Bug("a WardenLink was launched twice")
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        python = sys.executable if self._python is None else self._python
        ours, theirs = socket.socketpair()
        taking, handing = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        note = os.memfd_create("titan-warden", os.MFD_CLOEXEC)
        os.ftruncate(note, NOTE_BYTES)
        self._pipes = HeldPipes(taking, note, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // HELD_SHARE)
        fds = (theirs.fileno(), handing.fileno(), note)
        try:
            with core_dumps_as_before():
                self._process = subprocess.Popen(
                    [python, "-I", "-S", "-c", *self._boot(python, ",".join(map(str, fds)))],
                    cwd="/",
                    env=self._warden_env(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=fds,
                    start_new_session=True,
                    umask=umask_before(),
                )
        except OSError as error:
            ours.close()
            self._pipes.close()
            raise EnvironmentFault(f"cannot start the warden with {python}: {error.strerror}") from error
        finally:
            theirs.close()
            handing.close()
            os.close(note)
        ours.setblocking(False)
        self._stream = LocalStream(self._loop, self._on_data, self._on_end)
        self._stream.open(ours)
        self._order(("environment", self._jobs_env))
        self._order(("ping", 0))

    def _boot(self, python: str, fd: str) -> list[str]:
        folder = os.path.dirname(warden.__file__)
        if self._python is None:
            return [BOOT, folder, fd]
        return [WARM_STAGE, folder, python, "-c", WARM_BOOT, folder, fd, *self._preload]

    def _warden_env(self) -> Mapping[str, str] | None:
        if self._python is None:
            return self._env
        return {**(os.environ if self._env is None else self._env), "TITAN_LEASE": warm.LEASE_ROOM}

    # orders
    def start(self, key: int, program: Program, options: ProcessOptions, *, behind: int = 0) -> None:
        """Start a process for `program`. A `Script` runs with the interpreter of the warden.

        With `behind` the process starts once the job with that key has ended. If `behind` is 0 or
        not the key of a job, the process starts at once. A process with `masks` cannot be queued
        behind another.
        """
        o = options
        if not (o.cwd.startswith("/") and o.stdout_path.startswith("/") and o.stderr_path.startswith("/")):
            raise Bug(f"a path of job {key} is relative: {o.cwd}, {o.stdout_path}, {o.stderr_path}")
        limits = None if o.rlimits is None else dict(o.rlimits)
        where = (o.cwd, dict(o.env), o.stdout_path, o.stderr_path, o.log_limit, o.grace_s, limits)
        order: tuple[Any, ...]
        if isinstance(program, Script):
            order = ("script", key, program.path, list(program.args), *where, program.content_hash)
        else:
            order = ("start", key, list(program.argv), *where)
        self._logs[key] = _Logs(o.stdout_path, o.stderr_path, o.log_limit, o.masks)
        if o.masks:
            if behind:
                raise Bug(f"job {key}, which has secrets, is ordered behind {behind}")
            order = ("masked", list(o.masks), order)
        self._order(("behind", behind, order) if behind else order)

    def withdraw(self, key: int) -> None:
        """Drop a job that is queued behind another job. The warden then reports `Withdrawn`. A job
        that has begun goes on, without a report."""
        self._order(("withdraw", key))

    def stop(self, key: int, grace_s: float | None = None) -> None:
        """Send SIGTERM to a job, and SIGKILL after `grace_s` (None: the grace period of `start`). A
        `grace_s` of 0 kills at once. The key of an unknown or ended job is ignored."""
        self._order(("stop", key, grace_s))

    def pause_output(self) -> None:
        """Stop reading reports of any kind. When the warden's buffer is full, jobs block on their
        output."""
        if not self._paused and self._stream is not None:
            self._stream.pause()
        self._paused = True

    def resume_output(self) -> None:
        if self._paused and self._stream is not None:
            self._stream.resume()
        self._paused = False
        if self._logs:
            self._watch()

    async def close(self) -> None:
        """Kill all jobs and end the warden. Reports that come meanwhile are dropped. A warden that
        has not ended after 4 s is killed."""
        if self._process is None or self._ended is None or self._closing:
            return
        self._closing = True
        self._order(("quit",))
        self.resume_output()
        try:
            await asyncio.wait_for(asyncio.shield(self._ended), CLOSE_S)
        except TimeoutError:
            await asyncio.to_thread(kill_descendants, self._process.pid)
            self._process.kill()
            self._hang_up()
        # Do not wait for ever, because the kernel may not release the process: see `_await_death`.
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, KILL_S)
        assert self._pipes is not None
        self._pipes.close()

    def _order(self, order: tuple[Any, ...]) -> None:
        if self._loop is None:
            raise Bug("an order was given to a warden that was never launched")
        if not self._orders:
            self._loop.call_soon(self._send_orders)
            self._watch()
        self._orders.append(order)

    def _send_orders(self) -> None:
        orders, self._orders = self._orders, []
        self._pack(orders)
        assert self._stream is not None
        self._stream.flush()

    def _pack(self, orders: list[tuple[Any, ...]]) -> None:
        message = pack_orders(orders)
        if len(message) - 4 <= FRAME_BYTES:
            assert self._stream is not None
            self._stream.add(message)
        elif len(orders) > 1:
            self._pack(orders[: len(orders) // 2])
            self._pack(orders[len(orders) // 2 :])
        else:
            key = orders[0][2][1] if orders[0][0] in ("behind", "masked") else orders[0][1]
            text = f"the order to start this job takes {len(message)} bytes; the limit is {FRAME_BYTES}"
            self._take([Refused(key, errno.E2BIG, text)])

    # the stream
    def _on_data(self, inbox: bytearray) -> None:
        try:
            taken = take_reports(inbox)
            reports = [typed(report) for report in taken if report[0] != "pong"]
        except ValueError:  # only a broken warden sends invalid reports
            assert self._process is not None
            self._process.kill()
            self._on_end()
            return
        if taken:
            self._heard = self.ready = True
            self._take(reports)

    def _take(self, reports: list[Report]) -> None:
        if self._pipes is not None:
            self._pipes.look()
        for report in reports:
            if isinstance(report, LAST):
                self._logs.pop(report.key, None)
                if self._pipes is not None:
                    self._pipes.release(report.key)
        if reports and not self._closing:
            self._on_reports(reports)

    def _on_end(self) -> None:
        if self._hang_up() and not self._closing:
            self._await_death(DEATH_POLLS)

    def _hang_up(self) -> bool:
        """Close the stream. Return whether it was open."""
        if self._stream is None or self._ended is None or not self._stream.close():
            return False
        if not self._ended.done():
            self._ended.set_result(None)
        return True

    def _await_death(self, polls: int) -> None:
        """Poll until the warden process is dead, then call `on_died`.

        Polling is needed because the stream ends a moment before the process can be reaped. A
        killed process that the kernel does not release, because it waits for a hanging disk, counts
        as dead: it will not execute its own code any more.
        """
        assert self._process is not None
        assert self._loop is not None
        returncode = self._process.poll()
        if returncode is None and polls == 0:
            self._process.kill()
        if returncode is None and polls > -DEATH_POLLS:
            self._loop.call_later(DEATH_POLL_S, self._await_death, polls - 1)
        elif not self._closing:
            self._closing = True
            self._on_died(-signal.SIGKILL if returncode is None else returncode)
            assert self._pipes is not None
            self._pipes.close()

    # after the death of a warden
    def begun(self) -> list[int]:
        """Return the jobs that had a process when the warden died."""
        if self._pipes is None:
            return []
        self._pipes.look()
        return self._pipes.begun()

    def salvage(self) -> list[Report]:
        """Return reports of the output that jobs of a dead warden wrote and the warden did not
        report. To be called in `on_died`, when all processes of the warden are dead too.

        Output that the warden wrote to a log is still in the log. Output that is still in a pipe is
        appended to the log, within the log's limit. Output that the warden had only in memory is
        lost. This is the tail of a log that is at its limit, and output that was held back because
        it might be the beginning of a secret.
        """
        assert self._pipes is not None, "nothing was launched"
        reports: list[tuple[Any, ...]] = []
        for key in self.begun():
            logs, pair = self._logs.get(key), self._pipes.take(key)
            for stream, pipe in enumerate(pair or (), 1):
                if logs is None:
                    os.close(pipe)
                else:
                    _read_out(key, stream, pipe, logs, reports)
        return [typed(report) for report in reports]

    # the watch
    def _watch(self) -> None:
        if not self._watching and self._loop is not None:
            self._watching, self._heard = True, True
            self._stopped = self._silent = 0
            self._loop.call_later(WATCH_S, self._check_health)

    def _check_health(self) -> None:
        """Check that the warden is alive, is not stopped, and has answered since the last check.
        While there are jobs, the next check follows a second later."""
        assert self._process is not None
        assert self._loop is not None
        self._watching = False
        if self._closing or self._paused or (self._heard and not self._logs):
            return
        process = read_process(self._process.pid)
        self._stopped = self._stopped + 1 if process is not None and process.state == b"T" else 0
        self._silent = 0 if self._heard else self._silent + 1
        if process is None or not process.alive:
            self._on_end()
            return
        if self._stopped >= STOPPED_LOOKS or self._silent >= SILENT_LOOKS:
            condition = "is stopped (SIGSTOP)" if self._stopped else f"has not answered for {SILENT_LOOKS * WATCH_S:g} s"
            log.error("the warden %d %s: it is killed, with all processes under it", self._process.pid, condition)
            self._process.kill()
            self._loop.call_later(DEATH_POLL_S * DEATH_POLLS, self._on_end)
            return
        self._watching, self._heard = True, False
        self._loop.call_later(WATCH_S, self._check_health)
        if not self._silent:
            self._order(("ping", 0))


# -- the cleanup after a dead warden or worker -----------------------------------------------------
def _read_out(key: int, stream: int, pipe: int, logs: _Logs, reports: list[tuple[Any, ...]]) -> None:
    """Copy the rest of `pipe` to its log, add reports of this output, and close the pipe.

    For output that is already in the log, an empty output at the log's end is reported. A receiver
    that missed some of it then reads it from the log.
    """
    path = logs.stdout if stream == 1 else logs.stderr
    try:
        size = os.stat(path).st_size
    except OSError:  # there is no log, because no output came so far
        size = 0
    if size:
        reports.append(("output", key, stream, size, 0, b""))
    capture = (
        MaskedCapture(key, stream, pipe, path, logs.limit, Masker(Patterns(logs.masks), begun=False), size)
        if logs.masks
        else Capture(key, stream, pipe, path, logs.limit, size)
    )
    capture.pump(reports, warden.DRAIN_BYTES)
    capture.finish(reports)


def kill_descendants(root_pid: int, *, except_pids: Collection[int] = ()) -> int:
    """Send SIGKILL to every descendant of `root_pid`, but not to `root_pid` itself, until none is
    alive or 2 s have passed. Return the number of killed processes.

    Processes in `except_pids` and all their descendants are not killed. After the death of a warden
    the worker calls the function with its own pid: as a subreaper, it is the parent of the warden's
    orphans. `except_pids` then has to list its other children, such as other wardens. Killed
    children of this process are reaped. The function blocks, so call it in a thread, or when no
    other work can go on.
    """

    def targets(processes: dict[int, Process]) -> list[int]:
        return subtree(children_by_parent(processes), root_pid, except_pids)[1:]

    return _kill_until_none(targets)


def kill_marked(home_marker: str) -> int:
    """Send SIGKILL to every process with TITAN_WORKER_HOME=`home_marker` in its environment, and to
    all descendants of such a process, until none is alive or 2 s have passed. Return the number of
    killed processes.

    A worker calls this at its start, before it has children. The function kills the processes that
    an earlier worker and its warden left behind when both were killed. This process and its
    ancestors are not killed. The function does not find processes of other users, or processes with
    a cleared environment whose ancestors have all ended.
    """
    mark = os.fsencode(home_marker)

    def targets(processes: dict[int, Process]) -> list[int]:
        spared = _lineage(processes)
        children = children_by_parent(processes)
        marked = [pid for pid in processes if pid not in spared and environ_value(pid, HOME_MARK) == mark]
        return list(dict.fromkeys(pid for root in marked for pid in subtree(children, root, spared)))

    return _kill_until_none(targets)


def _lineage(processes: Mapping[int, Process]) -> set[int]:
    pid, found = os.getpid(), set[int]()
    while pid in processes and pid not in found:
        found.add(pid)
        pid = processes[pid].parent
    return found


def _kill_until_none(targets: Callable[[dict[int, Process]], list[int]]) -> int:
    killed: set[int] = set()
    give_up = time.monotonic() + KILL_S
    while True:
        processes = scan_processes()
        alive = [pid for pid in targets(processes) if processes[pid].alive]
        # `targets` may no longer find a process that was killed but is not dead yet, because its
        # ancestors may be gone.
        dying = [pid for pid in killed if pid in processes and processes[pid].alive]
        killed.update(pid for pid in alive if kill(pid))
        for pid in killed:
            if pid in processes and processes[pid].parent == os.getpid():
                _reap(pid)
        if not (alive or dying) or time.monotonic() >= give_up:
            return len(killed)
        time.sleep(0.002)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # the code that started the process has reaped it
        pass
