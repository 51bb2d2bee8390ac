"""Reports of runners and wardens: any split of the bytes gives the same reports. Any other bytes
raise ValueError and have no other effect."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.reports import named
from titan.model.values import failure_of
from titan.worker.isolated.reports import FORMS, FRAME_BYTES, pack_reports, take_reports
from titan.worker.isolated.runner import pack_failure
from titan.worker.processes.reports import typed

SOME: list[tuple[Any, ...]] = [
    ("started", 7, 4242, 1.5),
    ("refused", 7, 2, "no such file \udcff"),
    ("withdrawn", 1 << 40),
    ("output", 7, 1, 65_536, 0, b"\x00text\xff"),
    ("log_failed", 7, 2, 28, "No space left on device"),
    ("exited", 7, -9, 2.5, 0.25, 1 << 33, 0, 17, 2),
    ("hello", 99, "token"),
    ("printed", 3, 2, b""),
    ("unprinted", 3, 28),
    ("given_back", 12),
    ("waits", 3, 1),
    ("results", 5, b"\x00\x04\x01", [b"", b"abc", b"d" * 70_000], [1.0, 2.0, 3.0], [1.5, 2.5, 3.5]),
    ("results", 8, b"", [], [], []),
    ("pong", 3),
]


def test_every_report_is_read_back_unchanged() -> None:
    assert {report[0] for report in SOME} == {name for name, _, _ in FORMS}
    assert take_reports(bytearray(pack_reports(SOME))) == SOME


@pytest.mark.parametrize("seed", range(20))
def test_any_split_gives_the_same(seed: int) -> None:
    chance = random.Random(seed)
    data = b"".join(pack_reports([report]) for report in SOME)
    inbox, taken, at = bytearray(), list[Any](), 0
    while at < len(data):
        step = chance.choice((1, 3, 50, 20_000))
        inbox += data[at : at + step]
        at += step
        taken += take_reports(inbox)
    assert taken == SOME and not inbox


@pytest.mark.parametrize("seed", range(300))
def test_other_bytes_are_a_value_error_or_other_reports(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(pack_reports(chance.sample(SOME, 3)))
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(min(len(data), 200))] = chance.randrange(256)
    try:
        reports = take_reports(data)
    except ValueError:
        return
    known = {name for name, _, _ in FORMS}
    for report in reports:
        assert report[0] in known
        if report[0] == "results":
            assert len(report[2]) == len(report[3]) == len(report[4]) == len(report[5])


def test_a_frame_over_the_limit_is_refused_when_its_size_is_announced() -> None:
    with pytest.raises(ValueError, match="limit"):
        take_reports(bytearray((FRAME_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parametrize("failure", [(None, "E", "", "trace"), (b"", "E", "text", ""), (b"pickle", "m.E", "ü\ud800", "x" * 9)])
def test_a_failure_is_read_back_unchanged(failure: tuple[bytes | None, str, str, str]) -> None:
    pickled, kind, text, trace = failure_of(pack_failure(*failure))
    assert (pickled, kind, trace) == (failure[0], failure[1], failure[3])
    assert text == failure[2].encode("utf-8", "backslashreplace").decode()


def test_bytes_that_are_no_failure_raise_a_value_error() -> None:
    whole = pack_failure(b"pickle", "E", "text", "trace")
    for data in (b"", b"\x01", whole[:-1], whole + b"x", b"\x80" + whole[1:], *[whole[:n] for n in range(len(whole))]):
        with pytest.raises(ValueError):
            failure_of(data)


def test_reports_of_processes_have_types_and_those_of_runners_have_none() -> None:
    processes = {"started", "refused", "withdrawn", "output", "log_failed", "exited"}
    for report in SOME:
        if report[0] in processes:
            assert named([typed(report)]) == [report]
        else:
            with pytest.raises(ValueError, match=f"'{report[0]}' is not a report of a process"):
                typed(report)
    assert processes <= {report[0] for report in SOME}
