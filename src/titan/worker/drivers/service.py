"""Service driver: it starts the processes of a service, one after another. For each process it uses
the driver of the program that the service executes.

Owns the port of each service, its logs over all its processes, and its health checks.
`state_machine.services` decides when a process is started again, and what follows from the result
of a check. The driver chooses the port before the process starts. If the service names a fixed port
that is in use, the attempt is refused at once. But if an earlier attempt of the service is being
stopped and has the port, the new attempt waits for it. If it names none, the kernel chooses a free
port. A service may bind to any address. Health checks connect to loopback (IPv4, then IPv6), then
to the address that the worker advertises.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket

import msgspec

from titan.model.dag import JobTemplate, Service
from titan.model.services import put_port, resolved
from titan.worker.drivers.addresses import with_port
from titan.worker.drivers.process import stopped_early
from titan.worker.drivers.protocol import Attempt, AttemptDriver, CannotStart, Host, Orders, Start
from titan.worker.files.sandbox import Place
from titan.worker.processes.reports import Exited, LogFailed, Lost, Output, Refused, Report, Sink
from titan.worker.processes.supervisor import Under
from titan.worker.state_machine import messages
from titan.worker.state_machine.messages import Assignment

log = logging.getLogger("titan.worker")

FIRST_KEY = -(1 << 50)
"""Keys of health commands are below this number. Each command gets the next lower key."""
TRIES = 16
ENDING_S = 5.0
OUTPUT_BYTES = 300
NULL = "/dev/null"


class _Serving:
    """State of a service, from its first process to its last."""

    def __init__(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        self.assignment = assignment
        self.gpus = gpus
        self.report = report
        self.executes: JobTemplate = msgspec.structs.replace(assignment.template, service=None)
        """Template of the service's processes, which selects their driver."""
        assert assignment.template.service is not None
        self.service: Service = resolved(assignment.template.service)
        self.place: Place | None = None
        self.port = 0
        self.former = 0
        """Lease of the earlier attempt whose fixed port this attempt waits for, 0 for none."""
        self.env: dict[str, str] = {}
        self.written = {1: 0, 2: 0}
        """stream -> bytes of the service's output in the log."""


