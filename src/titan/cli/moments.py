"""Moments of a journal as users write them: a time, or a sequence number."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

import click

from titan.master.replay import END, Moment
from titan.model.durations import parse_duration

EPOCH_FROM = 1_000_000_000
"""Plain numbers from here on (2001) are seconds since the epoch; smaller ones are sequences."""
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d(?:\.\d+)?))?")
_HINT = "write a time (2026-01-31T12:00[:30][+01:00], 12:00[:30], -10m, seconds since the epoch), a sequence, or end"


def moment_of(option: str, text: str, now: float) -> Moment:
    """Parse the value of an option. Times without a zone are local. Raises UsageError.

    >>> moment_of("--at", "1234", 0.0)
    Moment(seq=1234, at=0.0)
    >>> moment_of("--at", "1700000000.5", 0.0)
    Moment(seq=0, at=1700000000.5)
    >>> moment_of("--at", "-10m", 1_700_000_600.0)
    Moment(seq=0, at=1700000000.0)
    """
    text = text.strip()
    if text == "end":
        return END
    if text.isascii() and text.isdigit() and int(text) < EPOCH_FROM:
        if not int(text):
            raise click.UsageError(f"{option} 0: sequences begin at 1")
        return Moment(seq=int(text))
    at = _time_of(text, now)
    if at is None or not 0.0 < at < 253_402_300_800.0:
        raise click.UsageError(f"{option} {text[:80]!r}: {_HINT}")
    return Moment(at=at)


def _time_of(text: str, now: float) -> float | None:
    ago = parse_duration(text.removeprefix("-").removesuffix(" ago"))
    if ago is not None:
        return now - ago
    if match := _CLOCK.fullmatch(text):
        return _today(int(match[1]), int(match[2]), float(match[3] or 0.0), now)
    try:
        seconds = float(text.removeprefix("@")) if text.isascii() else float("nan")
        return seconds if seconds >= EPOCH_FROM or text.startswith("@") else None
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _today(hour: int, minute: int, second: float, now: float) -> float | None:
    """Return the last time of day that is not after `now`, None if there is no such time."""
    if hour > 23 or minute > 59 or second >= 60:
        return None
    day = datetime.fromtimestamp(now).replace(hour=hour, minute=minute, second=0, microsecond=0)
    at = (day + timedelta(seconds=second)).timestamp()
    return at if at <= now else (day - timedelta(days=1) + timedelta(seconds=second)).timestamp()


def local(at: float) -> str:
    """Return the local time as 2026-01-31 12:00:00.123."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
