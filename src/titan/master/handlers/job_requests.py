"""Handler for requests of running jobs.

A worker forwards a job's request with the lease of the attempt. The handler rejects a lease that
the worker does not hold, so a fenced attempt cannot read or change the state.
"""

from __future__ import annotations

from functools import partial

from titan.errors import Conflict, NotFound
from titan.master.core_loop import CoreLoop
from titan.model.states import TERMINAL, JobState
from titan.net.peer import Peer
from titan.protocol import messages as msg


class JobRequestHandler:
    def __init__(self, core: CoreLoop) -> None:
        self._core = core

    def on_read_value(self, peer: Peer, message: msg.ReadValue) -> None:
        """Send the value of another job of the run. A TitanError is sent as an error reply."""
        self._core.turn()
        state = self._core.state
        run = state.jobs[self._number_of(peer, message.lease)].run
        other = state.find(run, message.job)
        if other is None:
            raise NotFound(f"run {run.id} has no job {message.job[:128]!r}")
        job = state.jobs[other]
        if job.state not in TERMINAL:
            raise Conflict(f"{message.job} is {job.state.name}: its value can be read by jobs that depend on it")
        if job.state is not JobState.COMPLETED:
            raise Conflict(f"{message.job} is {job.state.name} and has no value: {job.reason}")
        self._core.release(partial(peer.send, msg.ValueRead(message.request, job.value)))

    def _number_of(self, peer: Peer, lease: int) -> int:
        """Return the number of the requesting job. Raises Conflict if its lease is not held."""
        holder = self._core.state.workers.get(peer.worker)
        number = holder.held.get(lease) if holder is not None else None
        if number is None:
            raise Conflict("this attempt is over, or was taken from its worker: its requests are rejected")
        return number
