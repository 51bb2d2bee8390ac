"""Orders to the shell, performed once the events of the same step are durable, in order.

None of them is logged: what a crash swallows, reconciliation makes again.
"""

from __future__ import annotations

import msgspec

from titan.model.files import Published


class AcceptWorker(msgspec.Struct, frozen=True, gc=False):
    """Answer a registration; from now on this connection is this worker's, and an older one of its
    is closed."""

    origin: int
    request: int
    worker: int


class SendDispatch(msgspec.Struct, frozen=True, gc=False):
    """Job i has lease `first_lease + i`."""

    worker: int
    jobs: list[int]
    first_lease: int


class SendStop(msgspec.Struct, frozen=True, gc=False):
    """Stop these attempts; their results no longer count."""

    worker: int
    leases: list[int]


class SendRecall(msgspec.Struct, frozen=True, gc=False):
    """Hand these attempts back if they have not started: another worker has nothing to do."""

    worker: int
    leases: list[int]


class SendAck(msgspec.Struct, frozen=True, gc=False):
    """The results of these attempts are durable or fenced: the worker may forget them."""

    worker: int
    leases: list[int]


class SendLeave(msgspec.Struct, frozen=True, gc=False):
    """Finish what runs, then end; `now`: kill it and hand it back. Repeated until the worker has
    left."""

    worker: int
    now: bool


class StartBurst(msgspec.Struct, frozen=True, gc=False):
    """Have the provider start a worker of this name. BurstGone follows when it has ended, or if it
    cannot be started."""

    name: str
    capabilities: tuple[str, ...]
    slots: int


class StopBurst(msgspec.Struct, frozen=True, gc=False):
    """Have the provider end this worker, whatever it does. BurstGone follows, at once if there is
    none."""

    name: str


class ReplyTold(msgspec.Struct, frozen=True, gc=False):
    """A worker was told to leave."""

    origin: int
    request: int
    state: str
    held: int


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """Close this connection: its worker was silent for too long and has to register anew."""

    origin: int


class ReplySubmitted(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    run: str
    jobs: int


class ReplyGrown(msgspec.Struct, frozen=True, gc=False):
    """`jobs` is how many were added."""

    origin: int
    request: int
    run: str
    jobs: int


class ReplySaved(msgspec.Struct, frozen=True, gc=False):
    """A pipeline is kept by that name, or is no more."""

    origin: int
    request: int
    name: str


class ReplyCancelled(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    jobs: int


class AnnounceGate(msgspec.Struct, frozen=True, gc=False):
    """A gate with a webhook opened, or is open since before the master started: tell of it, and say
    WebhookAnswered."""

    job: int


class ReplyDecided(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    run: str
    job: str
    approved: bool
    by: str
    at: float


class ReplyRetried(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    run: str
    retried: int
    revived: int


class ReplyPurged(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    jobs: int


class ReplyServicesStopped(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    jobs: int


class ReplyScheduled(msgspec.Struct, frozen=True, gc=False):
    """Answer with the schedule as it is now, or that there is none any more."""

    origin: int
    request: int
    name: str


class ReplyServiceReplaced(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    rolling: bool


class ReplyPublished(msgspec.Struct, frozen=True, gc=False):
    """Answer with these versions of a key (RUN/KEY, or KEY if it is shared)."""

    origin: int
    request: int
    key: str
    versions: list[Published]


class ReplySecretChanged(msgspec.Struct, frozen=True, gc=False):
    """`version` 0: the secret was removed."""

    origin: int
    request: int
    name: str
    version: int
    set_at: float


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """Answer with an error. `code` is that of a class in titan.errors."""

    origin: int
    request: int
    code: str
    message: str
    job: str = ""


Effect = (
    AcceptWorker
    | SendDispatch
    | SendStop
    | SendRecall
    | SendAck
    | SendLeave
    | StartBurst
    | StopBurst
    | ReplyTold
    | Disconnect
    | ReplySubmitted
    | ReplyCancelled
    | AnnounceGate
    | ReplyDecided
    | ReplyRetried
    | ReplyPurged
    | ReplyScheduled
    | ReplyServicesStopped
    | ReplyServiceReplaced
    | ReplyGrown
    | ReplySaved
    | ReplyPublished
    | ReplySecretChanged
    | Refuse
)
