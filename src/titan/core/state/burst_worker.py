"""Record of a burst worker in the state."""

from __future__ import annotations

import msgspec


class Burst(msgspec.Struct):
    """Record of a burst worker, from the request to the worker's end."""

    name: str
    rule: str
    capabilities: tuple[str, ...]
    slots: int
    requested_at: float
    retired_at: float = 0.0
    """Time at which the core decided to retire the worker; 0 if it has not."""
