"""What jobs ask of the master, carried over their workers' connections with the lease of the attempt that asks.

A kind of request is a message with a field `lease` and a line in `_ANSWERS`: a function of (desk, peer, job's number, message,
blob) that answers `message.request`, once what it rests on is durable (`core.release`), or raises a TitanError, which becomes the
answer. A lease that its worker does not have (any more) is answered here: no attempt that was fenced is told or changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from titan.errors import Conflict, NotFound
from titan.master.core_loop import CoreLoop
from titan.model.states import TERMINAL, JobState
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob


class JobDesk:
    def __init__(self, core: CoreLoop) -> None:
        self.core = core

    def on_message(self, peer: Peer, worker: int, message: Any, blob: Blob) -> bool:
        """Whether it is such a request. Raises TitanError, which becomes the answer."""
        answer = _ANSWERS.get(type(message))
        if answer is None:
            return False
        self.core.turn()
        holder = self.core.state.workers.get(worker)
        number = holder.held.get(message.lease) if holder is not None else None
        if number is None:
            raise Conflict("this attempt is over, or was taken from its worker: what it asks no longer counts")
        answer(self, peer, number, message, blob)
        return True

    def read_value(self, peer: Peer, number: int, it: msg.ReadValue, blob: Blob) -> None:
        state = self.core.state
        run = state.jobs[number].run
        other = state.find(run, it.job)
        if other is None:
            raise NotFound(f"run {run.id} has no job {it.job[:128]!r}")
        job = state.jobs[other]
        if job.state not in TERMINAL:
            raise Conflict(f"{it.job} is {job.state.name}: what it comes to can be read by jobs that depend on it")
        if job.state is not JobState.COMPLETED:
            raise Conflict(f"{it.job} is {job.state.name} and came to nothing: {job.reason}")
        self.core.release(partial(peer.send, msg.ValueRead(it.request, job.value)))


_ANSWERS: dict[type[msg.Message], Callable[[JobDesk, Peer, int, Any, Blob], None]] = {
    msg.ReadValue: JobDesk.read_value,
}
