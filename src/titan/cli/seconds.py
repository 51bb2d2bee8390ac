"""Options that take seconds, as a number or as a duration such as 1h30m."""

from __future__ import annotations

import click

from titan.model.durations import EXAMPLE, parse_duration


def SECONDS(text: str | float) -> float:
    """Return the seconds of an option's value. Raises BadParameter."""
    if isinstance(text, (int, float)):
        return float(text)
    seconds = parse_duration(text)
    if seconds is None:
        try:
            seconds = float(text)
        except ValueError:
            raise click.BadParameter(f"{text[:80]!r} is not {EXAMPLE}") from None
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{text[:80]!r} is out of range: give {EXAMPLE}, not below 0")
    return seconds
