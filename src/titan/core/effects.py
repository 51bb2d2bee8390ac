"""Effects: orders to the shell. The shell performs them in order once the events of the same turn
are durable.

Effects are not journaled. Reconciliation repeats the effects that a crash loses.
"""

from __future__ import annotations

import msgspec

from titan.model.files import Published


class AcceptWorker(msgspec.Struct, frozen=True, gc=False):
    """Answer a registration. The connection `origin` becomes the worker's connection, and the shell
    closes the worker's older connection."""

    origin: int
    request: int
    worker: int


class SendDispatch(msgspec.Struct, frozen=True, gc=False):
    """Dispatch jobs to a worker. Job i has lease `first_lease + i`."""

    worker: int
    jobs: list[int]
    first_lease: int


class SendStop(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker to stop these attempts, whose results no longer count."""

    worker: int
    leases: list[int]


class SendRecall(msgspec.Struct, frozen=True, gc=False):
    """Ask the worker to return these attempts if they have not started, because another worker is
    idle."""

    worker: int
    leases: list[int]


class SendAck(msgspec.Struct, frozen=True, gc=False):
    """Acknowledge results: they are durable, or their leases are fenced. The worker may drop these
    results."""

    worker: int
    leases: list[int]


class SendLeave(msgspec.Struct, frozen=True, gc=False):
    """Tell the worker to finish its attempts and leave. With `now`, the worker kills its attempts
    and returns them instead. The core repeats the order until the worker has left."""

    worker: int
    now: bool


class StartBurst(msgspec.Struct, frozen=True, gc=False):
    """Have the provider start a burst worker of this name. The input BurstGone follows when the
    worker has ended or cannot be started."""

    name: str
    capabilities: tuple[str, ...]
    slots: int


class StopBurst(msgspec.Struct, frozen=True, gc=False):
    """Have the provider end this burst worker, even if it is busy. The input BurstGone follows when
    the worker has ended, or at once if the provider has no such worker."""

    name: str


class ReplyTold(msgspec.Struct, frozen=True, gc=False):
    """Answer that a worker was told to leave."""

    origin: int
    request: int
    state: str
    held: int


class Disconnect(msgspec.Struct, frozen=True, gc=False):
    """Close the connection of a worker that is LOST or whose process has ended. A worker that still
    lives must register again."""

    origin: int


class ReplySubmitted(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    run: str
    jobs: int


class ReplyGrown(msgspec.Struct, frozen=True, gc=False):
    """Answer that `jobs` jobs were added to a run."""

    origin: int
    request: int
    run: str
    jobs: int


class ReplySaved(msgspec.Struct, frozen=True, gc=False):
    """Answer that a pipeline was saved under this name, or removed."""

    origin: int
    request: int
    name: str


class ReplyCancelled(msgspec.Struct, frozen=True, gc=False):
    origin: int
    request: int
    jobs: int


class AnnounceGate(msgspec.Struct, frozen=True, gc=False):
    """Call the webhook of a gate, then report WebhookAnswered. The core orders the call when the
    gate opens, and again at each start of the master while the delivery is not recorded."""

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
    """Answer with the current state of the schedule, or that the schedule no longer exists."""

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
    """Answer that a secret was set, or removed (`version` 0)."""

    origin: int
    request: int
    name: str
    version: int
    set_at: float


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """Answer with an error. `code` is the code of a class in titan.errors."""

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
