"""Output on its way to the master. tests/property/worker/test_log_pump.py tests random
interleavings."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.log_pump import Link
from titan.protocol.messages import LogData
from titan.worker import log_pump


@pytest.fixture
def link(tmp_path: Path) -> Link:
    link = Link(tmp_path)
    link.open(1)
    link.open(2)
    return link


def test_output_of_one_turn_is_one_message(link: Link) -> None:
    link.write(1, 1, b"out")
    link.write(2, 2, b"err")
    link.write(1, 1, b"more")
    link.pump.flush()
    assert link.flight == [
        (LogData(0, ["r"] * 3, ["j1", "j2", "j1"], [1, 1, 1], [1, 2, 1], [0, 0, 3], [3, 3, 4]), b"outerrmore"),
    ]
    link.pump.flush()
    assert len(link.flight) == 1
    assert not link.pump.catch_up()
    assert link.lagged == 0


def test_an_attempt_that_ends_with_all_sent_is_done_at_once(link: Link) -> None:
    link.write(1, 1, b"out")
    link.pump.on_ended(1)
    assert link.done == [1]
    link.deliver()
    assert link.received == link.written


def test_an_attempt_that_never_opened_a_log_is_done_at_once(link: Link) -> None:
    link.pump.on_ended(9)
    assert link.done == [9]


def test_a_master_that_does_not_read_gets_the_output_later_from_the_file(link: Link) -> None:
    link.congested = True
    link.write(1, 1, b"out")
    link.pump.on_ended(1)
    assert (link.done, link.lagged, link.pump.catch_up()) == ([], 2, False)
    link.congested = False
    link.catch_up()
    assert link.done == [1]
    link.deliver()
    assert link.received == link.written


def test_catching_up_sends_one_chunk_at_a_time(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pump, "CHUNK", 4)
    link.congested = True
    link.write(1, 1, b"0123456789")
    link.congested = False
    link.write(1, 1, b"ab")
    for sent in (b"0123", b"4567", b"89ab"):
        assert link.pump.catch_up()
        assert link.flight.pop()[1] == sent
    assert not link.pump.catch_up()


def test_output_in_flight_at_a_disconnect_is_sent_again(link: Link) -> None:
    link.write(1, 1, b"one")
    link.pump.flush()
    link.deliver()
    link.write(1, 1, b"two")
    link.pump.flush()
    link.write(1, 1, b"three")
    link.cut()
    link.write(1, 2, b"four")
    link.reconnect()
    link.catch_up()
    link.deliver()
    assert link.received == {("j1", 1): b"onetwothree", ("j1", 2): b"four"}


def test_a_log_file_that_was_taken_away_blocks_nothing(link: Link) -> None:
    link.congested = True
    link.write(1, 1, b"out")
    link.write(2, 1, b"out")
    link.pump.on_ended(1)
    (link.folder / "1.stdout").unlink()
    link.congested = False
    link.catch_up()
    link.deliver()
    assert (link.done, link.received) == ([1], {("j2", 1): b"out"})


def test_output_of_a_forgotten_attempt_is_not_sent(link: Link) -> None:
    link.congested = True
    link.write(1, 1, b"out")
    link.pump.forget(1)
    link.pump.forget(1)
    link.congested = False
    assert not link.pump.catch_up()
    link.write(1, 1, b"late")
    link.pump.resume(1, 0, 0)
    link.pump.flush()
    assert link.flight == []


def test_a_gap_is_sent_with_the_piece_after_it_now_and_when_it_is_read_back(link: Link) -> None:
    for congested in (False, True):
        lease = 1 + congested
        link.congested = congested
        link.write(lease, 1, b"head")
        link.write(lease, 1, b"tail", skipped=1000)
        link.congested = False
        link.catch_up()
        link.pump.flush()
    sent = [
        (job, offset, skipped)
        for message, _ in link.flight
        for job, offset, skipped in zip(message.jobs, message.offsets, message.skipped or [0] * len(message.jobs), strict=True)
    ]
    assert sorted(sent) == [("j1", 0, 0), ("j1", 4, 1000), ("j2", 0, 0), ("j2", 4, 1000)]
