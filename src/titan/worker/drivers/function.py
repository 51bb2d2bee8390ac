"""Function driver: it starts numbered runner processes, hands them calls, and turns the reports of
their links into inputs of the state machine.

Owns the runners from start to end, and the map from a runner's call sequence numbers to leases. A
warden starts the runners, like every process of a job. The runner with a number is started with the
first call for that number, and it stays. If it dies, the next call for the number starts a new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
from pathlib import Path

from titan.content.nearby import Seal
from titan.errors import TitanError
from titan.host.remove_folder import remove_folder
from titan.model import values
from titan.model.sizes import size_of
from titan.worker.call_output import CallOutput
from titan.worker.devices import VISIBLE
from titan.worker.drivers.protocol import Host, Orders
from titan.worker.files.disk import why_lost
from titan.worker.isolated.runner import FILED, FILED_HEAD, OK
from titan.worker.processes.reports import Exited, Lost, Refused, Report
from titan.worker.processes.runner_link import WROTE_HINT, Columns, Payload, RunnerHub, RunnerLink, command_line
from titan.worker.processes.supervisor import Under
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.messages import CallWaits
from titan.worker.state_machine.suspects import WARDEN_DIED

DIED = "the process died while it ran the call: it was killed, crashed, or ended by os._exit"
_VALUE_FILE = re.compile(r"\d+-\d+\.value")


class _Runner:
    def __init__(self, number: int, key: int, link: RunnerLink, session: str, gpus: tuple[str, ...]) -> None:
        self.number = number
        self.session = session
        self.gpus = gpus
        """Devices that the process may use; empty: as the worker."""
        self.key = key
        self.link = link
        self.leases: list[tuple[int, int]] = []
        """(seq, lease) of the runner's calls, in order."""
        self.printed: dict[int, None] = {}
        self.lost: dict[int, str] = {}
        """lease -> reason why some output of the call is lost."""
        self.spared = False
        """True if the runner died because its warden died. No call of the runner is then blamed."""


