"""Base class of all events: see `events`."""

from __future__ import annotations

import msgspec


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decided fact. Its tag is its name in the journal."""
