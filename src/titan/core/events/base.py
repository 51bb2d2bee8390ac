"""Base class of all events: see `events`."""

from __future__ import annotations

import msgspec


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decided fact. The tag of its class is its name in the journal."""