class FunctionDriver:
    """Driver that acts only on instructions, because a call has no process of its own. A call has a
    sandbox only if it prints."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._folder = host.folder / "runners"
        self._clock = host.clock
        self._see = host.see
        self._values = host.values
        self._printed = CallOutput(host.held, host.workspace, host.pump)
        self._log_limit = host.log_limit
        self._hub = RunnerHub(self._folder / "runners.sock")
        self._runners: dict[int, _Runner] = {}
        self._by_key: dict[int, _Runner] = {}
        self._started = 0
        self.orders: Orders = {
            m.StartCalls: lambda order: self.call(order.runner, order.assignments, order.gpus),
            m.TakeBack: lambda order: self.take_back(order.runner, order.count),
            m.KillRunner: lambda order: self.kill(order.runner),
        }
        host.callers.share(lease_of=self.lease_of, runner_of=self.runner_of)

    def open(self) -> None:
        remove_folder(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._hub.open()

    async def close(self) -> None:
        for runner in self._runners.values():
            runner.link.close()
        self._runners.clear()
        self._hub.close()

    def _stop(self, key: int) -> None:
        self._host.supervisor.stop(key, 0.0)

    # -- orders ------------------------------------------------------------------------------------
    def call(self, number: int, assignments: list[m.Assignment], gpus: tuple[str, ...] = ()) -> None:
        runner = self._runners.get(number)
        calls = len(assignments) + (len(runner.leases) if runner is not None else 0)
        try:
            session = assignments[0].template.session
            if runner is not None and (runner.session, runner.gpus) != (session, gpus):
                self._retire(runner)
                runner = None
            if runner is None:
                runner = self._launch(number, session, gpus)
            self._order(runner, assignments)
        except (OSError, TitanError) as e:
            runner = self._runners.get(number)
            if runner is not None:
                runner.link.close()  # the process may not have started, and then would never connect to this link
            self._end(number, calls, 0, f"the call could not be handed to a function runner: {e}", unfit=True)

    def take_back(self, number: int, count: int) -> None:
        runner = self._runners.get(number)
        taken = runner.link.take_back(count) if runner is not None else 0
        if runner is not None and taken:
            del runner.leases[len(runner.leases) - taken :]
        self._see(m.CallsReturned(number, taken))

    def kill(self, number: int) -> None:
        runner = self._runners.get(number)
        if runner is not None:
            self._stop(runner.key)

    def _order(self, runner: _Runner, assignments: list[m.Assignment]) -> None:
        link = runner.link
        at = 0
        while at < len(assignments):
            name = assignments[at].template.function
            end = at
            payloads: list[Payload] = []
            priority = assignments[at].template.priority
            while end < len(assignments) and (of := assignments[end].template).function == name and of.priority == priority:
                a = assignments[end]
                payloads.append(self._given(a) if a.inputs or a.payload[:1] == values.RETURNED_AT else a.payload)
                end += 1
            hash_ = name.encode()
            if not link.has(hash_):
                link.enter(hash_, Path(self._values.path(name)).read_bytes())
            first = link.call(hash_, payloads, priority)
            runner.leases.extend([(first + i, a.lease) for i, a in enumerate(assignments[at:end])])
            at = end

    def _given(self, assignment: m.Assignment) -> Payload:
        """Return the payload for the runner. Large values are replaced by the paths of their
        files."""
        arguments, *inputs = [self._in_place(value) for value in (assignment.payload, *assignment.inputs)]
        return arguments, inputs

    def _in_place(self, value: bytes) -> bytes:
        hash_ = values.artifact_of(value)
        if hash_ is None:
            return value
        self._values.keep(hash_, values.size_of(value))
        file = values.JSON_FILE if value[:1] == values.JSON_AT else values.RETURNED_FILE
        return file + os.fsencode(self._values.path(hash_))

    def _retire(self, runner: _Runner) -> None:
        """End a runner, so that calls of another session do not see state that earlier calls left
        in the process."""
        del self._runners[runner.number]
        runner.link.close()
        self._stop(runner.key)

    def _launch(self, number: int, session: str, gpus: tuple[str, ...]) -> _Runner:
        self._started += 1
        link = RunnerLink(
            self._hub,
            on_results=self._on_results,
            on_output=self._on_output,
            on_unprinted=self._on_unprinted,
            on_closed=self._on_closed,
            on_ready=self._on_ready,
            on_waits=self._on_waits,
        )
        runner = self._runners[number] = _Runner(number, -self._started, link, session, gpus)
        self._by_key[runner.key] = runner
        token = secrets.token_hex(16)
        link.expect(token)
        base = self._base(runner)
        Path(base).mkdir()
        out, err = f"{base}.out", f"{base}.err"
        argv = command_line(
            sys.executable, self._hub.path, token, out, err, self._log_limit, str(self._folder), session, runner_memory()
        )
        logs = (f"{base}.stdout", f"{base}.stderr")
        env = {VISIBLE: ",".join(gpus)} if gpus else {}
        self._host.run_helper(runner.key, argv, base, logs, self.on_report, Under.RUNNERS, env=env)
        return runner

    def _base(self, runner: _Runner) -> str:
        """Return the path of the runner's folder, which is also the prefix of its log files."""
        return f"{self._folder}/{-runner.key}"

    def lease_of(self, key: int, seq: int) -> int | None:
        """Return the lease of a runner's call by its sequence number. A `seq` of 0 means the
        running call."""
        runner = self._by_key.get(key)
        if runner is None:
            return None
        wanted = seq or runner.link.current_seq()
        return next((lease for s, lease in runner.leases if s == wanted), None)

    def runner_of(self, lease: int) -> int | None:
        """Return the key of the runner that has this call."""
        return next((key for key, runner in self._by_key.items() if any(call == lease for _, call in runner.leases)), None)

    # -- reports of the links ----------------------------------------------------------------------
    def _of(self, link: RunnerLink) -> _Runner | None:
        return next((runner for runner in self._runners.values() if runner.link is link), None)

    def _on_results(self, link: RunnerLink, first_seq: int, columns: Columns) -> None:
        runner = self._of(link)
        if runner is None:
            return
        statuses, payloads, started, finished = columns
        count = len(payloads)
        leases = [lease for _, lease in runner.leases[:count]]
        del runner.leases[:count]
        raised = [""] * count
        results = [values.RETURNED + payload if payload else values.NOTHING for payload in payloads]
        late = []
        for i in [i for i, status in enumerate(statuses) if status != OK] if any(statuses) else ():
            lease = leases[i]
            if statuses[i] == FILED:
                raised[i], results[i] = self._adopt(lease, payloads[i])
            else:
                raised[i], results[i] = self._describe(lease, payloads[i])
            if self._values.holds(lease):
                late.append(lease)
        printed = [lease for lease in leases if lease in runner.printed]
        for lease in printed:
            del runner.printed[lease]
        lost = {lease: runner.lost.pop(lease) for lease in leases if lease in runner.lost} if runner.lost else {}
        offset = self._clock.offset
        times = ([at + offset for at in started], [at + offset for at in finished])
        self._see(m.CallsEnded(runner.number, raised, results, *times, [*printed, *late], lost))
        for lease in printed:
            self._printed.ended(lease, lost.get(lease, ""))

    def _adopt(self, lease: int, payload: bytes) -> tuple[str, bytes]:
        """Move a value that a runner left in a file into the cache. Return ("", value), or on
        failure the reason and the value NOTHING."""
        if len(payload) < FILED_HEAD.size:
            return (
                f"the function runner sent an invalid result, which does not name the file of its value: {WROTE_HINT}",
                values.NOTHING,
            )
        digest, size, inode, mtime_ns, writing_ns = FILED_HEAD.unpack_from(payload)
        name = os.fsdecode(payload[FILED_HEAD.size :])
        try:
            if not _VALUE_FILE.fullmatch(name) or os.lstat(f"{self._folder}/{name}").st_size != size:
                text = f"the function runner sent an invalid result: {name[:100]!r} is not a file of a value of {size} bytes"
                return f"{text}: {WROTE_HINT}", values.NOTHING
            os.rename(f"{self._folder}/{name}", self._values.path(digest.hex()))
        except OSError as e:
            return f"the value, which the function runner left in a file, cannot be moved to the cache: {e}", values.NOTHING
        self._values.hold(lease, digest.hex(), size, Seal(inode, size, mtime_ns), writing_s=writing_ns / 1e9)
        self._see(m.ArtifactReady(digest.hex()))
        return "", values.by_content(values.RETURNED_AT, digest, size)

    def _describe(self, lease: int, payload: bytes) -> tuple[str, bytes]:
        """Return the reason and the value for an error that a call raised."""
        try:
            reason = _reason(payload)
        except ValueError as e:
            return f"the function runner sent an invalid result ({e}): {WROTE_HINT}", values.NOTHING
        if len(payload) <= values.INLINE_BYTES:
            return reason, values.RAISED + payload
        digest = hashlib.sha256(payload).digest()
        part = self._folder / f"{digest.hex()}.value"
        part.write_bytes(payload)
        part.rename(self._values.path(digest.hex()))
        self._values.hold(lease, digest.hex(), len(payload))
        return reason, values.by_content(values.RAISED_AT, digest, len(payload))

    def _on_ready(self, link: RunnerLink) -> None:
        runner = self._of(link)
        if runner is not None:
            self._see(m.RunnerUp(runner.number))

    def _on_waits(self, link: RunnerLink, waits: bool) -> None:
        runner = self._of(link)
        if runner is not None:
            self._see(CallWaits(runner.number, waits))

    def _on_output(self, link: RunnerLink, seq: int, stream: int, data: bytes) -> None:
        runner = self._of(link)
        if runner is not None:
            lease = next((lease for s, lease in runner.leases if s == seq), None)
            if lease is not None:
                self._take_output(runner, lease, stream, data)

    def _on_unprinted(self, link: RunnerLink, seq: int, number: int) -> None:
        runner = self._of(link)
        lease = next((lease for s, lease in runner.leases if s == seq), None) if runner is not None else None
        if runner is not None and lease is not None:
            runner.printed[lease] = None
            runner.lost.setdefault(lease, why_lost(number))

    def _take_output(self, runner: _Runner, lease: int, stream: int, data: bytes) -> None:
        runner.printed[lease] = None
        lost = self._printed.take(lease, stream, data)
        if lost:
            runner.lost.setdefault(lease, lost)

    def _on_closed(self, link: RunnerLink) -> None:
        runner = self._of(link)
        if runner is not None:
            begun = link.current_seq()
            ran = sum(seq <= begun for seq, _ in runner.leases) if begun > link.ended_seq() else 0
            if link.problem:  # blame at least one call, otherwise all calls would be repeated for ever
                ran = max(ran, min(1, len(runner.leases)))
            self._read_out(runner, ran)
            self._end(runner.number, len(runner.leases), ran, link.problem or DIED)

    def _read_out(self, runner: _Runner, ran: int) -> None:
        """Take the output of the call that a dead runner was executing, from the runner's log
        files."""
        lease = runner.leases[ran - 1][1] if 0 < ran <= len(runner.leases) else None
        for stream, path in ((1, f"{self._base(runner)}.out"), (2, f"{self._base(runner)}.err")):
            try:
                with open(path, "rb") as file:
                    data = file.read(self._log_limit)
            except OSError:
                continue
            if data and lease is not None:
                self._take_output(runner, lease, stream, data)

    # -- reports of the warden ---------------------------------------------------------------------
    def on_report(self, report: Report) -> None:
        """Handle a report about a runner's process.

        If the runner had connected, its link reports the end. If it never connected, it is reported
        as unfit, unless its warden died.
        """
        if not isinstance(report, (Exited, Refused, Lost)):
            return
        runner = self._by_key.pop(report.key, None)
        if runner is None or self._runners.get(runner.number) is not runner:
            return
        if isinstance(report, Lost):
            runner.spared = report.spared
        if isinstance(report, Refused):
            reason = f"the function runner could not be started: {report.text}"
        elif runner.link.pid:
            return
        elif isinstance(report, Lost):
            reason = WARDEN_DIED
        else:
            reason = f"the function runner ended with code {report.code} before it was ready{self._last_words(report.key)}"
        runner.link.close()
        self._end(runner.number, len(runner.leases), 0, reason, unfit=not isinstance(report, Lost))

    def _last_words(self, key: int) -> str:
        try:
            text = Path(f"{self._folder}/{-key}.stderr").read_text(errors="replace").strip()
        except OSError:
            return ""
        return f": {text.rpartition(chr(10))[2][-500:]}" if text else ""

    def _end(self, number: int, calls: int, ran: int, reason: str, *, unfit: bool = False) -> None:
        runner = self._runners.pop(number, None)
        if runner is not None:
            self._stop(runner.key)
            # Remove the values that the runner did not write completely.
            for leftover in self._folder.glob(f"{runner.link.pid}-*.value"):
                leftover.unlink(missing_ok=True)
        printed = tuple(runner.printed) if runner is not None else ()
        spared = runner is not None and runner.spared
        lost = runner.lost if runner is not None else {}
        self._see(m.RunnerEnded(number, calls, ran, reason, self._clock.now(), unfit, printed, spared, lost))
        for lease in () if spared else printed:
            self._printed.ended(lease, lost.get(lease, ""))


def _reason(payload: bytes) -> str:
    """Return the type and message of an error, which users see as the reason. Raises ValueError for
    invalid data."""
    _, kind, text, _ = values.failure_of(payload)
    return f"{kind}: {text}"[:2000] if text else kind


def runner_memory() -> int:
    """Return the memory use in bytes above which a runner is replaced after a call.

    The variable TITAN_RUNNER_MEMORY sets the number (example: 2G). The default is a quarter of the
    machine's memory, but at least 1 GiB.
    """
    asked = os.environ.get("TITAN_RUNNER_MEMORY", "")
    if asked:
        return size_of(asked)
    return max(1 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
