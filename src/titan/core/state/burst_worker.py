"""Record of a burst worker in the state."""

from __future__ import annotations

import msgspec


class Burst(msgspec.Struct):
    """A burst worker, from the request to its end."""

    name: str
    rule: str
    capabilities: tuple[str, ...]
    slots: int
    requested_at: float
    retired_at: float = 0.0
    """Time at which the worker was told to leave; 0 if it was not."""
