"""What really ran, whatever the master believes: every process, told by the fake kernels of the
workers."""

from __future__ import annotations

import msgspec

from titan.model.demand import KINDS, NOTHING, Amounts
from titan.model.states import Outcome
from titan.sim.trace import short


class Violation(AssertionError):
    """Something that must never happen did."""


class Host(msgspec.Struct, frozen=True):
    """One process of a worker."""

    name: str
    incarnation: str
    slots: int
    total: Amounts = NOTHING


class Process(msgspec.Struct):
    """A process of an attempt. Times are virtual; `ended_at` 0 while it lives."""

    lease: int
    host: Host
    run: str
    job: str
    attempt: int
    timeout_s: float
    started_at: float
    ended_at: float = 0.0
    exit_code: int = 0
    crashed: bool = False
    """It ended with its worker, which told nobody."""
    must_end_by: float = 0.0
    """It was told to stop."""
    asked: Amounts = NOTHING
    gpus: tuple[str, ...] = ()
    service: bool = False
    """Others may follow it under its lease."""
    began_at: float = 0.0
    """Of a service: when the first one under this lease started."""


class Said(msgspec.Struct):
    """What an attempt said of itself, each in its order."""

    progress: list[tuple[float, str]] = msgspec.field(default_factory=list)
    progress_at: float = 0.0
    statuses: list[str] = msgspec.field(default_factory=list)
    """No two are equal."""
    status_at: float = 0.0
    value: bytes = b""
    """The result that it last set."""
    results: int = 0


class Truth:
    def __init__(self, *, grace_s: float, slack_s: float) -> None:
        self.processes: dict[int, Process] = {}
        """By lease: an attempt has one process at most; of a service this is the newest."""
        self.live: dict[int, Process] = {}
        self.troubles: dict[int, list[Outcome]] = {}
        """Attempts that the worker's machinery could not start or lost: REFUSED, BROKEN. Calls that
        killed a runner: SIGNALED."""
        self.healthy: dict[int, dict[float, None]] = {}
        """Of the services, by lease: when a check found a live process healthy."""
        self.said: dict[int, Said] = {}
        """By lease, while its process was there and its worker took it."""
        self._stopped: dict[tuple[str, str, int], None] = {}
        self._grace_s = grace_s
        self._slack_s = slack_s

    def started(self, process: Process) -> None:
        lease, host = process.lease, process.host
        earlier = self.processes.get(lease)
        process.began_at = earlier.began_at if earlier is not None else process.started_at
        if earlier is not None and not (process.service and earlier.ended_at):
            raise Violation(f"lease {short(lease)} of {process.run}/{process.job} has a second process")
        if (host.name, host.incarnation, lease) in self._stopped:
            raise Violation(f"{process.run}/{process.job} starts on {host.name} after the order to stop lease {short(lease)} came")
        self.processes[lease] = self.live[lease] = process
        here = [p for p in self.live.values() if p.host is host]
        if len(here) > host.slots:
            raise Violation(f"{host.name} runs {len(here)} processes in {host.slots} slots")
        if process.asked != NOTHING:
            self._judge_resources(process, here)

    def _judge_resources(self, process: Process, here: list[Process]) -> None:
        host = process.host
        for kind, total in enumerate(host.total):
            used = sum(p.asked[kind] for p in here)
            if process.asked[kind] and used > total:
                raise Violation(f"{host.name} has {total} {KINDS[kind]}; its processes asked for {used}: {here}")
        if len(process.gpus) != process.asked[2]:
            raise Violation(f"{process.run}/{process.job} asked for {process.asked[2]} GPUs and got {process.gpus}")
        given = [gpu for p in here for gpu in p.gpus]
        if len(set(given)) < len(given):
            raise Violation(f"a GPU of {host.name} was given twice: {given}")

    def ended(self, lease: int, exit_code: int, at: float, *, crashed: bool = False) -> None:
        process = self.live.pop(lease)
        process.ended_at, process.exit_code, process.crashed = at, exit_code, crashed
        if process.must_end_by and at > process.must_end_by:
            raise Violation(f"{process.run}/{process.job} ran on for {at - process.must_end_by:.1f} s after its stop and grace")
        if process.timeout_s and at - process.started_at > process.timeout_s + self._grace_s + self._slack_s:
            raise Violation(
                f"{process.run}/{process.job} ran {at - process.started_at:.1f} s with a limit of {process.timeout_s} s"
            )

    def said_by(self, lease: int) -> Said:
        return self.said.setdefault(lease, Said())

    def found_healthy(self, lease: int, at: float) -> None:
        self.healthy.setdefault(lease, {})[at] = None

    def trouble(self, lease: int, outcome: Outcome) -> None:
        self.troubles.setdefault(lease, []).append(outcome)

    def is_told_to_stop(self, host: Host, lease: int) -> bool:
        return (host.name, host.incarnation, lease) in self._stopped

    def told_to_stop(self, host: Host, leases: list[int], at: float) -> None:
        """The order reached the worker: nothing of these leases starts there any more, and what
        runs ends soon."""
        for lease in leases:
            self._stopped[host.name, host.incarnation, lease] = None
            process = self.live.get(lease)
            if process is not None and process.host is host and not process.must_end_by:
                process.must_end_by = at + self._grace_s + self._slack_s
