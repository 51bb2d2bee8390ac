"""What the state keeps of a service beside its job."""

from __future__ import annotations

import msgspec


class ServiceState(msgspec.Struct, array_like=True):
    """What the newest report of its worker says of a service."""

    lease: int = 0
    """The attempt that it is about."""
    serial: int = 0
    """The number of that report: older ones are dropped."""
    ready_at: float = 0.0
    """Since when it is READY, 0 if it is not."""
    address: str = ""
    """HOST:PORT, also of the last attempt that had one."""
    restarts: int = 0
    """Of this attempt."""
    earlier: int = 0
    """Restarts of earlier attempts."""
    reason: str = ""
    """Why it was restarted the last time, or is not READY yet."""
    refused_by: list[int] = msgspec.field(default_factory=list)
    """Workers that could not start it since it was READY."""
    old_lease: int = 0
    """It is being replaced: the attempt that is READY, and goes on until the new one is. 0: none.
    """
    old_worker: int = -1
    next_start: float = 0.0
    """When its next process starts, or started if nothing was heard since; 0: it has one."""
