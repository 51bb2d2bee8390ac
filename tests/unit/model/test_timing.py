"""Times of schedules: cron expressions as in Debian's cron, changes of the clocks, intervals, and
invalid input."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan.errors import CallerError
from titan.model.timing import Timing, check_timing, iso, last_times, next_time, some_times, times

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    """Return the time of an ISO text; a text without an offset is in UTC."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def told(cron: str, after: str, count: int, tz: str = "UTC") -> list[str]:
    return [iso(t, tz) for t in islice(times(Timing(cron, tz), at(after)), count)]


@pytest.mark.parametrize(
    ("cron", "first", "second"),
    [
        ("* * * * *", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"),
        ("*/5 * * * *", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"),
        ("30 2 * * *", "2026-01-01T02:30:00Z", "2026-01-02T02:30:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"),
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
        # both the day of the month and the weekday are given, so a day that matches either fits
        ("0 12 13 * FRI", "2026-01-02T12:00:00Z", "2026-01-09T12:00:00Z"),
        ("0 0 1 JAN,JUL *", "2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("* * * * * *", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"),
        ("15,45 * * * * *", "2026-01-01T00:00:15Z", "2026-01-01T00:00:45Z"),
        ("50 59 23 * * *", "2026-01-01T23:59:50Z", "2026-01-02T23:59:50Z"),
        ("@hourly", "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"),
        ("@Weekly", "2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"),
    ],
)
def test_a_cron_line_gives_its_next_times(cron: str, first: str, second: str) -> None:
    assert told(cron, "2026-01-01T00:00:00", 2) == [first, second]


def test_a_time_comes_after_not_at() -> None:
    timing = Timing("*/5 * * * *")
    assert next_time(timing, at("2026-01-01T00:05:00")) == at("2026-01-01T00:10:00")
    assert next_time(timing, at("2026-01-01T00:04:59.999")) == at("2026-01-01T00:05:00")


def test_a_zone_has_its_own_midnight() -> None:
    assert told("0 0 * * *", "2026-01-01T00:00:00", 1, "Asia/Tokyo") == ["2026-01-02T00:00:00+09:00"]
    assert told("0 0 * * *", "2026-01-01T00:00:00", 1, "America/New_York") == ["2026-01-01T00:00:00-05:00"]


# -- the clocks go forward: 02:00 to 03:00 does not exist on 2026-03-29 in Berlin ------------------
def test_a_fixed_hour_that_falls_into_the_gap_comes_when_the_gap_is_over() -> None:
    assert told("30 2 * * *", "2026-03-28T00:00:00", 3, BERLIN) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_several_fixed_times_in_the_gap_run_once() -> None:
    assert told("0,20,40 2 * * *", "2026-03-29T00:00:00", 2, BERLIN) == ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]


def test_a_wildcard_goes_by_elapsed_time_over_the_gap() -> None:
    assert told("*/30 * * * *", "2026-03-29T00:29:00", 3, BERLIN) == [
        "2026-03-29T01:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-29T03:30:00+02:00",
    ]
    assert told("15 * * * *", "2026-03-29T00:00:00", 2, BERLIN) == ["2026-03-29T01:15:00+01:00", "2026-03-29T03:15:00+02:00"]


# -- the clocks go back: 02:00 to 03:00 comes twice on 2026-10-25 in Berlin ------------------------
def test_a_fixed_hour_that_comes_twice_runs_once() -> None:
    assert told("30 2 * * *", "2026-10-24T12:00:00", 2, BERLIN) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_in_the_repeated_hour_the_next_fixed_time_is_tomorrow() -> None:
    assert told("45 2 * * *", "2026-10-25T01:30:00", 1, BERLIN) == ["2026-10-26T02:45:00+01:00"]


def test_a_wildcard_goes_by_elapsed_time_through_both_repeated_hours() -> None:
    assert told("*/30 * * * *", "2026-10-25T00:15:00", 4, BERLIN) == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


CRONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 * * * SUN", "0 0 L * *", "0 0 1 1 *", "0 3 * * 1#2",
     "*/20 * * * * *", "59 30 2 * * *", "0 */2 * * *"]
)  # fmt: skip
ZONES = st.sampled_from(
    ["UTC", BERLIN, "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana"]
)
TIMINGS = st.builds(Timing, cron=CRONS, tz=ZONES) | st.builds(
    Timing, every_s=st.sampled_from([1.0, 1.1, 7.5, 60.0, 86_400.0]), start=st.floats(0, 2e9).map(lambda x: round(x, 3))
)
DAYS = ("03-29", "10-25", "04-24", "10-30", "03-08", "11-01", "04-05", "10-04")
AROUND = st.sampled_from([at(f"2026-{day}T00:00:00") for day in DAYS])


