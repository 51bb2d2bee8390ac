"""One process of a worker: the production state machine between a virtual network and fake
processes.

A restarted worker is another SimWorker with the same name and a higher incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.model.demand import MILLI
from titan.model.states import Outcome
from titan.protocol import messages as pm
from titan.protocol.codec import MessageDecoder, Misfit, encode
from titan.protocol.handshake import hello
from titan.sim.clock import Timer
from titan.sim.files import WorkerFiles
from titan.sim.growing import Growing
from titan.sim.job_reports import Reporting
from titan.sim.network import Connection
from titan.sim.oracle.job_results import judge_results
from titan.sim.oracle.processes import Host, Violation
from titan.sim.processes import Processes
from titan.sim.runners import Runners
from titan.sim.scenario import WorkerPlan
from titan.sim.translation import describe
from titan.sim.world import SOFTWARE, World
from titan.worker.state_machine import machine as wm
from titan.worker.state_machine import messages
from titan.worker.state_machine.resources import Resources
from titan.worker.translation import assignments

HANDSHAKE_S = 8.0
SILENCE_S = 12.0
"""Time without an answer to heartbeats after which a worker dials again."""


class SimWorker:
    def __init__(self, world: World, plan: WorkerPlan, incarnation: int, *, host: str) -> None:
        self.world = world
        self.plan = plan
        self.incarnation = f"{plan.name}:{incarnation:04d}"
        self.host = host
        """Name of the worker's machine in the network."""
        cpus, memory, gpus = plan.total
        resources = Resources(cpus / MILLI, memory, tuple([f"gpu{n}" for n in range(gpus)]))
        self.machine = wm.WorkerMachine(
            plan.slots, grace_s=world.scenario.settings.stop_grace_s, resources=resources, quick_s=world.scenario.quick_s
        )
        self.kernel = Host(plan.name, self.incarnation, plan.slots, plan.total)
        self.processes = Processes(world, self.kernel, self._receive, self._on_process_ended)
        self.runners = Runners(world, self.kernel, self._receive, self._on_process_ended)
        self.growing = Growing(world, self._send, self.processes.is_running)
        self.reporting = Reporting(
            world,
            self.machine.held,
            send=self._send,
            can_send=lambda: self._registered and self.machine.connected,
            receive=self._receive,
            is_running=self.processes.is_running,
            later=self._later,
        )
        self.processes.on_started = self._on_process_started
        self.on_ended: Callable[[], None] = lambda: None
        """Callback for the case that this process ends because the master refused its name. It is
        called some time after the end."""
        self.alive = True
        self.link: Connection | None = None
        self._decoder = MessageDecoder()
        self._register_sent = False
        """True if Register was sent on this connection."""
        self._registered = False
        """True if the master accepted Register on this connection."""
        self._registered_at = 0.0
        self.nameless = False
        """True if the master refused the last Register, because another process has the name."""
        self._heard_at = 0.0
        self._listed: list[int] = []
        """Leases in the last heartbeat."""
        self._strays: dict[int, int] = {}
        """Fenced lease -> number of heartbeats that listed it."""
        self._inbox: list[Any] = []
        self._turn: Timer | None = None
        self._alarm: Timer | None = None
        self.files = WorkerFiles(
            world, send=self._send, receive=self._receive, kept=self._on_kept, later=self._later, trouble=self._trouble
        )
        self._flushed: dict[int, None] = {}
        """Attempts whose output is complete, though perhaps not sent yet."""
        self._dial()

    # -- crashes -----------------------------------------------------------------------------------
    def crash(self, *, silent: bool) -> None:
        """Crash. `silent`: the machine loses its power, so the master does not notice."""
        self.world.trace.note(self.plan.name, f"{self.incarnation} crashes")
        self.world.trace.count("worker crash")
        self._kill_all()
        self._die(silent=silent)

    def lose_warden(self) -> None:
        """Kill the warden and all processes that it started. The worker survives."""
        self.runners.lose_all()
        self.processes.kill_runner()

    def _kill_all(self) -> None:
        self.processes.kill_all()
        self.runners.kill_all()

    def _die(self, *, silent: bool) -> None:
        self.alive = False
        for timer in (self._turn, self._alarm):
            if timer is not None:
                timer.cancel()
        if self.link is not None:
            (self.world.network.vanish if silent else self.world.network.close)(self.link, self.link.up)
            self.link = None

    def order(self, received: wm.DrainOrdered | wm.QuitOrdered) -> None:
        self.world.trace.note(self.plan.name, f"{self.incarnation} receives {type(received).__name__}")
        self.world.trace.count("worker told to leave")
        self._receive(received)

    # -- the connection ----------------------------------------------------------------------------
    def _later(self, delay: float, action: Callable[[], None]) -> Timer:
        return self.world.clock.after(delay, lambda: action() if self.alive else None)

    def _dial(self) -> None:
        if self.link is None:
            self.world.network.dial(self.host, self, self._retry)

    def _retry(self) -> None:
        self._later(0.5 + self.world.rng.random(), self._dial)

    def on_opened(self, link: Connection) -> None:
        if not self.alive or self.link is not None:
            self.world.network.close(link, link.up)
            return
        self.link, self._decoder = link, MessageDecoder()
        self._register_sent = False
        self._listed, self._strays = [], {}
        self._heard_at = self.world.clock.now
        self._send(hello("worker", SOFTWARE))
        self._later(HANDSHAKE_S, lambda: self._hang_up() if self.link is link and not self._registered else None)

    def on_closed(self, link: Connection) -> None:
        if self.link is link:
            self._hang_up()

    def _hang_up(self, wait_s: float = 0.1) -> None:
        """Close the connection and dial again."""
        if self.link is None:
            return
        self.world.network.close(self.link, self.link.up)
        self.link, self._registered = None, False
        self.reporting.disconnected()
        self._receive(wm.Disconnected())
        self._later(wait_s + self.world.rng.random(), self._dial)

    def _send(self, message: pm.Message) -> None:
        if self.link is not None:
            self.world.network.send(self.link, self.link.up, encode(message))

    def on_received(self, link: Connection, data: bytes) -> None:
        if not self.alive or self.link is not link:
            return
        for received in self._decoder.receive_data(data):
            if isinstance(received, Misfit):
                raise Violation(f"{self.plan.name} cannot decode a message: {received.error}")
            self._on_message(received.message)

    def _on_message(self, message: pm.Message) -> None:
        self._heard_at = self.world.clock.now
        if self.files.on_message(message):
            return
        oracle = self.world.oracle
        match message:
            case pm.Welcome():
                if not self._register_sent:
                    self._receive(wm.Welcomed(message.cluster))
                    self._take_turn()
                    self._register(message.cluster)
            case pm.Registered():
                self._receive(wm.Registered(message.heartbeat_s))
                if not self._registered:
                    self._registered_at = self.world.clock.now
                self._registered, self.nameless = True, False
                for lease in self.machine.held:
                    # the state machine has handled the end of the attempt, or the end is in the
                    # inbox
                    if lease in self._flushed:
                        self._flush(lease)
            case pm.Heard():
                listed, self._listed = self._listed, []
                oracle.on_heard(self.kernel, listed, self._strays)
            case pm.Dispatch():
                for i, lease in enumerate(message.leases):
                    oracle.on_dispatched(lease, message.services[i] if message.services else ())
                self._receive(wm.Dispatched(assignments(message), message.draw))
            case pm.Recall(_, leases):
                self._receive(wm.RecallOrdered(leases))
            case pm.StopAttempts(_, leases, grace_s):
                self._receive(wm.StopOrdered(leases, grace_s))
            case pm.Leave(_, now):
                if now and not self.machine.quitting:
                    self.order(wm.QuitOrdered())
                elif not self.machine.draining:
                    self.order(wm.DrainOrdered())
            case pm.Acked(_, leases):
                for lease in leases:
                    oracle.on_acked(lease)
                self._receive(wm.ResultsAcked(leases))
            case pm.Grown():
                self.growing.on_answer(message)
            case pm.Error() if self.growing.on_answer(message):
                pass
            case pm.Error():
                self._on_refused(message)

    def _register(self, cluster: str) -> None:
        self._register_sent = True
        held = self.machine.holdings()
        plan = self.plan
        self._send(
            pm.Register(
                request=2,
                name=plan.name,
                incarnation=self.incarnation,
                cluster=cluster,
                capabilities=plan.capabilities,
                slots=plan.slots,
                facts={
                    "host": self.host,
                    "cpus": plan.total[0] / MILLI,
                    "memory_bytes": plan.total[1],
                    "gpus": plan.total[2],
                },
                leases=held.leases,
                started=held.started,
                draining=self.machine.draining,
                draws=held.draws,
                draw_of=held.draw_of,
            )
        )

    def _on_refused(self, error: pm.Error) -> None:
        self.world.trace.note(self.plan.name, f"{self.incarnation} receives {describe(error)}")
        if "must end" in error.message:
            self.world.trace.count("worker superseded")
            self._kill_all()
            self._die(silent=False)
        elif self.processes.count or self.runners.count:  # the worker ends together with its jobs, and is restarted
            self.world.trace.count("worker refused")
            self._kill_all()
            self._die(silent=False)
            self.world.clock.after(2.0, self.on_ended)
        else:
            self.nameless = True
            self._hang_up(wait_s=2.0)

    # -- turns -------------------------------------------------------------------------------------
    def _receive(self, value: Any) -> None:
        self._inbox.append(value)
        self._wake()

    def _wake(self) -> None:
        if self._turn is None and self.alive:
            self._turn = self.world.clock.after(self.world.pause(), self._take_turn)

    def _take_turn(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
        self._turn = None
        now, inputs = self.world.clock.now, self._inbox
        self._inbox = []
        due = self.machine.next_due()
        if due is not None and due <= now:
            inputs.insert(self.world.rng.randint(0, len(inputs)), wm.TimePassed())
        for received in inputs:
            if isinstance(received, wm.StopOrdered):
                self.world.oracle.process_oracle.record_stop_order(self.kernel, received.leases, now)
        for instruction in self.machine.handle(now, inputs):
            self._follow(instruction)
        if self.alive:
            self.reporting.go_on()
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.machine.next_due()
        self._alarm = None if due is None else self.world.clock.at(due, self._wake)

    def _follow(self, instruction: wm.Instruction) -> None:
        match instruction:
            case wm.StartAttempt(assignment, gpus, behind):
                self.world.oracle.file_oracle.judge_start(assignment, self.files.local_hashes)
                judge_results(self.world.oracle.log_oracle, assignment)
                self.processes.start(assignment, gpus, behind)
            case wm.WithdrawAttempt(lease):
                self._later(self.world.pause(), lambda: self.processes.withdraw(lease))
            case wm.StartCalls(runner, assignments):
                self.runners.call(runner, assignments)
            case wm.TakeBack(runner, count):
                self.runners.take_back(runner, count)
            case wm.KillRunner(runner):
                self.runners.kill(runner)
            case wm.StopAttempt(lease, grace_s):
                self.processes.stop(lease, grace_s)
            case messages.RestartService(lease):
                self.world.trace.count("service restarted")
                self.processes.restart(lease)
            case messages.CheckHealth(lease, probe):
                self.processes.check(lease, probe)
            case messages.CloseService(lease):
                self.processes.close(lease)
            case messages.ReportServices() as r:
                columns = (r.leases, r.serials, r.started, r.ready_ats, r.ports, r.restarts, r.reasons, r.next_starts)
                self._send(pm.ServiceStates(0, *columns))
            case messages.KeepOutputs(lease):
                self.files.keep(self.machine.held[lease].assignment)
            case messages.GiveUpOutputs(lease):
                self.files.give_up(lease)
                self._on_kept(lease)
            case wm.FetchArtifact(digest) if digest.startswith(messages.FILE_PREFIX):
                self.files.fetch(digest.removeprefix(messages.FILE_PREFIX))
            case wm.FetchArtifact(digest):
                self._later(self.world.rng.random() * 2.0, lambda: self._on_fetched(digest))
            case wm.ReportStarted(leases, ats):
                self._send(pm.Started(0, leases, ats))
            case wm.ReportResults(results):
                self.reporting.before_results()
                self._send(_results(results))
            case wm.Beat():
                self._beat(instruction)
            case wm.AnnounceDrain():
                self._send(pm.Draining(0))
            case wm.Leave():
                self.world.trace.note(self.plan.name, f"{self.incarnation} leaves")
                self._send(pm.Leaving(3))
                self._die(silent=False)
            case wm.Forget(leases):
                for lease in leases:
                    self.files.give_up(lease)
                    self.reporting.forget(lease)

    def _beat(self, instruction: wm.Beat) -> None:
        if self.world.clock.now - self._heard_at > SILENCE_S:
            self._hang_up()
        else:
            self._listed = instruction.leases
            self._send(pm.Heartbeat(0, instruction.leases, instruction.started, instruction.draws, instruction.draw_of))

    # -- ends of uploads, downloads and processes --------------------------------------------------
    def _on_fetched(self, digest: str) -> None:
        if not self.world.chance(self.world.faults.fetch_failure):
            self._receive(wm.ArtifactReady(digest))
            return
        retryable = self.world.rng.random() < 0.9
        self._trouble(digest, Outcome.BROKEN if retryable else Outcome.REFUSED)
        self._receive(wm.ArtifactFailed(digest, "not there", retryable))

    def _trouble(self, digest: str, outcome: Outcome) -> None:
        """Record the outcome of all attempts that wait for a failed artifact."""
        known = [held.assignment for held in self.machine.held.values()]
        for received in self._inbox:
            if isinstance(received, wm.Dispatched):
                known += received.assignments
        for assignment in known:
            if digest in assignment.needs:
                self.world.oracle.process_oracle.record_trouble(assignment.lease, outcome)

    def _on_kept(self, lease: int) -> None:
        """Handle the end of an attempt's upload, which is complete or given up. The attempt's
        output is reported only after this."""
        if lease in self._flushed:
            self._flush(lease)

    def _on_process_started(self, assignment: wm.Assignment) -> None:
        self.growing.on_started(assignment)
        self.reporting.on_started(assignment)

    def _on_process_ended(self, lease: int, flush_s: float) -> None:
        self._later(flush_s, lambda: self._flush(lease))

    def _flush(self, lease: int) -> None:
        """Record that an attempt's output is complete, and report this if the worker is
        registered."""
        self._flushed[lease] = None
        if self._registered:
            self._receive(wm.LogsSent(lease))

    @property
    def connected_s(self) -> float:
        """Seconds for which the worker's messages have reached the master; 0 while they do not."""
        link = self.link
        if link is None or link.broken or not self._registered or self.host in self.world.network.cut_off:
            return 0.0
        return self.world.clock.now - self._registered_at

    def open_work(self) -> list[str]:
        """Describe unfinished work, one text for each item. The list must be empty at the end of a
        simulation."""
        if not self.alive:
            return []
        held = len(self.machine.held)
        if self.nameless and all(h.phase in (wm.Phase.ENDED, wm.Phase.DONE) for h in self.machine.held.values()):
            # the master forgot this worker, and an older process has its name:
            # nobody needs its results
            held = 0
        return (
            [f"{self.plan.name} {self.incarnation} holds {held} attempts"]
            if held or self._inbox or self.processes.count or self.runners.count
            else []
        )


def _results(results: list[wm.Result]) -> pm.Results:
    return pm.Results(
        request=0,
        leases=[r.lease for r in results],
        outcomes=[int(r.outcome) for r in results],
        exit_codes=[r.exit_code for r in results],
        reasons=[r.reason for r in results],
        started=[r.started_at for r in results],
        finished=[r.finished_at for r in results],
        cpu_s=[r.cpu_s for r in results],
        peak_bytes=[r.peak_bytes for r in results],
        values=[r.value for r in results] if any(r.value for r in results) else [],
        outputs=[r.outputs for r in results] if any(r.outputs for r in results) else [],
    )
