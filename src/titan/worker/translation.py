"""Translation between protocol messages and the inputs and instructions of the worker's state
machine. Also the facts that a worker reports about its host."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Iterator
from typing import Any

from titan._version import __version__
from titan.model.demand import MILLI
from titan.model.failure import with_loss
from titan.protocol import messages as msg
from titan.worker.state_machine import messages as m
from titan.worker.state_machine.resources import Resources

MESSAGE_BYTES = 16 << 20
AGREE_S = 0.5
"""Clock differences of up to this many seconds count as zero, because the measurement has an error
of about this size."""


def assignments(message: msg.Dispatch) -> list[m.Assignment]:
    templates = [message.templates[t] for t in message.template_of]
    if not message.payloads and not message.services and not message.files and not message.results:
        rows = zip(message.leases, message.runs, message.jobs, message.attempts, templates, message.args, strict=True)
        return [m.Assignment(*row) for row in rows]
    nothing: list[tuple[Any, ...]] = [()] * len(message.leases)
    optional = (
        message.payloads or [b""] * len(message.leases),
        message.inputs or nothing,
        message.services or nothing,
        message.files or nothing,
        message.results or nothing,
    )
    calls = zip(message.leases, message.runs, message.jobs, message.attempts, templates, message.args, *optional, strict=True)
    return [m.Assignment(*call) for call in calls]


def ahead_s(master_s: float, asked_s: float, answered_s: float) -> float:
    """Return by how many seconds the master's clock is ahead of this one. `asked_s` and
    `answered_s` are readings of this clock before and after the master's answer. Return 0 if the
    answer did not contain the master's time."""
    ahead = master_s - (asked_s + answered_s) / 2 if master_s else 0.0
    return ahead if abs(ahead) > AGREE_S else 0.0


def shifted(ats: list[float], by_s: float) -> list[float]:
    """Return the times shifted to another clock. A 0 means "no time" and stays 0."""
    return [at and at + by_s for at in ats]


def results_messages(results: list[m.Result], by_s: float) -> Iterator[msg.Results]:
    """Yield messages with these results, of at most about MESSAGE_BYTES each. Times are converted
    to the master's clock, which is `by_s` ahead of this one."""
    if sum([len(r.value) for r in results]) <= MESSAGE_BYTES:
        yield _results(results, by_s)
        return
    start = size = 0
    for at, result in enumerate(results):
        if at > start and size + len(result.value) > MESSAGE_BYTES:
            yield _results(results[start:at], by_s)
            start, size = at, 0
        size += len(result.value)
    yield _results(results[start:], by_s)


def _results(results: list[m.Result], by_s: float) -> msg.Results:
    return msg.Results(
        0,
        [r.lease for r in results],
        [int(r.outcome) for r in results],
        [r.exit_code for r in results],
        [with_loss(r.reason, r.lost) for r in results],
        shifted([r.started_at for r in results], by_s),
        shifted([r.finished_at for r in results], by_s),
        [r.cpu_s for r in results],
        [r.peak_bytes for r in results],
        [r.value for r in results] if any(r.value for r in results) else [],
        [r.outputs for r in results] if any(r.outputs for r in results) else [],
        [r.lost for r in results] if any(r.lost for r in results) else [],
    )


def facts(resources: Resources, limits: str = "") -> dict[str, str | int | float]:
    milli, memory, gpus = resources.total
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "uid": os.getuid(),
        "cpus": milli // MILLI if milli % MILLI == 0 else milli / MILLI,
        "memory_bytes": memory,
        "gpus": gpus,
        "python": platform.python_version(),
        "platform": sys.platform,
        "limits": limits,
        "software": f"titan {__version__}",
    }
