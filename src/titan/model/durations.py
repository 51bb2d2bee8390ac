"""Durations as text, such as `90s`, `1h30m` and `2d`."""

from __future__ import annotations

import re
from typing import Final

EXAMPLE: Final = "a number of seconds or a duration such as 90s, 1h30m or 2d"
_UNITS: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER: Final = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)"
_DURATION: Final = re.compile("".join(f"(?:{_NUMBER}{unit} ?)?" for unit in _UNITS))


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration; None if the text is not a duration.

    Each unit (w, d, h, m, s, ms) occurs at most once, the largest first. A number without a unit is
    not a duration.

    >>> parse_duration("1h30m"), parse_duration("1.5d"), parse_duration("250ms")
    (5400.0, 129600.0, 0.25)
    >>> parse_duration("90"), parse_duration("30m1h"), parse_duration("5 minutes")
    (None, None, None)
    """
    found = _DURATION.fullmatch(text)
    if not text or text.endswith(" ") or found is None or not any(found.groups()):
        return None
    parts = zip(found.groups(), _UNITS.values(), strict=True)
    return round(sum(float(number) * seconds for number, seconds in parts if number), 9)


def as_seconds(value: object) -> object:
    """Return a duration such as `1h30m` as seconds, and any other value unchanged."""
    found = parse_duration(value) if isinstance(value, str) else None
    return value if found is None else found


def duration_text(seconds: float) -> str:
    """Return a duration as `parse_duration` reads it. Days are the largest unit.

    >>> duration_text(5400), duration_text(604_800), duration_text(0.25), duration_text(61.5)
    ('1h30m', '7d', '250ms', '1m1s500ms')
    """
    left, text = round(seconds * 1000), ""
    for unit, size in list(_UNITS.items())[1:]:
        count, left = divmod(left, round(size * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0s"
