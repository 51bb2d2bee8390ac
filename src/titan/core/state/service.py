"""State of a service beyond that of its job."""

from __future__ import annotations

import msgspec


class ServiceState(msgspec.Struct, array_like=True):
    """Newest report of a service by its worker."""

    lease: int = 0
    """Lease of the attempt that the report is about."""
    serial: int = 0
    """Serial number of the report. Older reports are dropped."""
    ready_at: float = 0.0
    """Time at which the service became READY; 0 if it is not READY."""
    address: str = ""
    """HOST:PORT of the newest attempt that had an address."""
    restarts: int = 0
    """Restarts within the current attempt."""
    earlier: int = 0
    """Restarts within earlier attempts."""
    reason: str = ""
    """Reason for the last restart, or for the service not being READY yet."""
    refused_by: list[int] = msgspec.field(default_factory=list)
    """Workers that failed to start the service since it was last READY."""
    old_lease: int = 0
    """Lease of the attempt that a rolling replacement will end. That attempt stays READY until the
    new one is. 0 if no replacement is under way."""
    old_worker: int = -1
    next_start: float = 0.0
    """Time at which the worker will start the next process; 0 if a process runs. In the past if the
    worker has not reported since."""
