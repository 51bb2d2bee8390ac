"""Handlers for workers: messages of workers become inputs; effects become messages to workers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from titan.content.blobs import BlobStore
from titan.core import effects as fx
from titan.core import inputs
from titan.core.state.state import State
from titan.errors import ProtocolError
from titan.gateway.admission import check_columns, check_results
from titan.gateway.inbound import MAX_TEXT, registration, worker_input
from titan.gateway.outbound import dispatches, order_of
from titan.master.core_loop import CoreLoop
from titan.master.handlers.secrets import SecretHandler
from titan.master.log_store import STDERR, STDOUT, LogStore
from titan.master.output_losses import OutputLosses
from titan.model.failure import with_loss
from titan.model.plain import plain
from titan.model.states import Outcome
from titan.model.values import artifact_of
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, encode

log = logging.getLogger("titan.master")

MAX_RESUMED = 10_000
MAX_GAP = 16 << 20
"""Maximum number of missing bytes before a piece of output of a finished attempt. A piece behind a
larger gap is dropped."""


class WorkerHandler:
    def __init__(
        self, core: CoreLoop, logs: LogStore, secrets: SecretHandler, content: BlobStore, on_output: Callable[[str, str], None]
    ) -> None:
        """`on_output(run, job)` is called when new output of a job has arrived."""
        self._core = core
        self._logs = logs
        self._secrets = secrets
        self._content = content
        self._on_output = on_output
        self.peers: dict[int, Peer] = {}
        """Worker number -> connection of the worker."""
        self._complain_after = 0.0
        self._losses = OutputLosses(logs)
        self._resumed: dict[int, tuple[int, int]] = {}
        """Lease -> (stdout, stderr) sizes in the last LogResume about the lease."""

    @property
    def _state(self) -> State:
        return self._core.state

    # -- in ----------------------------------------------------------------------------------------
    def check(self, peer: Peer, message: msg.Message) -> None:
        """Raise ProtocolError if the worker is not registered on this connection.

        Register and Ping need no registration.
        """
        if self.peers.get(peer.worker) is not peer and not isinstance(message, (msg.Register, msg.Ping)):
            raise ProtocolError(f"a {type(message).__name__} from a worker that is not registered on this connection")

    def on_register(self, peer: Peer, message: msg.Register) -> None:
        self._core.see(registration(message, origin=peer.number, host=peer.host, cluster=self._state.cluster))

    def on_heartbeat(self, peer: Peer, message: msg.Heartbeat) -> None:
        self._see(peer, message)
        peer.send(msg.Heard(message.request))

    def on_results(self, peer: Peer, message: msg.Results) -> None:
        if message.outputs or self._losses or any(map(artifact_of, message.values)):
            check_results(message)
            self._expect_content(message)
            self._add_losses(peer.worker, message)
        self._see(peer, message)

    def on_leaving(self, peer: Peer, message: msg.Leaving) -> None:
        self._see(peer, message)
        self._core.release(lambda: peer.send(msg.Pong(message.request)))

    def _see(self, peer: Peer, message: msg.Message) -> None:
        """Pass a message to the core."""
        received = worker_input(message, peer.worker, jitter=random.random())
        assert received is not None, type(message)
        self._core.see(received)

    on_started = on_awaiting = on_service_states = on_progress = on_statuses = on_draining = _see

    def forget(self, peer: Peer) -> None:
        """Report a closed connection to the core."""
        worker = peer.worker
        if self.peers.get(worker) is peer:
            del self.peers[worker]
            self._core.see(inputs.WorkerDisconnected(worker, peer.number))

    def _expect_content(self, message: msg.Results) -> None:
        """Set the outcome of a result to BROKEN if its content was removed after the upload.

        The core retries a BROKEN attempt.
        """
        for i, outputs in enumerate(message.outputs):
            gone = next((output.name for output in outputs if not self._content.touch(output.hash)), None)
            if gone is not None:
                message.outcomes[i], message.reasons[i] = Outcome.BROKEN, f"output {gone!r} is not on the master's disk any more"
        for i, value in enumerate(message.values):
            hash_ = artifact_of(value)
            if hash_ is not None and not self._content.touch(hash_):
                message.outcomes[i], message.reasons[i] = Outcome.BROKEN, "its result is not on the master's disk any more"
                message.values[i] = b""

    def on_log_data(self, peer: Peer, message: msg.LogData, blob: Blob) -> None:
        check_columns(message)
        worker = peer.worker
        if sum(message.sizes) != len(blob):
            raise ProtocolError(f"{sum(message.sizes):,} bytes of output were announced, {len(blob):,} arrived")
        jobs = self._state.jobs
        held = {(j.run.id, j.name, j.attempt): n for n, j in ((n, jobs[n]) for n in self._state.workers[worker].held.values())}
        view, at = memoryview(blob), 0
        skips = message.skipped or [0] * len(message.runs)
        for run, job, attempt, stream, offset, size, skipped in zip(
            message.runs, message.jobs, message.attempts, message.streams, message.offsets, message.sizes, skips, strict=True
        ):
            number = held.get((run, job, attempt))
            if number is None and not self._had(worker, run, job, attempt):
                self._complain(
                    f"worker {self._state.worker_name(worker)} sent output of {run[:40]}/{job[:128]}, which it does not run"
                )
            elif not offset or not self._lacks_before(peer, number, run, job, attempt, stream, offset):
                self._keep_output(run, job, attempt, stream, offset, view[at : at + size], skipped)
            elif self._losses:
                self._losses.skipped(run, job, attempt, stream, offset + size)
            at += size

    def _had(self, worker: int, run: str, job: str, attempt: int) -> bool:
        """Return whether the worker once had this attempt, which it does not hold any more."""
        known = self._state.runs.get(run)
        number = self._state.find(known, job) if known is not None else None
        if number is None:
            return False
        entry = self._state.jobs[number]
        if entry.attempt == attempt:
            return entry.worker == worker
        retiring = number in self._state.workers[worker].retiring.values()
        return retiring or any(past.attempt == attempt and past.worker == worker for past in entry.history or ())

    def _lacks_before(self, peer: Peer, number: int | None, run: str, job: str, attempt: int, stream: int, offset: int) -> bool:
        """Return whether output before this piece is missing.

        If so, send the worker the stored sizes. The worker then sends its log again from there.
        """
        have = self._logs.received(run, job, attempt)
        if stream not in (STDOUT, STDERR) or offset <= have[stream - STDOUT]:
            return False
        # The attempt is over, so its worker cannot send again: accept a gap of up to MAX_GAP bytes.
        if number is None:
            return offset > have[stream - STDOUT] + MAX_GAP
        lease = self._state.jobs[number].lease
        # If the last LogResume had the same sizes, the worker sends the missing pieces already: do
        # not send the LogResume again.
        if self._resumed.get(lease) != have:
            self._resumed[lease] = have
            while len(self._resumed) > MAX_RESUMED:
                del self._resumed[next(iter(self._resumed))]
            peer.send(msg.LogResume(0, [lease], [have[0]], [have[1]]))
        return True

    def _keep_output(self, run: str, job: str, attempt: int, stream: int, offset: int, data: memoryview, skipped: int) -> None:
        """Store a piece of output. If the disk fails, note a loss for the attempt's result.

        A job must not fail because its output is lost. The loss is cancelled if the piece arrives
        again and is stored.
        """
        try:
            self._logs.append(run, job, attempt, stream, offset, data, skipped)
        except OSError as e:
            self._losses.refused(run, job, attempt, stream, offset + len(data), e)
            self._complain(f"output of {run}/{job} cannot be kept: {e}: free space under {self._logs.folder}")
            return
        self._on_output(run, job)

    def note_unsynced(self, run: str, attempts: Iterable[tuple[str, int]], error: OSError) -> None:
        """Note that a disk error may have lost output of these attempts.

        `attempts` are pairs of job and attempt number.
        """
        for job, attempt in attempts:
            self._losses.doubted(run, job, attempt, error)

    def _add_losses(self, worker: int, message: msg.Results) -> None:
        """Add the output that the master lost to the results."""
        held, jobs = self._state.workers[worker].held, self._state.jobs
        for i, lease in enumerate(message.leases):
            job = jobs.get(held.get(lease, -1))
            loss = self._losses.take(job.run.id, job.name, job.attempt) if job is not None else ""
            if loss:
                message.reasons[i] = with_loss(message.reasons[i], loss)
                if not message.lost:
                    message.lost.extend([""] * len(message.leases))
                message.lost[i] = f"{message.lost[i]}; {loss}" if message.lost[i] else loss

    def _complain(self, text: str) -> None:
        """Log an error, at most once a minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._complain_after:
            self._complain_after = now + 60.0
            log.error("%s", plain(text, MAX_TEXT))

    # -- out ---------------------------------------------------------------------------------------
    def accept(self, peer: Peer, effect: fx.AcceptWorker) -> list[Callable[[], None]]:
        state, worker = self._state, effect.worker
        if worker not in state.workers:  # forgotten in the same turn; the worker will reconnect
            return []
        older = self.peers.get(worker)
        self.peers[worker] = peer
        peer.worker = worker
        order = order_of(state, effect)
        assert order is not None, "the worker is there"
        welcome = order[1]
        leases = list(state.workers[worker].held.items())
        jobs = [state.jobs[number] for _, number in leases]
        known = [self._logs.received(j.run.id, j.name, j.attempt) for j in jobs]
        resume = msg.LogResume(0, [lease for lease, _ in leases], [o for o, _ in known], [e for _, e in known])

        def answer() -> None:
            if older is not None and older is not peer:
                older.close()
            peer.send(welcome)
            peer.send(resume)

        return [answer]

    def dispatch(self, effect: fx.SendDispatch) -> list[Callable[[], None]]:
        calls: list[Callable[[], None]] = []
        for message, jobs, first_lease in dispatches(self._state, effect):
            for job in jobs:
                if job.run.first >> 32 != self._state.term:
                    self._logs.begin(job.run.id, job.name, job.attempt)
            if any(template.secrets for template in message.templates):
                secrets = self._secrets.secrets_for(first_lease, jobs)
                calls += self.send(effect.worker, secrets) if secrets is not None else []
            calls += self.send(effect.worker, message)
        return calls

    def send(self, worker: int, message: msg.Message) -> list[Callable[[], None]]:
        """Return the call that sends a message on the worker's present connection, or [].

        If the connection breaks first, the message is lost. Reconciliation then repeats its order.
        """
        peer = self.peers.get(worker)
        if peer is None:
            return []
        frame = encode(message, compress=peer.compress)
        return [lambda: peer.write(frame)]
