"""Warden: a small process of a worker that starts the processes of jobs, captures their output,
reaps them and kills them.

The warden guarantees that no process of a job outlives the job, the worker, or an orderly exit of
the warden. It knows nothing of runs, attempts, retries or the master: for the warden, a job is an
integer key. It has to stay small and start fast, and it runs as `python -I -S warden.py FDS` (or as
`main(FDS)` from cached bytecode). So it imports nothing of Titan outside of this folder, and as
little as possible of the standard library. A warm warden is a warden with a `warm.Warm`: it runs
scripts by forking itself.

FDS are three descriptors separated by commas: FD for the protocol, and two for `job_pipes.Pipes`,
which are optional.

Protocol: FD is one end of an AF_UNIX stream. Orders are tuples in the encoding of `orders`. Reports
have only plain fields, in the encoding of `reports`: processes of users can reach the warden, so
the worker reads its reports without executing code. Text is UTF-8 with surrogateescape. Times are
`time.monotonic()` in seconds.

Orders
    ("environment", env)
        Set the environment of all later jobs. The `env` of a job overrides it.
    ("start", key, argv, cwd, env, stdout_path, stderr_path, log_limit, grace_s, rlimits or None)
        Start a process. `limits` describes rlimits.
    ("script", key, path, args, cwd, env, stdout_path, stderr_path, log_limit, grace_s,
     rlimits or None, content_hash)
        Like "start" with [sys.executable, path, *args], but in a fork if the warden is warm and the
        script can be forked. Scripts with the same `content_hash` are compiled only once. With ""
        the script is compiled each time.
    ("masked", patterns, order)
        Carry out the order "start" or "script", and mask these byte strings in the job's output.
    ("behind", other, order)
        Carry out the order "start" or "script" when job `other` has ended, or at once if this
        warden does not have that job.
    ("withdraw", key)
        Drop the order of a job that is still queued behind another job.
    ("stop", key, grace_s or None)
        Send SIGTERM to the job's process group, and after the grace period SIGKILL to all
        processes of the job. 0 kills at once. None means the grace period of the start order. A job
        that is queued behind another job is dropped.
    ("ping", number)
        Answer "pong". The answer tells the worker that the warden is neither stopped nor stuck.
    ("quit",)
        Kill all processes and exit. The end of the stream has the same effect.
Reports, batched per turn of the loop ("started" waits up to 5 ms for further reports)
    ("started", key, pid, at_s)
    ("refused", key, errno, message)
    ("withdrawn", key)
        The job was queued behind another job, and will not begin.
    ("pong", number)
    ("output", key, stream, offset, skipped, data)
        `data` was just written to the log of stream 1 or 2 at `offset`.
    ("log_failed", key, stream, errno, message)
        The log cannot be written. From now on the stream's output is read and dropped. Reported
        once per stream.
    ("exited", key, exit_code, at_s, cpu_s, peak_rss_bytes, dropped_stdout, dropped_stderr,
     leftover_killed)

A job is over when its main process has ended. The warden then kills the job's process group, reads
the rest of the pipes, and sends "exited" after all "output" of the job. After a death by a signal,
`exit_code` is the negative signal number. `peak_rss_bytes` is never below the size of the warden,
because the kernel also counts the memory that the process had before exec.

Owner of a process: the warden is a subreaper. So a descendant of a job becomes a direct child of
the warden when its parent ends, even if it left its process group (setsid, double fork). Such an
orphan belongs to
    1. the running job whose main process leads the orphan's session. This is certain, because
       no process can join a session from outside;
    2. else the job that TITAN_LEASE in the orphan's environment names;
    3. else (the environment was cleared or overwritten) possibly any running job that was started
       before the orphan was born.
A sweep after a job's end kills the orphans that no running job can own, and their descendants. So
the sweep never kills a background process of a running job. A process with a new session and a
cleared environment lives at most as long as the jobs that ran when it was born.

Secrets: a job whose output is masked has secrets in its environment, and the warden and its forks
may have these secrets in memory. So from the first such job on, the warden, its forks and jobs with
secrets write no core dumps. Executed jobs without secrets keep the previous limit on core dumps.

Limits: a log has at most `log_limit` bytes, the head and the tail of the output (see Capture). A
turn reads at most 64 KiB from each of 16 pipes. Above 1 MiB of unsent reports the warden reads no
pipe until the worker has read reports. Jobs then block on their output, while orders, exits and
kills go on. On a hanging file system, exec, chdir or a write to a log can block the warden.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import sys
import time

# The `signal` module is a Python wrapper that imports enum and re, only to give signal numbers
# names. Its import would take a third of the start-up time.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import Any

    from titan.worker.isolated.warm import Warm
else:
    import _signal as signal

if TYPE_CHECKING or __package__:
    from titan.worker.isolated.capture import Capture
    from titan.worker.isolated.job_pipes import BATCH, Pipes
    from titan.worker.isolated.masking import MaskedCapture, Masker, Patterns
    from titan.worker.isolated.orders import take_orders
    from titan.worker.isolated.processes import (
        Process,
        become_subreaper,
        children_by_parent,
        environ_value,
        kill,
        read_process,
        scan_processes,
        signal_group,
        subtree,
    )
    from titan.worker.isolated.reports import pack_reports
    from titan.worker.isolated.spawning import Refused, encode, setter, spawn
else:  # in a process without Titan these modules are beside this file
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    from capture import Capture
    from job_pipes import BATCH, Pipes
    from masking import MaskedCapture, Masker, Patterns
    from orders import take_orders
    from processes import (
        Process,
        become_subreaper,
        children_by_parent,
        environ_value,
        kill,
        read_process,
        scan_processes,
        signal_group,
        subtree,
    )
    from reports import pack_reports
    from spawning import Refused, encode, setter, spawn

    sys.path.pop()

KIB = 1024
READ_BYTES = 64 * KIB
PIPES_PER_TURN = 16
# Number of bytes that are read from each stream at a job's end. An unprivileged process cannot
# create a larger pipe.
DRAIN_BYTES = 1024 * KIB
BACKLOG_BYTES = 1024 * KIB
OPEN_FILES = 64 * KIB
NO_CORE = 1  # soft limit on core dumps; unlike 0 it also applies if the kernel pipes core dumps to a program
FILES_PER_JOB, FILES_SPARE = 6, 64 + 4 * BATCH
STARTED_S = 0.005  # longest delay of "started", so that the start and the end of a quick job go in one message
CLOSE_S = 0.2  # time after a job's end for which a process that left the group may hold the job's pipes open
SWEEP_DELAY_S = 0.25
SWEEP_EVERY_S = 1.0
KILL_PASSES = 16
KILL_ALL_S = 2.0
LEASE = b"TITAN_LEASE"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def signal_job(job: Job, number: int) -> None:
    """Send a signal to the process group of a running job. If a job that was just forked has no
    group yet, send it to the main process."""
    if not signal_group(job.pid, number) and job.end is None:
        try:
            os.kill(job.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


# -- one job ---------------------------------------------------------------------------------------
class Job:
    """State of one job, whose process was executed or forked. The job is running until `end` is
    set. Then it is closing until its output is complete, and is dropped."""

    __slots__ = ("born_ticks", "captures", "close_by", "end", "ends", "grace_s", "key", "killed", "pid")

    def __init__(self, key: int, pid: int, grace_s: float, born_ticks: int, captures: Sequence[Capture], ends: list[int]) -> None:
        self.key = key
        self.pid = pid  # pid of the main process, which is also the id of its session and its group
        self.grace_s = grace_s
        self.born_ticks = born_ticks
        self.captures = captures
        # Write ends of the pipes. The warden keeps them open, so that a job's end wakes it only
        # once.
        self.ends = ends
        # Pids of the processes, besides the main process, that the warden had to kill.
        self.killed: set[int] = set()
        # exit code, at_s, cpu_s, peak_rss_bytes
        self.end: tuple[int, float, float, int] | None = None
        self.close_by = 0.0

    @property
    def lease(self) -> bytes:
        return b"%d" % self.key


# -- the stream to the worker ----------------------------------------------------------------------
class WorkerGone(Exception):
    """The stream ended or broke, or carried an invalid message."""


class Channel:
    """Messages over a nonblocking stream. `outbox` has the bytes that the worker has not read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.outbox = bytearray()
        self._inbox = bytearray()

    def receive(self) -> list[tuple[Any, ...]]:
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise WorkerGone from error
        if not data:
            raise WorkerGone
        self._inbox += data
        try:
            return take_orders(self._inbox)
        except (ValueError, EOFError, TypeError) as error:
            raise WorkerGone from error

    def send(self, reports: list[tuple[Any, ...]]) -> None:
        self.outbox += pack_reports(reports)
        self.flush()

    def flush(self) -> None:
        try:
            while self.outbox:
                with memoryview(self.outbox) as whole, whole[: 4 * READ_BYTES] as part:
                    sent = os.write(self.fd, part)
                del self.outbox[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            raise WorkerGone from error


# -- the loop --------------------------------------------------------------------------------------
class Warden:
    """Event loop of the warden. Inputs are orders, output of jobs, ends of children and due times.
    The loop sends reports. It has one thread, and only disk accesses and exec can block it."""

    def __init__(self, fds: tuple[int, ...], warm: Warm | None = None) -> None:
        self.warm = warm
        self.jobs: dict[int, Job] = {}  # key -> running or closing job
        self.mains: dict[int, Job] = {}  # pid -> running job
        self.leases: dict[bytes, Job] = {}  # TITAN_LEASE -> running job
        self.closing: dict[int, Job] = {}  # key -> job whose main process ended and whose output is incomplete
        self.kill_due: dict[int, float] = {}  # key of a job to be stopped -> end of its grace period
        self.doomed: list[Job] = []  # jobs to be killed in this turn
        self.readers: dict[int, Capture] = {}
        self.environment: dict[str, bytes] = {}  # environment of every job: name -> NAME=VALUE
        # key -> start orders that are queued behind this job
        self.behind: dict[int, list[tuple[Any, ...]]] = {}
        # orders that were received and not carried out yet, the next one last
        self.orders: list[tuple[Any, ...]] = []
        self.masks: dict[int, Patterns] = {}  # key of the job that the next order starts -> its patterns
        # soft limit on core dumps for jobs without secrets, None if it is that of this process
        self.core: int | None = None
        # arguments of `_begun` for the script that is about to be forked
        self.forking: tuple[Any, ...] = ()
        self.reports: list[tuple[Any, ...]] = []
        self.held_since = 0.0  # time of the first unsent report
        self.sweep_due: float | None = None
        self.swept_at = -SWEEP_EVERY_S
        self.channel = Channel(fds[0])
        self.job_pipes = Pipes(*fds[1:])
        self.pid = os.getpid()
        self.stdin = os.open(os.devnull, os.O_RDONLY)
        # The warden has many open pipes and logs, and raises its own limit when needed. Jobs get
        # the limit that the warden got from the worker.
        self.open_files, self.most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.raised = False
        self._watch()

    def _watch(self) -> None:
        self.child_ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, ignore)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self.poll = select.epoll()
        # The pipes have an epoll of their own, which is registered in the first one. If it is
        # unregistered, the warden reads none of the pipes.
        self.pipes = select.epoll()
        self.pipes_fd = self.pipes.fileno()
        self.reading = True
        self.writing = False
        for fd in (self.channel.fd, self.child_ended, self.pipes_fd):
            self.poll.register(fd, select.EPOLLIN)
        # The end of the stream shows that the worker is gone, unless a child of the worker has a
        # copy of the worker's end. The worker's pidfd shows it in any case.
        try:
            self.poll.register(os.pidfd_open(os.getppid()), select.EPOLLIN)
        except OSError:  # the worker is already gone, or the kernel has no pidfds
            pass

    def run(self) -> bool:
        """Serve until the worker sends "quit" or is gone. Then kill all processes and return False.
        An error in this code kills all processes too.

        Return True if the caller has to fork for a script. The caller forks instead of this method,
        so that the child has no frames of the loop. The caller then calls `on_forked`, and `run`
        again.
        """
        going = False
        try:
            while not self.forking and self.turn():
                pass
            going = bool(self.forking)
        except WorkerGone:
            pass
        finally:
            if not going:
                self.kill_everything()
        return going

    def turn(self) -> bool:
        if self.orders:
            return self.on_orders()
        ready = {fd for fd, _ in self.poll.poll(self._wait_s())}
        if self.channel.fd in ready:
            self.orders = self.channel.receive()
            self.orders.reverse()
            if not self.on_orders():
                return False
            if self.forking:
                return True
        if self.pipes_fd in ready:
            self.on_output()
        if self.child_ended in ready:
            os.read(self.child_ended, READ_BYTES)
            self.on_children_ended()
        if not ready.issubset((self.channel.fd, self.child_ended, self.pipes_fd)):
            return False  # the worker's pidfd is ready, so the worker is gone
        self.on_due(time.monotonic())
        if self.doomed:
            self.kill_jobs(self.doomed)
            self.doomed = []
        self._send()
        return True

    def _wait_s(self) -> float | None:
        due = [*self.kill_due.values(), *(job.close_by for job in self.closing.values())]
        if self.sweep_due is not None:
            due.append(self.sweep_due)
        if self.reports:
            due.append(self.held_since + STARTED_S)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _send(self) -> None:
        if self.reports:
            if self.reports[-1][0] == "started" and not self.writing and time.monotonic() < self.held_since + STARTED_S:
                return
            self.channel.send(self.reports)
            self.reports = []
        elif self.writing:
            self.channel.flush()
        backlog = len(self.channel.outbox)
        if self.writing != (backlog > 0):
            self.writing = backlog > 0
            self.poll.modify(self.channel.fd, select.EPOLLIN | select.EPOLLOUT if self.writing else select.EPOLLIN)
        if self.reading and backlog > BACKLOG_BYTES:
            self.poll.unregister(self.pipes_fd)
            self.reading = False
        elif not self.reading and backlog <= BACKLOG_BYTES // 2:
            self.poll.register(self.pipes_fd, select.EPOLLIN)
            self.reading = True

    # orders
    def on_orders(self) -> bool:
        while self.orders and not self.forking:
            name, *fields = self.orders.pop()
            if name == "start":
                self.on_start(*fields)
            elif name == "script":
                self.on_script(*fields)
            elif name == "behind":
                self.on_behind(*fields)
            elif name == "masked":
                self.on_masked(*fields)
            elif name == "stop":
                self.on_stop(*fields)
            elif name == "withdraw":
                self.withdraw(*fields)
            elif name == "environment":
                self.environment = {key: encode(f"{key}={value}") for key, value in fields[0].items()}
                if self.warm is not None:
                    self.warm.on_environment(fields[0])
            elif name == "ping":
                self.reports.append(("pong", *fields))
            elif name == "quit":
                return False
        return True

    def on_behind(self, other: int, order: tuple[Any, ...]) -> None:
        if other in self.jobs:
            self.behind.setdefault(other, []).append(order)
        else:
            self.orders.append(order)

    def on_masked(self, patterns: list[bytes], order: tuple[Any, ...]) -> None:
        if self.core is None:
            self.core, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (NO_CORE if hard < 0 else min(NO_CORE, hard), hard))
        self.masks[order[1]] = Patterns(patterns)
        self.orders.append(order)

    def withdraw(self, key: int) -> None:
        for other, orders in self.behind.items():
            for order in orders:
                if order[1] == key:
                    orders.remove(order)
                    if not orders:
                        del self.behind[other]
                    self.reports.append(("withdrawn", key))
                    return

    def on_script(self, key: int, path: str, args: list[str], *how: Any) -> None:
        self.on_start(key, [sys.executable, path, *args], *how[:-1], script=(path, args, how[-1]))

    def on_start(
        self,
        key: int,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        stdout_path: str,
        stderr_path: str,
        log_limit: int,
        grace_s: float,
        rlimits: dict[str, Any] | None,
        *,
        script: Any = None,
    ) -> None:
        """Start a process. `script` has the path, arguments and content hash of a script. If
        possible, the script runs in a fork of the warden instead of a new interpreter."""
        masks = self.masks.pop(key, None)
        ends = self._open(key)
        if not ends:
            return
        begun = (key, ends, (stdout_path, stderr_path), log_limit, grace_s, masks)
        options: Any = {"stdio": (self.stdin, ends[1], ends[3]), "open_files": self.open_files}
        try:
            warm = self.warm if script is not None else None
            if warm is not None and warm.prepare(script, cwd, env, set_limits=setter(rlimits), **options):
                self.forking = begun
                return
            core = self.core if masks is None else None
            pid = spawn(argv, cwd, env, base=self.environment, rlimits=rlimits, core=core, **options)
        except (Refused, OSError) as error:
            self._refuse(key, ends, error)
        else:
            self._begun(pid, *begun)

    def on_forked(self, pid: int | OSError) -> None:
        """Handle the result of the fork that `run` asked for: the pid of the child, or the
        error."""
        begun, self.forking = self.forking, ()
        if isinstance(pid, OSError):
            self._refuse(begun[0], begun[1], pid)
        else:
            self._begun(pid, *begun)

    def _open(self, key: int) -> list[int]:
        """Return the pipes for a new job: both ends for stdout, then for stderr. Return an empty
        list if the job was refused. Also record the start time of the job, which must not be later
        than the birth of its process."""
        if key in self.jobs:
            self.reports.append(("refused", key, errno.EEXIST, f"a job with the key {key} is running"))
            return []
        if not self.raised and len(self.jobs) * FILES_PER_JOB + FILES_SPARE > self.open_files:
            most, self.raised = OPEN_FILES if self.most_files < 0 else min(OPEN_FILES, self.most_files), True
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(self.open_files, most), self.most_files))
        # The times are taken before the process exists, so that its recorded duration is never too
        # short.
        self.born_s = time.monotonic()
        self.born_ticks = int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S)
        try:
            return self.job_pipes.take(key)
        except OSError as error:
            self._refuse(key, [], error)
            return []

    def _refuse(self, key: int, ends: list[int], error: Refused | OSError) -> None:
        code = error.code if isinstance(error, Refused) else error.errno or errno.EIO
        self.reports.append(("refused", key, code, str(error)))
        for fd in ends:
            os.close(fd)

    def _begun(
        self,
        pid: int,
        key: int,
        ends: list[int],
        paths: tuple[str, str],
        log_limit: int,
        grace_s: float,
        masks: Patterns | None,
    ) -> None:
        captures: tuple[Capture, Capture]
        if masks is None:
            captures = (Capture(key, 1, ends[0], paths[0], log_limit), Capture(key, 2, ends[2], paths[1], log_limit))
        else:
            captures = (
                MaskedCapture(key, 1, ends[0], paths[0], log_limit, Masker(masks)),
                MaskedCapture(key, 2, ends[2], paths[1], log_limit, Masker(masks)),
            )
        job = Job(key, pid, grace_s, self.born_ticks, captures, ends[1::2])
        self.jobs[key] = self.mains[pid] = self.leases[job.lease] = job
        for capture in captures:
            os.set_blocking(capture.pipe, False)
            self.readers[capture.pipe] = capture
            self.pipes.register(capture.pipe, select.EPOLLIN)
            capture.polled_by = self.pipes
        if not self.reports:
            self.held_since = time.monotonic()
        self.reports.append(("started", key, pid, self.born_s))

    def on_stop(self, key: int, grace_s: float | None) -> None:
        job = self.jobs.get(key)
        if job is None:
            self.withdraw(key)
        if job is None or job.end is not None:
            return  # there is no such job, or its "exited" follows soon
        grace_s = job.grace_s if grace_s is None else grace_s
        if grace_s <= 0:
            self.kill_due.pop(key, None)
            self.doomed.append(job)
            return
        due = time.monotonic() + grace_s
        if key not in self.kill_due:
            signal_job(job, signal.SIGTERM)
            signal_job(job, signal.SIGCONT)  # a process that is stopped (SIGSTOP) could not react to SIGTERM
        self.kill_due[key] = min(due, self.kill_due.get(key, due))

    # output
    def on_output(self) -> None:
        # The kernel returns ready pipes in rotation. So no pipe starves, although a turn reads only
        # PIPES_PER_TURN of them.
        for fd, _ in self.pipes.poll(0, PIPES_PER_TURN):
            capture = self.readers.get(fd)
            if capture is None:
                continue
            self._pump(capture, READ_BYTES)
            if capture.pipe < 0:
                for job in [job for job in self.closing.values() if capture in job.captures]:
                    self.close(job)

    def _pump(self, capture: Capture, budget: int) -> None:
        fd = capture.pipe
        capture.pump(self.reports, budget)
        if capture.pipe < 0:
            self.readers.pop(fd, None)

    # ends
    def on_children_ended(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            job = self.mains.get(ended.si_pid)
            if job is None:
                self.on_orphan_ended(ended.si_pid, by_kill=ended.si_status == signal.SIGKILL and ended.si_code != os.CLD_EXITED)
            else:
                self.on_main_ended(job)

    def on_main_ended(self, job: Job) -> None:
        # Kill the group before the main process is reaped: until then no other group can have its
        # id.
        signal_group(job.pid, signal.SIGKILL)
        _, status, usage = os.wait4(job.pid, 0)
        for fd in job.ends:
            os.close(fd)
        job.end = (os.waitstatus_to_exitcode(status), time.monotonic(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * KIB)
        job.close_by = time.monotonic() + CLOSE_S
        del self.mains[job.pid], self.leases[job.lease]
        self.kill_due.pop(job.key, None)
        self.closing[job.key] = job
        self._sweep_at(time.monotonic() + SWEEP_DELAY_S)
        self.close(job)

    def on_orphan_ended(self, pid: int, *, by_kill: bool) -> None:
        process = read_process(pid) if self.closing and by_kill else None
        os.waitpid(pid, 0)
        if process is not None:
            for job in [job for job in self.closing.values() if job.pid == process.group or pid in job.killed]:
                job.killed.add(pid)
                self.close(job)

    def close(self, job: Job, *, at_once: bool = False) -> None:
        """Report the end of a job if all of its output is read and its processes are dead,
        otherwise return and wait for that. With `at_once` report the end in any case."""
        assert job.end is not None, f"job {job.key} is closed while it runs"
        for capture in job.captures:
            self._pump(capture, DRAIN_BYTES)
        if not at_once:
            if signal_group(job.pid, 0):
                return
            if job.captures[0].pipe >= 0 or job.captures[1].pipe >= 0:
                self._sweep_at(time.monotonic())  # a process that left the group still has the pipe open
                return
        for capture in job.captures:
            self.readers.pop(capture.pipe, None)
            capture.finish(self.reports)
        del self.closing[job.key], self.jobs[job.key]
        dropped = (job.captures[0].dropped, job.captures[1].dropped)
        self.reports.append(("exited", job.key, *job.end, *dropped, len(job.killed)))
        self.orders.extend(self.behind.pop(job.key, ()))

    # due times
    def on_due(self, now: float) -> None:
        for key in [key for key, due in self.kill_due.items() if due <= now]:
            del self.kill_due[key]
            self.doomed.append(self.jobs[key])
        if self.sweep_due is not None and self.sweep_due <= now:
            self.sweep(now)
        for job in [job for job in self.closing.values() if job.close_by <= now]:
            self.close(job, at_once=True)

    def _sweep_at(self, due: float) -> None:
        due = max(due, self.swept_at + SWEEP_EVERY_S)
        self.sweep_due = due if self.sweep_due is None else min(due, self.sweep_due)

    # kills
    def sweep(self, now: float) -> None:
        """Kill the orphans that no running job can own, by the rule in the module's docstring."""
        self.sweep_due = None
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return  # there are no children
        self.swept_at = now
        processes = scan_processes()
        children = children_by_parent(processes)
        for root in children.get(os.getpid(), ()):
            if root in self.mains or not processes[root].alive:
                continue
            lease = environ_value(root, LEASE)
            if self._may_live(processes[root], lease):
                continue
            closing = next((job for job in self.closing.values() if job.lease == lease), None)
            for pid in subtree(children, root):
                if kill(pid) and closing is not None and processes[pid].alive:
                    closing.killed.add(pid)
            self._sweep_at(now)  # sweep again, because a killed process may have forked just before

    def _may_live(self, orphan: Process, lease: bytes | None) -> bool:
        if orphan.session in self.mains:
            return True
        if lease is not None:
            return lease in self.leases
        return any(job.born_ticks <= orphan.born_ticks for job in self.mains.values())

    def kill_jobs(self, jobs: list[Job]) -> None:
        """Kill running jobs with all their processes, including those that left the process group.
        The ends of the jobs are handled like any other end."""
        jobs = [job for job in jobs if job.end is None]
        if not jobs:
            return
        for job in jobs:
            signal_job(job, signal.SIGKILL)
        killed = {job.pid for job in jobs}
        # A process with a pending SIGKILL cannot fork, so a pass that finds no further process is
        # the last.
        for _ in range(KILL_PASSES):
            fresh = [(job, pid) for job, pid in self._members(jobs) if pid not in killed]
            for job, pid in fresh:
                killed.add(pid)
                if kill(pid):
                    job.killed.add(pid)
            if not fresh:
                return

    def _members(self, jobs: list[Job]) -> list[tuple[Job, int]]:
        processes = scan_processes()
        children = children_by_parent(processes)
        found = []
        for root in children.get(os.getpid(), ()):
            owner = self._owner(processes[root], jobs)
            if owner is not None:
                found += [(owner, pid) for pid in subtree(children, root) if processes[pid].alive]
        return found

    def _owner(self, root: Process, jobs: list[Job]) -> Job | None:
        """Return the job of `jobs` to which `root`, a direct child of the warden, certainly
        belongs. None: there is none."""
        owner = self.mains.get(root.pid) or self.mains.get(root.session)
        if owner is None:  # `root` may have been forked by a process that was then killed
            owner = next((job for job in jobs if root.session in job.killed or root.group in job.killed), None)
        if owner is None and root.alive:
            owner = self.leases.get(environ_value(root.pid, LEASE) or b"")
        return owner if owner in jobs else None

    def kill_everything(self) -> None:
        for job in self.mains.values():
            signal_job(job, signal.SIGKILL)
        for capture in [capture for job in self.jobs.values() for capture in job.captures]:
            self._pump(capture, DRAIN_BYTES)
            capture.finish(self.reports)  # completes the logs on the disk; the reports are dropped
            self.reports = []
        give_up = time.monotonic() + KILL_ALL_S
        while time.monotonic() < give_up:
            children = children_by_parent(scan_processes())
            for pid in subtree(children, os.getpid())[1:]:
                kill(pid)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.002)


def ignore(_number: int, _frame: object) -> None:
    """Ignore a signal. The warden uses this handler instead of SIG_IGN, because exec resets
    handlers to the default, but jobs would inherit SIG_IGN."""


def prepare_signals() -> None:
    """Give jobs default signal dispositions and an empty signal mask, even if the worker had
    others. Ignore the signals that would end the warden: only the worker decides when it ends."""
    for number in range(1, signal.NSIG):
        # exec resets handlers, but not ignored signals, so these are reset here.
        if signal.getsignal(number) == signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, ignore)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def close_on_exec() -> None:
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:  # the descriptor by which the folder was listed is closed already
            pass


def enter(argv: Sequence[str]) -> None:
    """Become a subreaper, then a warm warden. The setting needs the ctypes module. The exec in
    between removes that module from the memory of the warm warden, which its forks would have to
    copy."""
    subreaper_or_warn()
    with open("/proc/self/environ", "rb") as file:  # Python may have added LC_CTYPE to os.environ
        env = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
    os.execve(argv[0], [encode(arg) for arg in argv], env)


def subreaper_or_warn() -> None:
    try:
        become_subreaper()
    except (ImportError, OSError) as error:
        print(f"titan warden: a job's process that leaves its session may outlive the job: {error}", file=sys.stderr)


def prepare(fds: str, warm: Warm | None = None) -> Warden:
    """Set up this process as a warden and return the `Warden`."""
    prepare_signals()
    close_on_exec()
    numbers = tuple(map(int, fds.split(",")))
    os.set_blocking(numbers[0], False)
    if warm is None:
        subreaper_or_warn()
    return Warden(numbers, warm)


def main(fds: str) -> None:
    prepare(fds).run()


if __name__ == "__main__":
    main(sys.argv[1])
