"""Ranges of all numbers in messages, and maximum lengths of texts and columns.

The decoder rejects values outside these ranges, so no handler sees a NaN, an infinity, a negative
count or a text of a gigabyte. The master answers a rejected message with an Error that names the
field, and applies no part of the message. The ranges are wide enough for correct peers of any
version.

`titan.gateway.admission` checks rules over several fields, such as equally long columns. Structs
that are also journaled (`DagSpec`, `JobTemplate`, `Timing`, `StoredFile`) declare no ranges,
because journals must stay readable when limits change. `titan.model` checks these structs when a
message arrives.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from msgspec import Meta

T = TypeVar("T")

MAX_INT = (1 << 63) - 1
MAX_ROWS = 1_000_000
MAX_NAME_TEXT = 1024
MAX_LONG_TEXT = 1 << 20
MAX_BYTES = 64 << 20
MAX_MOMENT = 253_402_300_799.0
"""The end of the year 9999."""
MAX_SPAN_S = 1e11
MAX_FACTS = 256

# -- numbers ---------------------------------------------------------------------------------------
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
"""Counts, positions, sizes in bytes, serial numbers."""
RequestId = Annotated[int, Meta(ge=0, le=MAX_INT)]
Lease = Annotated[int, Meta(ge=0, le=MAX_INT)]
ExitCode = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
StateNumber = Annotated[int, Meta(ge=0, le=63)]
"""A JobState, RunState or Outcome. The handler checks that the number is one of the enum."""
Moment = Annotated[float, Meta(ge=0.0, le=MAX_MOMENT)]
"""Seconds since the epoch; 0 for none."""
Seconds = Annotated[float, Meta(ge=0.0, le=MAX_SPAN_S)]
Fraction = Annotated[float, Meta(ge=-1.0, le=1.0)]
"""0 to 1, or -1 for unknown."""
Measured = Annotated[float, Meta(ge=-1e18, le=1e18)]
"""Finite number that a peer measured or recorded. The core clamps the number where necessary."""

# -- texts and bytes -------------------------------------------------------------------------------
Name = Annotated[str, Meta(max_length=MAX_NAME_TEXT)]
"""Names, keys, hashes, and other short texts."""
Text = Annotated[str, Meta(max_length=MAX_LONG_TEXT)]
"""Free text: reasons, messages, arguments. Reasons are shortened later, see `titan.model.plain`."""
Bytes = Annotated[bytes, Meta(max_length=MAX_BYTES)]

# -- many ------------------------------------------------------------------------------------------
Column = Annotated[list[T], Meta(max_length=MAX_ROWS)]
Row = Annotated[tuple[T, ...], Meta(max_length=MAX_ROWS)]
FactText = Annotated[str, Meta(max_length=4096)]
FactInt = Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)]
Facts = Annotated[dict[Name, FactText | FactInt | Measured], Meta(max_length=MAX_FACTS)]
