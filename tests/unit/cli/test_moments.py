"""Times and sequences as users write them."""

from __future__ import annotations

import doctest
import time
from datetime import datetime

import click
import pytest

import titan.cli.moments
from titan.cli.moments import local, moment_of
from titan.master.replay import END, Moment

NOW = datetime(2026, 3, 4, 12, 0, 0).timestamp()


def at(*parts: int) -> Moment:
    return Moment(at=datetime(*parts).timestamp())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1", Moment(seq=1)),
        ("999999999", Moment(seq=999_999_999)),
        ("1000000000", Moment(at=1e9)),
        ("1700000000.25", Moment(at=1_700_000_000.25)),
        ("@12.5", Moment(at=12.5)),
        ("-10m", Moment(at=NOW - 600)),
        ("90s", Moment(at=NOW - 90)),
        ("1.5h ago", Moment(at=NOW - 5400)),
        ("2w", Moment(at=NOW - 14 * 86_400)),
        ("11:59", at(2026, 3, 4, 11, 59)),
        ("11:59:30", at(2026, 3, 4, 11, 59, 30)),
        ("12:01", at(2026, 3, 3, 12, 1)),
        ("2026-01-31", at(2026, 1, 31)),
        ("2026-01-31T12:00", at(2026, 1, 31, 12)),
        ("2026-01-31 12:00:30", at(2026, 1, 31, 12, 0, 30)),
        ("2026-01-31T12:00:00+00:00", Moment(at=1_769_860_800.0)),
        ("2026-01-31T12:00:00Z", Moment(at=1_769_860_800.0)),
        ("end", END),
    ],
)
def test_a_moment_is_parsed_from_text(text: str, moment: Moment) -> None:
    assert moment_of("--at", text, NOW) == moment


WRONG = [
    "",
    "0",
    "-1",
    "12.5",
    "garbage",
    "25:00",
    "12:60",
    "12:00:60",
    "nan",
    "inf",
    "1e400",
    "10y",
    "2026-13-01",
    "9999999999999",
]


@pytest.mark.parametrize("text", [*WRONG, "²³", "--", "@nan"])
def test_an_unreadable_time_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match="--at"):
        moment_of("--at", text, NOW)


def test_a_time_is_printed_with_its_milliseconds() -> None:
    text = local(1_700_000_000.257)
    assert text.endswith((".256", ".257"))
    assert time.strptime(text[:19], "%Y-%m-%d %H:%M:%S")


def test_the_examples_are_true() -> None:
    assert doctest.testmod(titan.cli.moments).failed == 0