class _Check:
    """A running health command."""

    def __init__(self, lease: int) -> None:
        self.lease = lease
        self.output = b""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Problem that the command found, "" if the service is healthy."""


class ServiceDriver:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._pump = host.pump
        self._clock = host.clock
        self._see = host.see
        self._all: dict[int, _Serving] = {}
        self._checks: dict[int, _Check] = {}
        self._next_key = FIRST_KEY
        self.orders: Orders = {
            messages.RestartService: self._restart,
            messages.CheckHealth: self._check,
            messages.CloseService: self._end,
        }

    def open(self) -> None:
        """Do nothing: there is nothing to start."""

    async def close(self) -> None:
        """Do nothing: the supervisor ends the processes."""

    # -- processes ---------------------------------------------------------------------------------
    def admit(self, assignment: Assignment, gpus: tuple[str, ...], report: Sink) -> None:
        """Accept a service. It keeps the `gpus` from its first process to its last."""
        self._all[assignment.lease] = _Serving(assignment, gpus, report)

    def keeps(self, lease: int) -> bool:
        return lease in self._all

    def prepare(self, start: Start) -> Start | None:
        """Choose the port of a service. The warden writes the output to /dev/null and this driver
        writes the logs, because they have to hold the output of all processes of the attempt."""
        assignment, place, log_limit = start
        serving = self._all[assignment.lease]
        serving.place = place
        serving.former = self._former_of(serving)
        if serving.former:
            return None
        serving.port = self._choose_port(serving)
        self._see(messages.PortChosen(assignment.lease, serving.port))
        ready = with_port(assignment, serving.port)
        serving.env = dict(ready.template.env)
        left = max(0, log_limit - max(serving.written.values()))
        return Start(ready, place._replace(stdout=NULL, stderr=NULL), left)

    def start(self, attempt: Attempt) -> None:
        serving = self._all[attempt.assignment.lease]
        try:
            self._inner(serving).start(attempt._replace(report=self._on_report))
        except CannotStart as e:
            serving.report(Refused(attempt.assignment.lease, 0, str(e), e.final))

    def stop(self, lease: int, grace_s: float) -> None:
        serving = self._all.get(lease)
        if serving is None:
            return
        if serving.former:
            serving.former = 0
            serving.report(stopped_early(lease))
        else:
            self._inner(serving).stop(lease, grace_s)

    def withdraw(self, lease: int) -> None:
        """Do nothing: a service is never queued behind an attempt."""

    def _inner(self, serving: _Serving) -> AttemptDriver:
        return self._host.driver_of(serving.executes)

    def _on_report(self, report: Report) -> None:
        serving = self._all.get(report.key)
        if serving is None:
            return
        serving.report(self._kept(serving, report) if isinstance(report, Output) else report)

    def _restart(self, order: messages.RestartService) -> None:
        serving = self._all.get(order.lease)
        if serving is not None and serving.place is not None:
            self._host.launch(serving.assignment, serving.place, serving.gpus)

    def _end(self, order: messages.CloseService) -> None:
        """Drop a service whose attempt is over, and start the attempts that wait for its port."""
        lease = order.lease
        self._all.pop(lease, None)
        for key, check in self._checks.items():
            if check.lease == lease:
                self._host.supervisor.stop(key, 0.0)
        self._pump.on_ended(lease)
        for waiting in [serving for serving in self._all.values() if serving.former == lease]:
            waiting.former = 0
            assert waiting.place is not None
            self._host.launch(waiting.assignment, waiting.place, waiting.gpus)

    def _kept(self, serving: _Serving, report: Output) -> Output | LogFailed:
        """Append output of a process to the service's log, after the output of earlier
        processes."""
        assert serving.place is not None
        stream, data = report.stream, report.data
        path = serving.place.stdout if stream == 1 else serving.place.stderr
        offset = serving.written[stream]
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | (0 if offset else os.O_TRUNC)
            fd = os.open(path, flags, 0o600)
            try:
                os.pwrite(fd, data, offset)
            finally:
                os.close(fd)
        except OSError as e:
            return LogFailed(report.key, stream, e.errno or 0, e.strerror or str(e))
        serving.written[stream] = offset + len(data)
        return Output(report.key, stream, offset, report.skipped, data)

    # -- ports -------------------------------------------------------------------------------------
    def _choose_port(self, serving: _Serving) -> int:
        taken = [other.port for other in self._all.values() if other is not serving and other.port]
        wanted = serving.service.port
        if wanted:
            if wanted in taken:
                text = f"port {wanted} is in use here by another service of this worker: choose another port, or port: 0"
                raise CannotStart(text, final=True)
            _check_free(wanted)
            return wanted
        if serving.port and serving.port not in taken:
            with contextlib.suppress(CannotStart):
                _check_free(serving.port)  # a restarted service keeps its address if possible
                return serving.port
        for _ in range(TRIES):
            port = _any_free()
            if port not in taken:
                with contextlib.suppress(CannotStart):
                    _check_free(port)
                    return port
        raise CannotStart("no free port was found on this worker", final=True)

    def _former_of(self, serving: _Serving) -> int:
        """Return the lease of an earlier attempt of the same service that still has the fixed port
        and is being stopped, 0 if there is none."""
        assignment, port, held = serving.assignment, serving.service.port, self._host.held
        for lease, other in self._all.items():
            same = (
                port
                and other is not serving
                and other.port == port
                and (other.assignment.run, other.assignment.job) == (assignment.run, assignment.job)
            )
            if same and (entry := held.get(lease)) is not None and entry.stopping is not None:
                return lease
        return 0

    # -- health ------------------------------------------------------------------------------------
    def _check(self, order: messages.CheckHealth) -> None:
        self._host.work(self._check_health(order.lease, order.probe))

    async def _check_health(self, lease: int, probe: int) -> None:
        serving = self._all.get(lease)
        problem = "the service has ended"
        if serving is not None:
            s = serving.service
            try:
                async with asyncio.timeout(s.timeout_s):
                    if s.health == "command":
                        problem = await self._run_command(lease, serving)
                    else:
                        problem = await self._check_port(serving, s.target if s.health == "http" else "")
            except TimeoutError:
                problem = f"no answer within {s.timeout_s:g} s ({s.health} check of port {serving.port})"
        self._see(messages.HealthSeen(lease, probe, not problem, problem, self._clock.now()))

    async def _check_port(self, serving: _Serving, path: str) -> str:
        problem = ""
        for host in dict.fromkeys(("127.0.0.1", "::1", self._host.advertised)):
            if not host:
                continue
            try:
                reader, writer = await asyncio.open_connection(host, serving.port, limit=4096)
            except OSError as e:
                # Report the problem of the first address: most programs listen on IPv4.
                problem = problem or f"port {serving.port}: {os.strerror(e.errno).lower() if e.errno else e}"
                continue
            try:
                return await _check_http(reader, writer, path, serving.port) if path else ""
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
                return f"port {serving.port} does not speak HTTP ({type(e).__name__})"
            finally:
                writer.close()
        return problem

    async def _run_command(self, lease: int, serving: _Serving) -> str:
        assert serving.place is not None
        self._next_key -= 1
        key, check = self._next_key, _Check(lease)
        self._checks[key] = check
        command = put_port(serving.service.target, serving.port)
        env = {**serving.env, "TITAN_RUN": serving.assignment.run, "TITAN_JOB": serving.assignment.job}
        argv, logs = ["/bin/sh", "-c", command], (NULL, NULL)
        if not self._host.run_helper(
            key, argv, serving.place.cwd, logs, self._on_check, Under.FIRST, of=serving.assignment, env=env
        ):
            del self._checks[key]
            check.ended.set_result("the health command lacks a secret")
        try:
            return await asyncio.shield(check.ended)
        finally:
            if not check.ended.done():
                self._host.supervisor.stop(key, 0.0)

    def _on_check(self, report: Report) -> None:
        """Handle a report about a health command."""
        check = self._checks.get(report.key)
        if check is None:
            return
        last_line = check.output.decode(errors="replace").strip().rpartition("\n")[2]
        match report:
            case Output():
                check.output = (check.output + report.data)[-OUTPUT_BYTES:]
                return
            case Exited(code=0):
                problem = ""
            case Exited():
                status = f"code {report.code}" if report.code >= 0 else f"signal {-report.code}"
                problem = f"the health command ended with {status}{': ' if last_line else ''}{last_line}"
            case Refused():
                problem = f"the health command cannot be started: {report.text}"
            case Lost():
                problem = "the worker's process runner died"
            case _:
                return
        del self._checks[report.key]
        if not check.ended.done():
            check.ended.set_result(problem)


async def _check_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, port: int) -> str:
    """Send a GET request. Return "" for a status of 200 to 399, otherwise the problem."""
    lines = (f"GET {path} HTTP/1.1", f"Host: localhost:{port}", "User-Agent: titan", "Accept: */*", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    answer = await reader.readuntil(b"\n")
    version, status, *_ = answer.decode("latin-1").split(None, 2)
    if not version.startswith("HTTP/") or not 100 <= int(status) <= 599:
        raise ValueError(answer)
    return "" if 200 <= int(status) <= 399 else f"GET {path} is answered with {status}"


def _check_free(port: int) -> None:
    """Raise CannotStart if a service cannot listen on the port."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))  # fails if a program listens on the port, at any address
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                text = f"port {port} is in use here by another program: choose another, or port: 0 for any free one"
                raise CannotStart(text, final=True) from e
            if e.errno in (errno.EACCES, errno.EPERM):
                text = f"port {port} needs a permission that this worker lacks: choose one above 1023"
                raise CannotStart(text, final=True) from e
            if family == socket.AF_INET:
                raise CannotStart(f"a service cannot listen on port {port}: {e.strerror}", final=True) from e


def _any_free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
