"""The service driver: the processes of a service, one after another, each by the driver of what it executes.

Owns the port of each service, its logs over all its processes, and the look at its health. When a process starts again, and what a
check means, is decided in `services`. A port is chosen before the process starts: a fixed one that somebody has is refused at once,
a free one is one that the kernel names. What a service binds to is its own matter; it is looked for on loopback (IPv4, then IPv6),
then at the address that the worker advertises.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable

import msgspec

from titan.model.dag import JobTemplate, Service
from titan.model.services import put_port, put_services, resolved, variable_of
from titan.worker import words
from titan.worker.drivers.protocol import Attempt, Driver, Host
from titan.worker.process_reports import Exited, LogFailed, Lost, Output, Refused, Report, Sink
from titan.worker.sandbox import Place
from titan.worker.supervisor import Under
from titan.worker.words import Assignment

log = logging.getLogger("titan.worker")

FIRST_KEY = -(1 << 50)
"""Of the processes that look at health by a command; each has the next lower one."""
TRIES = 16
ENDING_S = 5.0
SAID_BYTES = 300
NULL = "/dev/null"


class Unplaced(Exception):
    """An attempt cannot start here. The message is for the user."""


class Awaited(Exception):
    """The fixed port of a service is still taken by a former attempt of it, `lease`, which is being stopped."""

    def __init__(self, lease: int) -> None:
        self.lease = lease


class _Serving:
    """A service, from its first process to its last."""

    def __init__(self, it: Assignment, gpus: tuple[str, ...]) -> None:
        self.it = it
        self.gpus = gpus
        self.executes: JobTemplate = msgspec.structs.replace(it.template, service=None)
        """Says which driver starts its processes."""
        self.report: Sink = _to_nobody
        assert it.template.service is not None
        self.service: Service = resolved(it.template.service)
        self.place: Place | None = None
        self.port = 0
        self.env: dict[str, str] = {}
        self.written = {1: 0, 2: 0}
        """Bytes of its output that are in the logs."""


def _to_nobody(report: Report) -> None:
    """No process was started yet."""


class _Check:
    """A process that looks at health."""

    def __init__(self, lease: int) -> None:
        self.lease = lease
        self.said = b""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """What is not healthy, "" if all is."""


class ServiceDriver:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._pump = host.pump
        self._clock = host.clock
        self._see = host.see
        self._log_limit = host.log_limit
        self._all: dict[int, _Serving] = {}
        self._checks: dict[int, _Check] = {}
        self._next_key = FIRST_KEY
        self._awaiting: dict[int, tuple[int, Callable[[], None]]] = {}
        """Attempts that wait for the port of a former one -> that one, and what is to be done then."""

    def has(self, lease: int) -> bool:
        """Whether a lease is a service's, of which another process may come."""
        return lease in self._all

    # -- processes --------------------------------------------------------------------------------------------------------
    def add(self, it: Assignment, gpus: tuple[str, ...]) -> None:
        """`gpus` are its own from its first process to its last."""
        self._all[it.lease] = _Serving(it, gpus)

    def launch_after(self, former: int, it: Assignment, place: Place, gpus: tuple[str, ...]) -> None:
        """When the former attempt is over."""
        self._awaiting[it.lease] = (former, lambda: self._host.launch(it, place, gpus))

    def give_up(self, lease: int) -> bool:
        """An attempt need no longer be started: whether it was waiting for that."""
        return self._awaiting.pop(lease, None) is not None

    def start(self, attempt: Attempt) -> None:
        """Start one process. Its output goes through here: the logs of an attempt hold that of all its processes."""
        serving = self._all[attempt.it.lease]
        serving.report = attempt.report
        self._inner(serving).start(attempt._replace(report=self._on_report))

    def stop(self, lease: int, grace_s: float) -> None:
        serving = self._all.get(lease)
        if serving is not None:
            self._inner(serving).stop(lease, grace_s)

    def withdraw(self, lease: int) -> None:
        """A service stands behind nothing."""

    def _inner(self, serving: _Serving) -> Driver:
        return self._host.driver_of(serving.executes)

    def _on_report(self, report: Report) -> None:
        serving = self._all.get(report.key)
        if serving is None:
            return
        serving.report(self._kept(serving, report) if isinstance(report, Output) else report)

    def prepare(self, it: Assignment, place: Place) -> tuple[Assignment, Place, int]:
        """What is to be started, with every place filled in; where its output goes, and how much. Raises Unplaced, Awaited."""
        addresses = dict(it.services)

        def address_of(name: str) -> str:
            if name not in addresses:
                raise Unplaced(f"${{service:{name}}}: the job depends on no service of that name: put it into depends_on")
            return addresses[name]

        env = [*it.template.env, *((variable_of(name), address) for name, address in it.services)]
        serving = self._all.get(it.lease)
        if serving is not None:
            serving.port = self._choose_port(serving)
            self._see(words.PortChosen(it.lease, serving.port))
            env.append(("TITAN_PORT", str(serving.port)))

        def put(text: str) -> str:
            return put_services(put_port(text, serving.port) if serving is not None else text, address_of)

        template = msgspec.structs.replace(
            it.template,
            command=put_services(it.template.command, address_of),
            argv=tuple(map(put, it.template.argv)),
            env=tuple([(name, put(text)) for name, text in env]),
        )
        ready = msgspec.structs.replace(it, template=template, args=tuple(map(put, it.args)))
        if serving is None:
            return ready, place, self._log_limit
        serving.place, serving.env = place, dict(template.env)
        left = max(0, self._log_limit - max(serving.written.values()))
        return ready, place._replace(stdout=NULL, stderr=NULL), left

    def restart(self, lease: int) -> None:
        serving = self._all.get(lease)
        if serving is not None and serving.place is not None:
            self._host.launch(serving.it, serving.place, serving.gpus)

    def is_first(self, lease: int) -> bool:
        """Whether no process of that lease has had a log."""
        serving = self._all.get(lease)
        return serving is None or self._pump.paths(lease) is None

    def end(self, lease: int) -> None:
        """The attempt is over: its port may be given to another."""
        self._all.pop(lease, None)
        for key, check in self._checks.items():
            if check.lease == lease:
                self._host.supervisor.stop(key, 0.0)
        self._pump.on_ended(lease)
        for waiting in [waiting for waiting, (former, _) in self._awaiting.items() if former == lease]:
            self._awaiting.pop(waiting)[1]()

    def _kept(self, serving: _Serving, report: Output) -> Output | LogFailed:
        """Put the output of one process behind that of the processes before it."""
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
        return Output(report.key, stream, offset, data)

    # -- ports --------------------------------------------------------------------------------------------------------------
    def _choose_port(self, serving: _Serving) -> int:
        taken = [other.port for other in self._all.values() if other is not serving and other.port]
        wanted = serving.service.port
        if wanted:
            if wanted in taken:
                self._await_former(serving, wanted)
                raise Unplaced(f"port {wanted} is in use here by another service of this worker: give it another, or port: 0")
            _check_free(wanted)
            return wanted
        if serving.port and serving.port not in taken:
            with contextlib.suppress(Unplaced):
                _check_free(serving.port)  # a restart keeps the address
                return serving.port
        for _ in range(TRIES):
            port = _any_free()
            if port not in taken:
                with contextlib.suppress(Unplaced):
                    _check_free(port)
                    return port
        raise Unplaced("no free port was found on this worker")

    def _await_former(self, serving: _Serving, port: int) -> None:
        it = serving.it
        for lease, other in self._all.items():
            same = other is not serving and other.port == port and (other.it.run, other.it.job) == (it.run, it.job)
            if same and self._host.is_ending(lease):
                raise Awaited(lease)

    # -- health -----------------------------------------------------------------------------------------------------------
    def check(self, lease: int, probe: int) -> None:
        self._host.work(self._check(lease, probe))

    async def _check(self, lease: int, probe: int) -> None:
        serving = self._all.get(lease)
        problem = "it is gone"
        if serving is not None:
            s = serving.service
            try:
                async with asyncio.timeout(s.timeout_s):
                    if s.health == "command":
                        problem = await self._ask_command(lease, serving)
                    else:
                        problem = await self._ask_port(serving, s.target if s.health == "http" else "")
            except TimeoutError:
                problem = f"no answer within {s.timeout_s:g} s ({s.health} check of port {serving.port})"
        self._see(words.HealthSeen(lease, probe, not problem, problem, self._clock.now()))

    async def _ask_port(self, serving: _Serving, path: str) -> str:
        problem = ""
        for host in dict.fromkeys(("127.0.0.1", "::1", self._host.advertised)):
            if not host:
                continue
            try:
                reader, writer = await asyncio.open_connection(host, serving.port, limit=4096)
            except OSError as e:
                # Of several the first says what is wrong: most machines listen on IPv4.
                problem = problem or f"port {serving.port}: {os.strerror(e.errno).lower() if e.errno else e}"
                continue
            try:
                return await _ask_http(reader, writer, path, serving.port) if path else ""
            except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
                return f"port {serving.port} does not speak HTTP ({type(e).__name__})"
            finally:
                writer.close()
        return problem

    async def _ask_command(self, lease: int, serving: _Serving) -> str:
        assert serving.place is not None
        self._next_key -= 1
        key, check = self._next_key, _Check(lease)
        self._checks[key] = check
        command = put_port(serving.service.target, serving.port)
        env = {**serving.env, "TITAN_RUN": serving.it.run, "TITAN_JOB": serving.it.job}
        argv, logs = ["/bin/sh", "-c", command], (NULL, NULL)
        if not self._host.run_helper(key, argv, serving.place.cwd, logs, self._on_check, Under.FIRST, of=serving.it, env=env):
            del self._checks[key]
            check.ended.set_result("it lacks a secret")
        try:
            return await asyncio.shield(check.ended)
        finally:
            if not check.ended.done():
                self._host.supervisor.stop(key, 0.0)

    def _on_check(self, report: Report) -> None:
        """What is reported of a process that looks at health."""
        check = self._checks.get(report.key)
        if check is None:
            return
        said = check.said.decode(errors="replace").strip().rpartition("\n")[2]
        match report:
            case Output():
                check.said = (check.said + report.data)[-SAID_BYTES:]
                return
            case Exited(code=0):
                problem = ""
            case Exited():
                how = f"code {report.code}" if report.code >= 0 else f"signal {-report.code}"
                problem = f"the health command ended with {how}{': ' if said else ''}{said}"
            case Refused():
                problem = f"the health command cannot be started: {report.text}"
            case Lost():
                problem = "the worker's process runner died"
            case _:
                return
        del self._checks[report.key]
        if not check.ended.done():
            check.ended.set_result(problem)

    async def close(self) -> None:
        """The supervisor has the processes."""


async def _ask_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, port: int) -> str:
    """ "" for a status of 200 to 399."""
    lines = (f"GET {path} HTTP/1.1", f"Host: localhost:{port}", "User-Agent: titan", "Accept: */*", "Connection: close", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    answer = await reader.readuntil(b"\n")
    version, status, *_ = answer.decode("latin-1").split(None, 2)
    if not version.startswith("HTTP/") or not 100 <= int(status) <= 599:
        raise ValueError(answer)
    return "" if 200 <= int(status) <= 399 else f"GET {path} is answered with {status}"


def _check_free(port: int) -> None:
    """Raises Unplaced if a service cannot listen there."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))  # fails where anybody listens, at whatever address
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                told = f"port {port} is in use here by another program: give another, or port: 0 for any free one"
                raise Unplaced(told) from e
            if e.errno in (errno.EACCES, errno.EPERM):
                told = f"port {port} needs a right that this worker does not have: give one above 1023"
                raise Unplaced(told) from e
            if family == socket.AF_INET:
                raise Unplaced(f"port {port} cannot be listened on: {e.strerror}") from e


def _any_free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port
