"""The time at which the master gets the reports of jobs."""

from __future__ import annotations

import pytest

from titan.protocol import messages as msg
from titan.worker.state_machine import job_reports as job_news
from titan.worker.state_machine.job_reports import EVERY_S, STATUS_EVERY_S, ReportOutbox


def progress(*rows: tuple[int, float, str]) -> msg.Progress:
    return msg.Progress(0, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def statuses(**texts: str) -> msg.Statuses:
    """Return the statuses by lease, given as `_1="text"`."""
    return msg.Statuses(0, [int(name[1:]) for name in texts], list(texts.values()))


def test_only_the_newest_report_of_each_attempt_is_sent() -> None:
    news = ReportOutbox()
    for fraction in (0.1, 0.2, 0.3):
        news.progress(1, fraction, "one")
    news.progress(2, -1.0, "two")
    news.status(1, "old")
    news.status(1, "new")
    assert news.due(10.0) == [progress((1, 0.3, "one"), (2, -1.0, "two")), statuses(_1="new")]
    assert news.next_due() is None
    assert news.due(20.0) == []


def test_the_first_report_is_sent_at_once_and_the_next_batch_later() -> None:
    news = ReportOutbox()
    assert news.progress(1, 0.1, "") < 10.0
    assert news.due(10.0) == [progress((1, 0.1, ""))]
    assert news.progress(1, 0.2, "") == news.progress(2, 0.5, "") == news.next_due() == 10.0 + EVERY_S
    assert news.due(10.0 + EVERY_S / 2) == []
    assert news.due(10.0 + EVERY_S) == [progress((1, 0.2, ""), (2, 0.5, ""))]


def test_changes_of_a_status_are_sent_at_intervals_that_delay_no_other_report() -> None:
    news = ReportOutbox()
    news.status(1, "a")
    assert news.due(10.0) == [statuses(_1="a")]
    assert news.status(1, "b") == 10.0 + STATUS_EVERY_S
    assert news.status(2, "x") == 10.0 + EVERY_S == news.next_due()
    assert news.due(10.0 + EVERY_S) == [statuses(_2="x")]
    assert news.next_due() == 10.0 + STATUS_EVERY_S
    news.progress(1, 0.5, "")
    assert news.due(10.5) == [progress((1, 0.5, ""))]
    assert news.status(1, "c") == 10.0 + STATUS_EVERY_S
    assert news.due(10.0 + STATUS_EVERY_S) == [statuses(_1="c")]


def test_an_unchanged_status_is_not_sent_again() -> None:
    news = ReportOutbox()
    news.status(1, "a")
    news.due(10.0)
    news.status(1, "b")
    news.status(1, "a")
    assert news.due(20.0) == []
    assert news.next_due() is None


def test_an_empty_status_is_sent() -> None:
    news = ReportOutbox()
    news.status(1, "")
    assert news.due(10.0) == [statuses(_1="")]


def test_all_statuses_are_sent_before_results() -> None:
    news = ReportOutbox()
    news.status(1, "a")
    news.due(10.0)
    news.status(1, "b")
    news.status(2, "x")
    news.progress(1, 0.5, "")
    assert news.all_statuses(10.1) == [statuses(_1="b", _2="x")]
    assert news.all_statuses(10.1) == []
    assert news.due(10.2) == [progress((1, 0.5, ""))]
    assert news.status(1, "c") == 10.1 + STATUS_EVERY_S


def test_after_a_disconnect_all_current_reports_are_sent_again_at_once() -> None:
    news = ReportOutbox()
    for lease in (1, 2):
        news.progress(lease, lease / 10, "")
        news.status(lease, f"s{lease}")
    news.due(10.0)
    news.status(2, "newer")
    news.disconnected()
    assert news.next_due() == 10.0 + EVERY_S
    assert news.due(10.5) == [progress((1, 0.1, ""), (2, 0.2, "")), statuses(_1="s1", _2="newer")]
    assert news.due(20.0) == []


def test_a_disconnect_before_results_loses_no_status() -> None:
    news = ReportOutbox()
    news.status(1, "a")
    news.all_statuses(10.0)
    news.disconnected()
    assert news.all_statuses(10.1) == [statuses(_1="a")]


def test_nothing_is_sent_about_a_forgotten_attempt() -> None:
    news = ReportOutbox()
    for lease in (1, 2):
        news.progress(lease, 0.5, "")
        news.status(lease, "s")
    news.forget(1)
    news.forget(3)
    assert news.due(10.0) == [progress((2, 0.5, "")), statuses(_2="s")]
    news.forget(2)
    news.disconnected()
    assert news.next_due() is None
    assert news.due(20.0) == news.all_statuses(20.0) == []


def test_the_number_of_rows_of_a_message_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_news, "ROWS", 2)
    news = ReportOutbox()
    for lease in (1, 2, 3):
        news.progress(lease, 0.5, "")
        news.status(lease, "s")
    rows = [(1, 0.5, ""), (2, 0.5, ""), (3, 0.5, "")]
    assert news.due(10.0) == [progress(*rows[:2]), progress(rows[2]), statuses(_1="s", _2="s"), statuses(_3="s")]
