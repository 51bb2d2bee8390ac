"""Times of a schedule: cron expressions in a time zone, or a plain interval.

This module is pure and reads no clock: the next time depends only on the timing, on the start of
the search and on the machine's time zone database.

Expressions follow Debian cron, as `cronsim` implements it. When the clocks go forward, a fixed hour
within the skipped time runs as soon as that time is over. When the clocks go back, a fixed hour
within the repeated time runs once. With ``*`` for the minute or the hour, elapsed time counts
instead. An expression of six fields begins with the seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from math import floor
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from titan.errors import CallerError

MIN_EVERY_S = 1.0
MAX_EVERY_S = 366 * 86_400.0
MAX_TIME = 253_402_300_799.0
"""The end of the year 9999."""
MAX_EXPRESSION = 256
_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
_RANGES = ("0-59", "0-23", "1-31 or L", "1-12 or JAN-DEC", "0-7 or SUN-SAT")
_SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Timing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Cron expression in the zone `tz`, or an interval of `every_s` seconds from `start` on.

    Exactly one of `cron` and `every_s` is set.
    """

    cron: str = ""
    tz: str = "UTC"
    every_s: float = 0.0
    start: float = 0.0
    """Seconds since the epoch."""


class _Cron(NamedTuple):
    """Parsed expression: its five fields, the seconds of each minute, and its zone."""

    five: str
    seconds: tuple[int, ...]
    zone: tzinfo


def check_timing(timing: Timing, now: float) -> None:
    """Raise CallerError if a timing is invalid or has no time after `now`.

    `now` is in seconds since the epoch.
    """
    if bool(timing.cron) is bool(timing.every_s):
        raise CallerError("a schedule has either a cron expression or an interval: give exactly one of --cron and --every")
    if not timing.cron:
        if not MIN_EVERY_S <= timing.every_s <= MAX_EVERY_S:  # also false for NaN
            raise CallerError(f"an interval is {MIN_EVERY_S:g} to {MAX_EVERY_S:,.0f} seconds, not {timing.every_s:g}")
        if not 0.0 <= timing.start <= MAX_TIME:
            raise CallerError(f"an interval starts between the years 1970 and 9999, not at {timing.start:g}")
        return
    _parsed(timing.cron, timing.tz)
    if not next_time(timing, now):
        raise CallerError(f"cron expression {timing.cron!r} never fires: no day of the next 50 years matches all of its fields")


def next_time(timing: Timing, after: float) -> float:
    """Return the first time after `after`, both in seconds since the epoch; 0 if there is none.

    >>> next_time(Timing(cron="30 2 * * *"), 0.0)
    9000.0
    >>> next_time(Timing(every_s=10.0, start=5.0), 15.0)
    25.0
    """
    return next(times(timing, after), 0.0)


def times(timing: Timing, after: float) -> Iterator[float]:
    """Return all times after `after`, in order."""
    return _cron_times(_parsed(timing.cron, timing.tz), after) if timing.cron else _interval_times(timing, after)


def some_times(timing: Timing, after: float, until: float, most: int) -> list[float]:
    """Return the first `most` times after `after` and not after `until`, or all if fewer."""
    found = []
    for at in islice(times(timing, after), most):
        if at > until:
            break
        found.append(at)
    return found


def last_times(timing: Timing, after: float, until: float, most: int) -> list[float]:
    """Return the last `most` times after `after` and not after `until`, in order; all if fewer.

    The work grows with `most` and the logarithm of the span, not with the number of times in the
    span.
    """
    found = some_times(timing, after, until, most + 1)
    if len(found) <= most:
        return found
    # Too many times: narrow the span by bisection. A span from `low` always holds more than `most`
    # times, a span from `high` never does.
    low, high = floor(after), floor(until) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if len(some_times(timing, float(middle), until, most + 1)) > most:
            low = middle
        else:
            high = middle
    return some_times(timing, float(high), until, most)


def iso(at: float, tz: str = "UTC") -> str:
    """Return a time in a zone as ISO 8601 with the offset; milliseconds only if not 0.

    >>> iso(1774746000.0, "Europe/Berlin")
    '2026-03-29T03:00:00+02:00'
    """
    moment = datetime.fromtimestamp(round(at, 3), zone_of(tz))
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z") if tz == "UTC" else text


def zone_of(name: str) -> tzinfo:
    """Return the zone of a name. Raises CallerError for a zone that is not in the time zone
    database."""
    if name == "UTC":
        return UTC
    try:
        if not name or not name.isascii() or len(name) > 64:
            raise ValueError(name)
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise CallerError(f"there is no time zone {name[:64]!r}: use a name such as Europe/Berlin or UTC") from None


def _interval_times(timing: Timing, after: float) -> Iterator[float]:
    number = max(0, floor((after - timing.start) / timing.every_s))
    while True:
        at = round(timing.start + number * timing.every_s, 3)
        if at > after:
            yield at
        number += 1


def _cron_times(cron: _Cron, after: float) -> Iterator[float]:
    whole = floor(after)
    # Begin two minutes earlier, so that the remaining seconds of the current minute are included.
    # When the clocks change, cronsim may begin with past times. The loop skips them.
    begin = (datetime.fromtimestamp(whole, UTC) - timedelta(minutes=2)).astimezone(cron.zone)
    last = after
    for minute in CronSim(cron.five, begin):
        base = minute.timestamp()
        for second in cron.seconds:
            if base + second > last:
                last = base + second
                yield last


@lru_cache(4096)
def _parsed(expression: str, tz: str) -> _Cron:
    """Parse an expression. Raises a CallerError that names the wrong field."""
    zone = zone_of(tz)
    shown = repr(expression[:80])
    text = _SHORT.get(expression.strip().lower(), expression)
    if len(text) > MAX_EXPRESSION or not text.isascii():
        raise CallerError(f"cron expression {shown}: must be at most {MAX_EXPRESSION} plain characters")
    if text.strip().startswith("@"):
        raise CallerError(f"cron expression {shown} is unknown: the short expressions are {', '.join(_SHORT)}")
    fields = text.split()
    if len(fields) not in (5, 6):
        raise CallerError(
            f"cron expression {shown} has {len(fields)} fields: give five (minute hour day-of-month month day-of-week), "
            "or six with the seconds first"
        )
    seconds: tuple[int, ...] = (0,)
    if len(fields) == 6:
        seconds = _seconds(fields.pop(0), shown)
    for i, field in enumerate(fields):
        try:
            CronSim(" ".join("*" if i != j else field for j in range(5)), _EPOCH)
        except (CronSimError, ValueError):
            raise CallerError(f"cron expression {shown}: the {_FIELDS[i]} {field!r} is wrong: it takes {_RANGES[i]}") from None
    five = " ".join(fields)
    try:
        CronSim(five, _EPOCH)
    except CronSimError:
        raise CallerError(
            f"cron expression {shown} never fires: its months have no day {fields[2]}; change the day of month or the month"
        ) from None
    return _Cron(five, seconds, zone)


def _seconds(field: str, shown: str) -> tuple[int, ...]:
    try:
        return tuple(sorted(CronSim(f"{field} * * * *", _EPOCH).minutes))
    except (CronSimError, ValueError):
        raise CallerError(f"cron expression {shown}: the second {field!r} is wrong: it takes 0-59") from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