@settings(deadline=None)
@given(TIMINGS, AROUND, st.floats(-90_000, 90_000))
def test_times_are_the_same_for_every_start_of_the_search(timing: Timing, day: float, off: float) -> None:
    """If the search starts anywhere between two times, it finds the later one."""
    after = day + off
    found = list(islice(times(timing, after), 4))
    assert found == sorted(set(found)) and (not found or found[0] > after)
    for before, now in zip([after, *found], found, strict=False):
        for moment in (before, (before + now) / 2, now - 0.001):
            if before <= moment < now:  # two neighbouring floats have no middle
                assert next_time(timing, moment) == now


@settings(deadline=None)
@given(TIMINGS, AROUND, st.floats(0, 50_000), st.integers(1, 30))
def test_the_last_times_are_the_end_of_all(timing: Timing, day: float, span: float, most: int) -> None:
    every = some_times(timing, day, day + span, 100_000)
    assert last_times(timing, day, day + span, most) == every[-most:]


def test_the_last_of_very_many_times_are_found_at_once() -> None:
    year = at("2026-01-01T00:00:00")
    assert last_times(Timing("* * * * * *"), 0.0, year, 3) == [year - 2, year - 1, year]
    assert last_times(Timing("* * * * 6 *"), 0.0, year, 1) == [at("2025-06-30T23:59:59")]
    assert last_times(Timing(every_s=1.0, start=5.0), 0.0, year, 1) == [year]


# -- intervals -------------------------------------------------------------------------------------
def test_an_interval_is_counted_from_its_start() -> None:
    timing = Timing(every_s=10.0, start=1000.5)
    assert some_times(timing, 0.0, 1031.0, 9) == [1000.5, 1010.5, 1020.5, 1030.5]
    assert next_time(timing, 1020.5) == 1030.5
    assert next_time(timing, 0.0) == 1000.5, "it is the first"


def test_an_interval_does_not_drift() -> None:
    timing = Timing(every_s=1.1, start=0.0)
    assert next_time(timing, 1.1 * 10**8 - 0.5) == pytest.approx(1.1 * 10**8, abs=1e-3)


# -- bad input -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("timing", "says"),
    [
        (Timing(), "either a cron expression or an interval"),
        (Timing("* * * * *", every_s=5.0), "either a cron expression or an interval"),
        (Timing("* * * *"), "has 4 fields: give five"),
        (Timing("* * * * * * *"), "has 7 fields"),
        (Timing("61 * * * *"), "the minute '61' is wrong: it takes 0-59"),
        (Timing("* 24 * * *"), "the hour '24' is wrong: it takes 0-23"),
        (Timing("* * 0 * *"), "the day of month '0' is wrong: it takes 1-31 or L"),
        (Timing("* * * 13 *"), "the month '13' is wrong: it takes 1-12 or JAN-DEC"),
        (Timing("* * * * MOO"), "the day of week 'MOO' is wrong: it takes 0-7 or SUN-SAT"),
        (Timing("60 * * * * *"), "the second '60' is wrong: it takes 0-59"),
        (Timing("*/0 * * * *"), "the minute '*/0' is wrong"),
        (Timing("5-1 * * * *"), "the minute '5-1' is wrong"),
        (Timing("² * * * *"), "plain characters"),
        (Timing("1," * 200 + "1 * * * *"), "at most 256"),
        (Timing("@reboot"), "the short expressions are @yearly"),
        (Timing("0 0 30 2 *"), "never fires: its months have no day 30"),
        (Timing("0 0 31 4,6,9,11 *"), "never fires: its months have no day 31"),
        (Timing("0 0 * 2 MON#6"), "the day of week 'MON#6' is wrong"),
        (Timing("* * * * *", "Europe/Berln"), "there is no time zone 'Europe/Berln'"),
        (Timing("* * * * *", ""), "there is no time zone ''"),
        (Timing("* * * * *", "../etc/passwd"), "there is no time zone"),
        (Timing("* * * * *", "Europe"), "there is no time zone 'Europe'"),
        (Timing(every_s=0.5), "an interval is 1 to 31,622,400 seconds, not 0.5"),
        (Timing(every_s=-1.0), "an interval is 1 to"),
        (Timing(every_s=float("nan")), "an interval is 1 to"),
        (Timing(every_s=5.0, start=1e30), "between the years 1970 and 9999"),
    ],
)
def test_an_invalid_timing_is_refused(timing: Timing, says: str) -> None:
    with pytest.raises(CallerError) as caught:
        check_timing(timing, at("2026-01-01T00:00:00"))
    assert says in str(caught.value)


@settings(deadline=None)
@given(st.text(max_size=30) | st.lists(st.sampled_from("0123456789*/-,#LW "), max_size=30).map("".join), st.text(max_size=12))
def test_any_text_is_a_timing_or_refused(cron: str, tz: str) -> None:
    for zone in ("UTC", tz):
        try:
            check_timing(Timing(cron, zone), 1.7e9)
        except CallerError:
            continue
        assert next_time(Timing(cron, zone), 1.7e9) > 1.7e9
