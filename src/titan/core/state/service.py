"""State of a service in addition to the state of its job."""

from __future__ import annotations

import msgspec


class ServiceState(msgspec.Struct, array_like=True):
    """Newest report about a service by its worker, and a rolling replacement under way."""

    lease: int = 0
    """Lease of the reported attempt."""
    serial: int = 0
    """Serial number of the report. The core drops reports with lower numbers."""
    ready_at: float = 0.0
    """Time at which the service became READY; 0 if it is not READY."""
    address: str = ""
    """HOST:PORT of the newest attempt that had an address."""
    restarts: int = 0
    """Restarts within the current attempt."""
    earlier: int = 0
    """Restarts within earlier attempts."""
    reason: str = ""
    """Reason of the last restart, or the reason why the service is not READY yet."""
    refused_by: list[int] = msgspec.field(default_factory=list)
    """Workers that failed to start the service since it was last READY."""
    old_lease: int = 0
    """Lease of the old attempt during a rolling replacement; 0 if no such replacement is under way.
    The old attempt stays READY until the new attempt is READY."""
    old_worker: int = -1
    next_start: float = 0.0
    """Time at which the worker will start the next process; 0 if a process runs. The time is in the
    past if the worker has not sent a report since that start."""
