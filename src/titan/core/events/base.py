"""What all events have in common: see `events`."""

from __future__ import annotations

import msgspec


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fact that was decided. Its tag is its name in the journal."""
