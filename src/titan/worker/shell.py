"""Shell of a worker: the connection to the master, the launcher of attempts, and the state machine
that decides what both of them do."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

from titan._version import __version__
from titan.content.nearby import prove
from titan.errors import Conflict, MasterUnreachable, TitanError, from_code
from titan.host.clock import SteadyClock, noted_time
from titan.host.core_dumps import forbid_core_dumps
from titan.host.home_lock import HomeLock
from titan.host.privacy import drop_keys, open_home
from titan.model.values import artifact_of, size_of
from titan.net.backoff import Backoff
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.protocol.handshake import hello
from titan.worker.context.callers import Callers
from titan.worker.context.reports import JobReports
from titan.worker.context.requests import ContextHandler
from titan.worker.context.store_relay import ContextRelay, put_command
from titan.worker.context.values import ValueReader
from titan.worker.devices import find_resources
from titan.worker.files.cache import home_problems
from titan.worker.files.disk import DiskWatch
from titan.worker.files.disk_usage import DiskUsage
from titan.worker.files.downloads import Downloads
from titan.worker.files.job_files import JobFiles
from titan.worker.files.left_file_server import LeftFileServer
from titan.worker.files.left_folders import LeftFolders
from titan.worker.files.projects import keep_clean
from titan.worker.files.retention import KEEP_WEEK, Retention
from titan.worker.files.run_folders import keep_tidy
from titan.worker.files.sandbox import Workspace
from titan.worker.incarnation import next_incarnation
from titan.worker.launch import Launcher
from titan.worker.limits.cgroups import open_limiter, proven
from titan.worker.log_pump import LogPump
from titan.worker.processes.warden_link import become_subreaper, kill_marked
from titan.worker.requests import WorkerLines
from titan.worker.secrets import AttemptSecrets
from titan.worker.state_machine import machine as m
from titan.worker.state_machine import messages
from titan.worker.state_machine.resources import Resources
from titan.worker.translation import ahead_s, assignments, facts, results_messages, shifted
from titan.worker.upkeep import keep_swept
from titan.worker.value_uploads import Values

log = logging.getLogger("titan.worker")

LOG_LIMIT = 16 * 1024 * 1024
CONNECT_S = 10.0
RETRY_MIN_S, RETRY_MAX_S = 0.1, 5.0
STEADY_S = 5.0
"""A connection that lasted this long counts as stable. After it breaks, the reconnect back-off
starts again from its minimum."""
QUIT_S = 3.0
"""Longest time that a quitting worker waits until its processes have ended and the master has
answered its Leaving message."""
_OWN_VARIABLES = (
    *("TITAN_RUN", "TITAN_JOB", "TITAN_ATTEMPT", "TITAN_SHARED", "TITAN_LEASE", "TITAN_WORKER_HOME", "TITAN_PARENT_FD"),
    *("TITAN_FAILED_JOB", "TITAN_PORT", "TITAN_WEBHOOK_SECRET", "TITAN_CONTEXT", "TITAN_CONTEXT_TOKEN"),
    "TITAN_SECRETS_PASSPHRASE",
)


class Worker:
    """A worker. `run()` returns after a drain (`request_drain`) or a stop (`request_quit`). `run()`
    raises Conflict if the master refuses the worker."""

    def __init__(
        self,
        master: tuple[str, int],
        home: Path,
        *,
        name: str,
        slots: int,
        capabilities: tuple[str, ...],
        shared: Path | None = None,
        log_limit: int = LOG_LIMIT,
        retention: Retention = KEEP_WEEK,
        preload: tuple[str, ...] = (),
        resources: Resources | None = None,
        advertise: str = "",
        file_cache: int = 0,
    ) -> None:
        """Create a worker that is not running yet.

        `preload` names modules that warm interpreters import before they run scripts. `resources`
        are those that the worker offers, None for all that it finds on the host. `file_cache`
        limits the bytes of job files in the cache, 0 for the default. `retention` limits what runs
        leave in the home. `advertise` is the host name
        under which jobs and clients reach services of this worker, "" for the address that the
        master sees.
        """
        self.master = master
        self.home = home
        self.name = name
        self.capabilities = capabilities
        self._shared = shared
        self._log_limit = log_limit
        self._retention = retention
        self._preload = preload
        self._advertise = advertise
        self._file_cache = file_cache
        self._lock = HomeLock(home / "lock")
        self.machine = m.WorkerMachine(slots, resources=resources or find_resources())
        self._clock = SteadyClock(known=noted_time(home))
        self._inbox: list[Any] = []
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._peer: Peer | None = None
        self._shift_s = 0.0
        """Seconds by which the master's clock was ahead of this worker's clock at the last
        Welcome."""
        self._heard_at = 0.0
        self._resumed = False
        self._heartbeat_s = 5.0
        self._requests = 10
        self._secrets = AttemptSecrets()
        self._refusal: TitanError | None = None
        self._lost = asyncio.Event()
        self._broke: Exception | None = None
        """Error that ended the last connection, None if it was closed in good order."""
        self._gone = asyncio.Event()
        self._lag = asyncio.Event()
        self._opened = False
        """All parts exist. A signal may ask the worker to quit before that."""
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life --------------------------------------------------------------------------------------
    async def run(self) -> None:
        open_home(self.home)
        with home_problems(self.home):
            self._lock.acquire()
        try:
            with home_problems(self.home):
                await self._open()
            await self._live()
        finally:
            self._lock.release()

    async def _open(self) -> None:
        """Create all parts of the worker that need disk space in the home. Raises OSError."""
        drop_keys()  # a worker that inherited the master's keys must not pass them on
        self._loop = asyncio.get_running_loop()
        become_subreaper()
        mark = str(self.home.resolve())
        killed = await asyncio.to_thread(kill_marked, mark)
        if killed:
            log.warning("killed %d processes that an earlier worker in this home left behind", killed)
        self._workspace = Workspace(self.home, self._shared)
        self._disk = DiskWatch(self.home)
        self._disk_usage = DiskUsage(self._workspace.root, self._workspace.shared)
        self._left_files = LeftFileServer(LeftFolders(self._workspace.jobs, self._workspace.shared, self._workspace.removed))
        self.machine.have = dict.fromkeys(self._workspace.cached())
        self.incarnation = next_incarnation(self.home)
        self._pump = LogPump(self._can_send_logs, self._send_logs, self._on_logs_sent, self._lag.set)
        self._lines = WorkerLines(lambda: self._peer if self._can_send() else None, self._next_request)
        self._values = Values(
            self._workspace.cache,
            lines=self._lines,
            on_stored=self._pump.on_ended,
            in_use=self._values_in_use,
            on_dropped=lambda hash_: self.machine.have.pop(hash_, None),
        )
        self._files = JobFiles(
            self.machine, self._workspace, self._lines, see=self.see, kept=self._pump.on_ended, most_bytes=self._file_cache
        )
        self.handler = ContextHandler(
            self.machine.held, master=lambda: self._peer if self._can_send() else None, next_request=self._next_request
        )
        self.handler.forward(msg.FindArtifact, msg.Grow, msg.GetPipeline, msg.Stage)
        self._files.serve(self.handler)
        self._reports = JobReports(
            self.handler,
            self._workspace.root / "results",
            store=self._values,
            send=self._send,
            can_send=self._can_send,
            see=self.see,
            secrets=self._secrets,
        )
        self._downloads = Downloads(self._workspace.cache, self._lines, spawn=self._spawn, fetched=self._fetched)
        self._reader = ValueReader(self.handler, self._values, lambda: self.machine.have, self._downloads.begin)
        callers = Callers(os.urandom(32))
        # This call may move the worker's process to another cgroup. So it precedes the first
        # warden, which inherits the cgroup.
        limiter = await asyncio.to_thread(open_limiter)
        self._relay = ContextRelay(self._workspace.root, self._send, self._can_send, self.handler.adopt, callers.problem)
        await self._relay.open()
        self._launcher = Launcher(
            self.machine,
            self._workspace,
            self._pump,
            self._clock,
            see=self.see,
            work=self._spawn,
            reported=self._on_reported,
            environment={
                "TITAN_MASTER": f"{self.master[0]}:{self.master[1]}",
                **{k: v for k, v in os.environ.items() if k not in _OWN_VARIABLES},
                "PATH": put_command(self._workspace.root / "bin"),
                "TITAN_CONTEXT": self._relay.path,
                "TITAN_WORKER_HOME": mark,
            },
            log_limit=self._log_limit,
            preload=self._preload,
            limiter=limiter,
            secrets=self._secrets,
            callers=callers,
            values=self._values,
            advertised=self._advertise,
        )
        self.handler.lease_of = callers.call_of
        self._launcher.files = self._files
        self._launcher.open()
        self._launcher.limit_by(await asyncio.to_thread(proven, limiter))  # while the warden starts

    async def _live(self) -> None:
        self._opened = True
        if self._inbox:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        have, held = self.machine.have, self.machine.held
        sweeping = keep_swept(self._workspace, self.home, self._clock, self._retention, held, lambda hash_: have.pop(hash_, None))
        cleaning = keep_clean(self._workspace.projects, self._workspace.runs.emptied)
        for chore in (self._catch_up(), self._values.run(), sweeping, cleaning, keep_tidy(self._workspace.runs)):
            self._spawn(chore)
        connecting = asyncio.get_running_loop().create_task(self._stay_connected())
        try:
            gone = asyncio.get_running_loop().create_task(self._gone.wait())
            await asyncio.wait((gone, connecting), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if connecting.done() and not self._gone.is_set():
                connecting.result()
        finally:
            connecting.cancel()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(connecting, *self._tasks, return_exceptions=True)
            await self._disk_usage.close()
            await self._left_files.close()
            self._relay.close()
            self.handler.close()
            await self._files.close()
            self._reports.close()
            await self._launcher.close()
            if self._peer is not None:
                self._peer.close()

    def request_drain(self) -> None:
        """Finish the running attempts, return the waiting ones to the master, then end the
        worker."""
        self.see(m.DrainOrdered())

    def request_quit(self) -> None:
        """Kill all attempts, return them to the master, then end the worker."""
        if not self.machine.quitting:
            self.see(m.QuitOrdered())
            asyncio.get_running_loop().call_later(QUIT_S if self._can_send() else 0.5, self._gone.set)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("the worker stops because of an internal error", exc_info=task.exception())
            self._gone.set()

    # -- the state machine -------------------------------------------------------------------------
    def see(self, received: Any) -> None:
        """Queue an input for the state machine's next turn. The first turn follows `_open`."""
        self._inbox.append(received)
        if not self._scheduled and self._opened:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        try:
            self._decide()
        except Exception:  # the state machine may be inconsistent: the worker ends, and the master runs its attempts elsewhere
            log.critical("the worker stops because of an internal error", exc_info=True)
            self._gone.set()

    def _decide(self) -> None:
        inputs, self._inbox = self._inbox, []
        now = self._clock.now()
        if self._timer is None or self._timer_due <= now:  # otherwise no work is due before the timer fires
            due = self.machine.next_due()
            if due is not None and due <= now:
                inputs.append(m.TimePassed())
        instructions = self.machine.handle(now, inputs)
        if not self.machine.gathering:
            self._pump.flush()  # output is sent before the result that follows it
        for instruction in instructions:
            self._perform(instruction)
        if self._peer is not None:
            self._peer.flush()
        if self.machine.quitting and not self.machine.connected and not self.machine.busy:
            self._gone.set()  # without a connection no goodbye can be sent; the master notices the silence
        self._arm()

    def _arm(self) -> None:
        """Set the timer for the next due time. A timer that would fire earlier is kept, because a
        new timer at each turn would cost more."""
        due = self.machine.next_due()
        if due is None or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._loop.call_later(max(0.0, due - self._clock.now()) + 0.0005, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._turn()

    def _perform(self, instruction: m.Instruction) -> None:
        follow = self._launcher.orders.get(type(instruction))
        if follow is not None:
            follow(instruction)
            return
        match instruction:
            case m.StartAttempt():
                self._launcher.start(instruction.assignment, instruction.gpus, instruction.behind)
            case m.WithdrawAttempt():
                self._launcher.withdraw(instruction.lease)
            case m.StopAttempt():
                self._launcher.stop(instruction.lease, instruction.grace_s)
            case messages.ReportServices():
                starts, readies, nexts = (
                    shifted(ats, self._shift_s) for ats in (instruction.started, instruction.ready_ats, instruction.next_starts)
                )
                columns = (
                    instruction.leases,
                    instruction.serials,
                    starts,
                    readies,
                    instruction.ports,
                    instruction.restarts,
                    instruction.reasons,
                    nexts,
                )
                self._send(msg.ServiceStates(0, *columns))
            case messages.ReportAwaiting():
                self._send(msg.Awaiting(0, instruction.leases))
            case m.ReportStarted():
                self._send(msg.Started(0, instruction.leases, shifted(instruction.ats, self._shift_s)))
            case messages.StoreValue():
                self._values.hold(instruction.lease, artifact_of(instruction.value) or "", size_of(instruction.value))
            case m.ReportResults():
                self._reports.send_statuses()
                for part in results_messages(instruction.results, self._shift_s):
                    self._send(part)
            case m.Beat():
                self._beat(instruction)
            case messages.KeepOutputs() | messages.GiveUpOutputs():
                self._files.follow(instruction)
            case m.FetchArtifact() if not self._files.follow(instruction):
                self._downloads.begin(instruction.hash)
            case m.Forget():
                for lease in instruction.leases:
                    printed = self._pump.forget(lease)
                    self._values.forget(lease)
                    self._secrets.forget(lease)
                    self._reports.forget(lease)
                    self._files.give_up(lease)
                    self._workspace.forget(lease, printed=printed)
            case m.AnnounceDrain():
                self._send(msg.Draining(0))
            case m.Leave():
                self._leave()

    def _leave(self) -> None:
        if self._can_send():
            self._send(msg.Leaving(self._next_request()))
            asyncio.get_running_loop().call_later(2.0, self._gone.set)
        else:
            self._gone.set()

    # -- values and output of calls ----------------------------------------------------------------
    def _values_in_use(self) -> list[str]:
        values = [hash_ for held in self.machine.held.values() if held.value and (hash_ := artifact_of(held.value))]
        return values + [hash_ for held in self.machine.held.values() for hash_ in held.assignment.needs]

    def _on_reported(self) -> None:
        if not self._scheduled and not self.machine.gathering:
            self._pump.flush()  # otherwise the scheduled turn flushes

    # -- the connection ----------------------------------------------------------------------------
    async def _stay_connected(self) -> None:
        """Keep a connection to the master until the worker ends. Reconnects back off with jitter
        while the master does not answer or connections break soon."""
        backoff, logged = Backoff(RETRY_MIN_S, RETRY_MAX_S), False
        while True:
            try:
                await self._connect()
                registered, logged = self._loop.time(), False
                await self._lost.wait()
                if self._loop.time() - registered >= STEADY_S:
                    backoff.reset()
                reason = f" ({self._broke})" if self._broke is not None else ""
                log.warning("lost the master at %s:%d%s; jobs go on while the worker reconnects", *self.master, reason)
            except MasterUnreachable as e:
                if not logged:
                    log.warning("%s; jobs go on while the worker reconnects", e)
                    logged = True
            if self._refusal is not None:
                raise self._refusal
            await asyncio.sleep(backoff.next_s())

    async def _connect(self) -> None:
        """Connect and wait until the worker is registered. Raises MasterUnreachable. If the master
        refuses the worker, the error is stored in `_refusal`."""
        self._lost.clear()
        self._registered = asyncio.Event()
        loop = asyncio.get_running_loop()
        host, port = self.master
        try:
            async with asyncio.timeout(CONNECT_S):
                _, peer = await loop.create_connection(lambda: Peer(self._on_message, self._on_closed), host, port)
        except (OSError, TimeoutError) as e:
            raise MasterUnreachable(f"no master answers at {host}:{port} ({e or 'time-out'})") from e
        self._peer = peer
        self._heard_at = self._clock.now()
        self._hello_at = self._heard_at
        peer.send(hello("worker", f"titan {__version__}"))
        waiting = [loop.create_task(self._registered.wait()), loop.create_task(self._lost.wait())]
        done, _ = await asyncio.wait(waiting, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if not done:
            peer.abort()
            raise MasterUnreachable(f"the server at {host}:{port} does not answer like a master")

    def _on_closed(self, peer: Peer, error: Exception | None) -> None:
        if peer is self._peer:
            self._peer = None
            self._resumed = False
            self._pump.disconnected()
            self._lines.disconnected()
            self._relay.disconnected()
            self.handler.disconnected()
            self._reports.disconnected()
            self._left_files.disconnected()
            self.see(m.Disconnected())
            self._broke = error
            self._lost.set()

    def _on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        self._heard_at = self._clock.now()
        if self._lines.take_answer(message, blob) or self.handler.take_answer(message, blob):
            return
        match message:
            case msg.GiveSecrets():
                forbid_core_dumps()
                self._secrets.take(message)
            case msg.Dispatch():
                self.see(m.Dispatched(assignments(message), message.draw))
            case msg.Acked():
                self.see(m.ResultsAcked(message.leases))
            case msg.StopAttempts():
                self.see(m.StopOrdered(message.leases, message.grace_s))
            case msg.Recall():
                self.see(m.RecallOrdered(message.leases))
            case msg.StoreStream():
                self._relay.on_stream(message, blob)
            case _ if self._left_files.take(peer, message):
                pass
            case msg.MeasureDisk():
                self._spawn(self._answer_measurement(message))
            case msg.Welcome():
                self._on_welcome(message)
            case msg.Registered():
                self._on_registered(message)
            case msg.Leave():
                if message.now:
                    self.request_quit()
                else:
                    self.request_drain()
            case msg.LogResume():
                self._on_log_resume(message)
            case msg.Error():
                self._on_error(peer, message)
            case msg.Pong() if self.machine.left:
                self._gone.set()
            case _:
                pass

    def _on_welcome(self, message: msg.Welcome) -> None:
        """Answer the master's Welcome: register the worker's identity and its attempts."""
        self._shift_s = ahead_s(message.now, self._hello_at, self._clock.now())
        self._lines.nearby = prove(message.content)
        self.see(m.Welcomed(message.cluster))
        self._turn()
        self._secrets.keep(self.machine.held)
        held, slots, draining = self.machine.holdings(), self.machine.slots, self.machine.draining
        identity = (self.name, self.incarnation, message.cluster, self.capabilities)
        host_facts = facts(self.machine.resources, self._launcher.limiter.mechanism)
        host_facts |= {"cgroups_left": self._launcher.limiter.left} if self._launcher.limiter.left else {}
        host_facts |= self._disk.facts()
        host_facts |= {"advertise": self._advertise} if self._advertise else {}
        draws = (held.draws, held.draw_of)
        self._send(
            msg.Register(1, *identity, slots, host_facts, held.leases, shifted(held.started, self._shift_s), draining, *draws)
        )

    def _on_registered(self, message: msg.Registered) -> None:
        self._heartbeat_s = message.heartbeat_s
        self.machine.grace_s = message.grace_s
        self.see(m.Registered(message.heartbeat_s))
        self._registered.set()
        self._loop.call_soon(self._lines.registered)
        log.info("registered with the master at %s:%d as %s, %d slots", *self.master, self.name, self.machine.slots)
        self._note_home()

    def _on_log_resume(self, message: msg.LogResume) -> None:
        """Continue the output of each attempt at the offset that the master has. Then send the
        results that the master did not acknowledge."""
        self._resumed = True
        for lease, stdout, stderr in zip(message.leases, message.stdout, message.stderr, strict=True):
            self._pump.resume(lease, stdout, stderr)
        self._turn()
        for lease in [lease for lease, held in self.machine.held.items() if held.phase is m.Phase.ENDED]:
            self._pump.on_ended(lease)
        self._reports.connected()
        self._lag.set()

    def _on_error(self, peer: Peer, message: msg.Error) -> None:
        if message.request <= 1:
            self._refusal = from_code(message.code, message.message)
            if isinstance(self._refusal, Conflict) and self.machine.held:
                log.error("%s", message.message)
            peer.close()
            self._lost.set()
        else:
            log.error("the master answered with an error: %s", message.message)

    def _note_home(self) -> None:
        details = {"name": self.name, "master": f"{self.master[0]}:{self.master[1]}", "pid": os.getpid()}
        part = self.home / "worker.json.part"
        try:
            part.write_text(json.dumps(details) + "\n")
            part.rename(self.home / "worker.json")
        except OSError as e:  # only people read the file, so the worker can go on without it
            log.warning("worker.json cannot be written: %s", e)

    def _can_send(self) -> bool:
        return self.machine.connected and self._peer is not None and not self._peer.closed

    def _can_send_logs(self) -> bool:
        return self._resumed and self._can_send() and self._peer is not None and not self._peer.congested

    def _send(self, message: msg.Message, blob: bytes | None = None) -> None:
        if self._peer is not None:
            self._peer.send(message, blob)

    def _beat(self, instruction: m.Beat) -> None:
        if self._clock.now() - self._heard_at > 3 * self._heartbeat_s:
            log.warning("the master at %s:%d was silent for %.0f s: reconnecting", *self.master, self._clock.now() - self._heard_at)
            if self._peer is not None:
                self._peer.abort()
            return
        self._send(
            msg.Heartbeat(
                0,
                instruction.leases,
                shifted(instruction.started, self._shift_s),
                instruction.draws,
                instruction.draw_of,
                self._disk.news(),
            )
        )

    async def _answer_measurement(self, message: msg.MeasureDisk) -> None:
        usage = await self._disk_usage.measured(message.seconds)
        self._send(
            msg.DiskMeasured(
                message.request,
                usage.home,
                [msg.PlaceRow(place, size) for place, size in usage.places.items()],
                [msg.WorkerRunRow(*row) for row in usage.runs],
                usage.free,
                usage.total,
                usage.complete,
                usage.shared,
            )
        )

    # -- artifacts ---------------------------------------------------------------------------------
    def _fetched(self, hash_: str, problem: str, retryable: bool) -> None:
        self.see(m.ArtifactFailed(hash_, problem, retryable) if problem else m.ArtifactReady(hash_))
        self._reader.on_fetched(hash_, problem)

    def _next_request(self) -> int:
        self._requests += 1
        return self._requests

    # -- output ------------------------------------------------------------------------------------
    def _send_logs(self, message: msg.LogData, data: bytes) -> None:
        if self._peer is not None:
            self._peer.send(message, data)

    def _on_logs_sent(self, lease: int) -> None:
        if not self._values.holds(lease):
            self.see(m.LogsSent(lease))

    async def _catch_up(self) -> None:
        """Send unsent output while the master reads, until cancelled."""
        while True:
            await self._lag.wait()
            self._lag.clear()
            while self._peer is not None:
                if self._peer.congested:
                    try:
                        await self._peer.drain()
                    except ConnectionError:
                        break  # after the next registration the master names the offsets to continue at
                elif self._pump.catch_up():
                    await asyncio.sleep(0)
                else:
                    break
