"""Services of a worker: readiness and restarts. Pure: part of the worker's state machine.

The attempt of a service keeps its slot from its first process to its last. For other jobs the end
of the process is the end of the attempt. For a service it is only the end of a process, as long as
the restart policy allows another process.

The worker reports the current state of each service to the master, not each change of it. A new
state is sent at once, but at most one per service in `REPORT_S`. All states are sent with each
heartbeat. So a service that keeps crashing causes at most one report a second besides those with
heartbeats. The backoff between restarts makes them rarer still.

    starting ── healthy ──► READY ── `misses` failed checks, or its end ──► backoff ──► starting
        └──── its end, or not healthy in time ─────────────────────────────────┘
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from titan.model.backoff import backoff_delay
from titan.model.dag import Service
from titan.model.failure import with_loss
from titan.model.services import STEADY_S, resolved
from titan.model.sizes import format_size
from titan.model.states import Outcome
from titan.worker.state_machine.attempt import Held, Phase
from titan.worker.state_machine.messages import (
    AttemptExited,
    AttemptRefused,
    AttemptStarted,
    CheckHealth,
    CloseService,
    DrainOrdered,
    HealthSeen,
    Instruction,
    PortChosen,
    QuitOrdered,
    Registered,
    ReportServices,
    RestartService,
    StopAttempt,
    StopOrdered,
    WardenDied,
    Welcomed,
)
from titan.worker.state_machine.suspects import WARDEN_DIED, Suspects

REPORT_S = 1.0
FIRST_CHECK_S = 0.05
"""Delay of the first health check after a start. Until the service is READY, each later delay is
twice the previous one, up to the interval."""


class Machine(Protocol):
    """Interface of the worker's state machine to its services. The handlers of `Services` get an
    input before those of the machine."""

    @property
    def held(self) -> Mapping[int, Held]: ...

    @property
    def suspects(self) -> Suspects: ...

    @property
    def connected(self) -> bool: ...

    @property
    def draining(self) -> bool: ...

    @property
    def grace_s(self) -> float: ...

    @property
    def beat_due(self) -> bool:
        """A heartbeat is sent at the end of this turn."""

    def order(self, instruction: Instruction) -> None:
        """Add an instruction, which the shell carries out at the end of this turn."""

    def end(
        self,
        now: float,
        lease: int,
        outcome: Outcome,
        reason: str,
        *,
        lost: str = "",
        exit_code: int = -1,
        finished_at: float = 0.0,
        cpu_s: float = 0.0,
        peak_bytes: int = 0,
    ) -> None:
        """End an attempt."""

    def on_warden_died(self, now: float, received: WardenDied) -> None: ...

    def on_stop_ordered(self, now: float, received: StopOrdered) -> None: ...

    def on_drain_ordered(self, now: float, received: DrainOrdered) -> None: ...

    def on_quit_ordered(self, now: float, received: QuitOrdered) -> None: ...

    def on_welcomed(self, now: float, received: Welcomed) -> None: ...


class Watch(msgspec.Struct):
    """State of one service on this worker."""

    service: Service
    port: int
    process: bool = True
    """True if a process exists or is being started."""
    begun_at: float = 0.0
    """Start time of the current process, 0 if it has not started."""
    ready_at: float = 0.0
    wait_s: float = FIRST_CHECK_S
    """Delay of the next check while the service starts."""
    probes: int = 0
    probing: bool = False
    misses: int = 0
    restarts: int = 0
    in_a_row: int = 0
    """Number of restarts since the service was last READY for `STEADY_S`."""
    reason: str = ""
    killed_for: str = ""
    """Reason why the worker is stopping the process, "" if it is not. When the process has exited,
    the restart policy decides whether another one starts or the attempt ends."""
    due: float = 0.0
    """Time of the next health check, or of the next start if there is no process. 0: none."""
    serial: int = 1
    reported: int = 0
    reported_at: float = 0.0


class Services:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.all: dict[int, Watch] = {}
        """lease -> state of each service for which a port was chosen."""

    # -- the machine's calls -----------------------------------------------------------------------
    def take(self, now: float, received: Any) -> bool:
        """Handle an input. Return False if the machine has to handle it too."""
        handler = _HANDLERS.get(type(received))
        return handler is not None and (bool(self.all) or type(received) in _ALWAYS) and handler(self, now, received)

    def work(self, now: float) -> None:
        """Order the starts and health checks that are due, and report."""
        if not self.all:
            return
        machine = self._machine
        for lease, watch in self.all.items():
            if not watch.due or watch.due > now:
                continue
            watch.due = 0.0
            if not watch.process:
                watch.process = True
                machine.order(RestartService(lease))
            else:
                watch.probes += 1
                watch.probing = True
                machine.order(CheckHealth(lease, watch.probes))
        if machine.connected:
            self._report(now, everything=machine.beat_due)

    def next_due(self) -> float | None:
        if not self.all:
            return None
        dues = [watch.due for watch in self.all.values() if watch.due]
        if self._machine.connected:
            unreported = [(watch, self._machine.held[lease]) for lease, watch in self.all.items() if watch.reported != watch.serial]
            dues += [watch.reported_at + REPORT_S for watch, held in unreported if held.started_at and not held.orphaned]
        return min(dues, default=None)

    def ended(self, lease: int) -> None:
        """Drop the state of an attempt that is over. The attempt need not be a service."""
        self.all.pop(lease, None)
        if self._machine.held[lease].assignment.template.service is not None:
            self._machine.order(CloseService(lease))

    def _report(self, now: float, *, everything: bool) -> None:
        rows = []
        for lease, watch in self.all.items():
            held = self._machine.held[lease]
            changed = watch.reported != watch.serial and now >= watch.reported_at + REPORT_S
            if held.started_at and not held.orphaned and (changed or everything):
                next_start = 0.0 if watch.process else watch.due
                state = (held.started_at, watch.ready_at, watch.port, watch.restarts, watch.reason, next_start)
                rows.append((lease, watch.serial, *state))
                watch.reported, watch.reported_at = watch.serial, now
        if rows:
            self._machine.order(ReportServices(*[list(column) for column in zip(*rows, strict=True)]))

    # -- a process starts and ends -----------------------------------------------------------------
    def on_port_chosen(self, now: float, received: PortChosen) -> bool:
        held = self._machine.held.get(received.lease)
        watch = self.all.get(received.lease)
        if watch is not None:
            watch.port = received.port
        elif held is not None and held.phase is Phase.STARTING and not held.orphaned:
            service = held.assignment.template.service
            assert service is not None
            self.all[received.lease] = Watch(resolved(service), received.port)
        return True

    def on_attempt_started(self, now: float, received: AttemptStarted) -> bool:
        watch = self.all.get(received.lease)
        if watch is None:
            return False
        held = self._machine.held[received.lease]
        watch.begun_at, watch.wait_s, watch.misses = received.at, FIRST_CHECK_S, 0
        watch.serial += 1
        if watch.service.health == "none":
            watch.ready_at = received.at
        else:
            watch.due = now + FIRST_CHECK_S
        if self._machine.draining and held.stopping is None:
            self._hand_back(now, received.lease, watch)
        return held.phase is Phase.RUNNING  # the machine has to handle the first start, too

    def on_attempt_exited(self, now: float, received: AttemptExited) -> bool:
        watch, held = self._running(received.lease)
        if watch is None or held is None:
            return False
        limits = held.assignment.template.limits
        reason = watch.killed_for or _exit_text(received.exit_code)
        if received.over_memory and limits is not None:
            reason = f"used more than its memory limit of {format_size(limits.memory)}"
        policy = watch.service.restart
        if policy == "never" or (policy == "on-failure" and received.exit_code == 0 and not watch.killed_for):
            if not watch.killed_for:
                return False
            self._give_up(now, received, watch.killed_for)
        elif watch.service.max_restarts and watch.in_a_row >= watch.service.max_restarts and not self._was_steady(watch, now):
            self._give_up(now, received, f"restarted {watch.in_a_row} times in a row, and then: {reason}")
        else:
            self._crashed(now, watch, with_loss(reason, received.lost))
        return True

    def on_attempt_refused(self, now: float, received: AttemptRefused) -> bool:
        watch, held = self._running(received.lease)
        if watch is None or held is None or held.phase is Phase.STARTING:
            return False
        self._crashed(now, watch, received.message)
        return True

    def on_warden_died(self, now: float, received: WardenDied) -> bool:
        own = [lease for lease in received.leases if (held := self._running(lease)[1]) is not None and held.phase is Phase.RUNNING]
        for lease in own:
            self._crashed(now, self.all[lease], WARDEN_DIED)
            if lease in received.begun:
                self._machine.suspects.suspect(self._machine.held[lease])
        others = [lease for lease in received.leases if lease not in own]
        self._machine.on_warden_died(now, WardenDied(others, received.at, received.begun))
        return True

    def _running(self, lease: int) -> tuple[Watch | None, Held | None]:
        """Return the state of a service and its attempt, or (None, None) if the service has been
        ordered to end."""
        watch, held = self.all.get(lease), self._machine.held.get(lease)
        wanted = held is not None and held.stopping is None and not held.orphaned
        return (watch, held) if watch is not None and wanted else (None, None)

    def _was_steady(self, watch: Watch, now: float) -> bool:
        return watch.ready_at > 0 and now - watch.ready_at >= STEADY_S

    def _crashed(self, now: float, watch: Watch, reason: str) -> None:
        if self._was_steady(watch, now):
            watch.in_a_row = 0
        service = watch.service
        watch.due = now + backoff_delay(watch.in_a_row, service.backoff_s, service.backoff_max_s)
        watch.in_a_row += 1
        watch.restarts += 1
        watch.process = watch.probing = False
        watch.ready_at = watch.begun_at = 0.0
        watch.reason, watch.killed_for = reason, ""
        watch.serial += 1

    def _give_up(self, now: float, received: AttemptExited, reason: str) -> None:
        code = 128 - received.exit_code if received.exit_code < 0 else received.exit_code
        outcome = Outcome.SIGNALED if received.exit_code < 0 else Outcome.EXITED
        self._machine.end(
            now,
            received.lease,
            outcome,
            reason,
            lost=received.lost,
            exit_code=code,
            finished_at=received.at,
            cpu_s=received.cpu_s,
            peak_bytes=received.peak_bytes,
        )

    # -- health ------------------------------------------------------------------------------------
    def on_health_seen(self, now: float, received: HealthSeen) -> bool:
        watch, _ = self._running(received.lease)
        if watch is None or not watch.probing or received.probe != watch.probes:
            return True
        watch.probing = False
        if not watch.begun_at or watch.killed_for:
            return True
        service = watch.service
        if received.healthy:
            watch.misses = 0
            if not watch.ready_at:
                watch.ready_at = received.at
                if not watch.restarts:  # the reason is a failed check from before the service was ready
                    watch.reason = ""
                watch.serial += 1
            watch.due = now + service.interval_s
        elif watch.ready_at:
            watch.misses += 1
            if watch.misses >= service.misses:
                self._replace(now, received.lease, watch, f"unhealthy, {watch.misses} checks in a row failed: {received.message}")
            else:
                watch.due = now + service.interval_s
        elif now - watch.begun_at >= service.start_s:
            hint = "; does it listen on $TITAN_PORT?" if not service.port and service.health in ("tcp", "http") else ""
            self._replace(now, received.lease, watch, f"was not healthy within {service.start_s:g} s: {received.message}{hint}")
        else:
            if watch.reason != received.message and not watch.restarts:
                watch.reason = received.message
                watch.serial += 1
            watch.wait_s = min(2 * watch.wait_s, service.interval_s)
            watch.due = now + min(watch.wait_s, max(0.001, watch.begun_at + service.start_s - now))
        return True

    def _replace(self, now: float, lease: int, watch: Watch, reason: str) -> None:
        """Stop the service's process because of `reason`. When it has exited, the restart policy
        applies."""
        if self._was_steady(watch, now):
            watch.in_a_row = 0
        watch.killed_for = watch.reason = reason
        watch.ready_at = 0.0
        watch.serial += 1
        self._machine.order(StopAttempt(lease, self._machine.grace_s))

    # -- the end of an attempt ---------------------------------------------------------------------
    def on_stop_ordered(self, now: float, received: StopOrdered) -> bool:
        idle = [lease for lease in received.leases if self._end_if_idle(now, lease, Outcome.STOPPED, "stopped")]
        for lease in received.leases:
            if lease in self.all:
                self.all[lease].due = 0.0
        self._machine.on_stop_ordered(now, StopOrdered([lease for lease in received.leases if lease not in idle], received.grace_s))
        return True

    def on_drain_ordered(self, now: float, received: DrainOrdered) -> bool:
        """Stop every service and return it to the master, which starts it on another worker. A
        drain cannot wait for a service, because a service does not end by itself."""
        if self._machine.draining:
            return False
        self._machine.on_drain_ordered(now, received)
        for lease, watch in list(self.all.items()):
            if self._machine.held[lease].stopping is None:
                self._hand_back(now, lease, watch)
        return True

    def _hand_back(self, now: float, lease: int, watch: Watch) -> None:
        if not self._end_if_idle(now, lease, Outcome.RETURNED, "the worker drains"):
            watch.due = 0.0
            self._machine.held[lease].stopping = Outcome.RETURNED
            self._machine.order(StopAttempt(lease, self._machine.grace_s))

    def on_quit_ordered(self, now: float, received: QuitOrdered) -> bool:
        self._machine.on_quit_ordered(now, received)
        for lease, watch in list(self.all.items()):
            watch.due = 0.0
            self._end_if_idle(now, lease, Outcome.RETURNED, "the worker was stopped")
        return True

    def on_welcomed(self, now: float, received: Welcomed) -> bool:
        self._machine.on_welcomed(now, received)
        for lease in list(self.all):
            if self._machine.held[lease].orphaned:
                self.all[lease].due = 0.0
                self._end_if_idle(now, lease, Outcome.STOPPED, "stopped")
        return True

    def on_registered(self, now: float, received: Registered) -> bool:
        for watch in self.all.values():
            watch.reported, watch.reported_at = 0, 0.0
        return False

    def _end_if_idle(self, now: float, lease: int, outcome: Outcome, reason: str) -> bool:
        """End the attempt of a service if it has no process at the moment. Return whether the
        attempt was ended."""
        watch = self.all.get(lease)
        if watch is None or watch.process:
            return False
        self._machine.end(now, lease, outcome, reason)
        return True


def _exit_text(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


_ALWAYS = (PortChosen, HealthSeen)
_HANDLERS: dict[type, Callable[[Services, float, Any], bool]] = {
    PortChosen: Services.on_port_chosen,
    HealthSeen: Services.on_health_seen,
    AttemptStarted: Services.on_attempt_started,
    AttemptExited: Services.on_attempt_exited,
    AttemptRefused: Services.on_attempt_refused,
    WardenDied: Services.on_warden_died,
    StopOrdered: Services.on_stop_ordered,
    DrainOrdered: Services.on_drain_ordered,
    QuitOrdered: Services.on_quit_ordered,
    Welcomed: Services.on_welcomed,
    Registered: Services.on_registered,
}
