"""Simulated processes of attempts. The fake operating systems of the workers report them to the
oracle."""

from __future__ import annotations

import msgspec

from titan.model.demand import KINDS, NOTHING, Amounts
from titan.model.states import Outcome
from titan.sim.trace import short


class Violation(AssertionError):
    """Violation of a guarantee of Titan, detected by the oracle."""


class Host(msgspec.Struct, frozen=True):
    """One process of a worker."""

    name: str
    incarnation: str
    slots: int
    total: Amounts = NOTHING


class Process(msgspec.Struct):
    """Process of an attempt. Times are virtual; `ended_at` is 0 while the process runs."""

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
    """True if the process died with its worker, so that nobody reported the end."""
    must_end_by: float = 0.0
    """Latest allowed end after an order to stop; 0 without such an order."""
    asked: Amounts = NOTHING
    gpus: tuple[str, ...] = ()
    service: bool = False
    """True if the process is a service. Other processes may follow under its lease."""
    began_at: float = 0.0
    """Start of the first process under this lease."""


class Reports(msgspec.Struct):
    """Reports of an attempt about itself. Each list is in the order of the reports."""

    progress: list[tuple[float, str]] = msgspec.field(default_factory=list)
    progress_at: float = 0.0
    statuses: list[str] = msgspec.field(default_factory=list)
    """Status texts, all different."""
    status_at: float = 0.0
    value: bytes = b""
    """Result that the attempt set last."""
    results: int = 0


class ProcessOracle:
    def __init__(self, *, grace_s: float, slack_s: float) -> None:
        self.processes: dict[int, Process] = {}
        """Lease -> its process; for a service, its newest process."""
        self.live: dict[int, Process] = {}
        self.troubles: dict[int, list[Outcome]] = {}
        """Lease -> troubles of the attempt: REFUSED or BROKEN if the worker could not start the
        attempt or lost it, SIGNALED if a call killed its runner."""
        self.healthy: dict[int, dict[float, None]] = {}
        """Lease of a service -> times at which a check found its process healthy."""
        self.reports: dict[int, Reports] = {}
        """Lease -> the reports that its worker accepted while its process ran."""
        self._stopped: dict[tuple[str, str, int], None] = {}
        self._grace_s = grace_s
        self._slack_s = slack_s

    def record_start(self, process: Process) -> None:
        lease, host = process.lease, process.host
        earlier = self.processes.get(lease)
        process.began_at = earlier.began_at if earlier is not None else process.started_at
        if earlier is not None and not (process.service and earlier.ended_at):
            raise Violation(f"lease {short(lease)} of {process.run}/{process.job} has a second process")
        if (host.name, host.incarnation, lease) in self._stopped:
            raise Violation(f"{process.run}/{process.job} starts on {host.name} after the order to stop lease {short(lease)}")
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
                raise Violation(f"{host.name} has {total} {KINDS[kind]}; its processes need {used}: {here}")
        if len(process.gpus) != process.asked[2]:
            raise Violation(f"{process.run}/{process.job} needs {process.asked[2]} GPUs and got {process.gpus}")
        gpus = [gpu for p in here for gpu in p.gpus]
        if len(set(gpus)) < len(gpus):
            raise Violation(f"a GPU of {host.name} was assigned twice: {gpus}")

    def record_end(self, lease: int, exit_code: int, at: float, *, crashed: bool = False) -> None:
        process = self.live.pop(lease)
        process.ended_at, process.exit_code, process.crashed = at, exit_code, crashed
        if process.must_end_by and at > process.must_end_by:
            raise Violation(f"{process.run}/{process.job} ran on for {at - process.must_end_by:.1f} s after its stop and grace")
        if process.timeout_s and at - process.started_at > process.timeout_s + self._grace_s + self._slack_s:
            raise Violation(
                f"{process.run}/{process.job} ran {at - process.started_at:.1f} s with a limit of {process.timeout_s} s"
            )

    def reports_of(self, lease: int) -> Reports:
        return self.reports.setdefault(lease, Reports())

    def record_healthy(self, lease: int, at: float) -> None:
        self.healthy.setdefault(lease, {})[at] = None

    def record_trouble(self, lease: int, outcome: Outcome) -> None:
        self.troubles.setdefault(lease, []).append(outcome)

    def has_stop_order(self, host: Host, lease: int) -> bool:
        return (host.name, host.incarnation, lease) in self._stopped

    def record_stop_order(self, host: Host, leases: list[int], at: float) -> None:
        """Record that an order to stop reached the worker.

        From now on, no process of these leases may start on this worker, and running processes must
        end in time.
        """
        for lease in leases:
            self._stopped[host.name, host.incarnation, lease] = None
            process = self.live.get(lease)
            if process is not None and process.host is host and not process.must_end_by:
                process.must_end_by = at + self._grace_s + self._slack_s
