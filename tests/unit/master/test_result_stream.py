"""Results of a run for a collecting client: each result is sent once, as its job ends."""

from __future__ import annotations

from typing import cast

import pytest

from support.core import FRAGILE, Master, alike, cancel, dag, register, results, submit, succeeded
from titan.errors import CallerError, Conflict, NotFound
from titan.master import result_stream
from titan.master.result_stream import ResultStream
from titan.model.dag import JobTemplate
from titan.model.states import JobState, Outcome
from titan.net.peer import Peer
from titan.protocol import messages as msg

COMPLETED, DEAD, CANCELLED = int(JobState.COMPLETED), int(JobState.DEAD), int(JobState.CANCELLED)
TRUE = JobTemplate(command="true")


class Told:
    """Connection that keeps the messages that are sent on it."""

    def __init__(self, number: int = 9) -> None:
        self.number = number
        self.got: list[msg.Values] = []

    def send(self, message: msg.Values) -> None:
        self.got.append(message)

    @property
    def peer(self) -> Peer:
        return cast(Peer, self)

    def take(self) -> list[tuple[int, list[int], list[int], bool]]:
        """Return (request, positions, states, last) of the messages since the last call."""
        got, self.got = self.got, []
        return [(v.request, list(v.positions), list(v.states), v.last) for v in got]


def tell(call: object) -> None:
    if callable(call):
        call()


@pytest.fixture
def master() -> Master:
    master = Master()
    master.see(register(slots=4), submit(dag({"a": "", "b": "", "c": "b"}, {"b": FRAGILE})), at=1.0)
    return master


def test_results_are_sent_as_jobs_end_and_the_last_is_marked(master: Master) -> None:
    stream, told = ResultStream(master.state), Told()
    stream.expect(told.peer, 5, [])
    assert stream.expected(9, 5) == (told.peer, None)
    assert stream.begin(9, 5, "r") is None, "nothing is over yet"
    assert stream.expected(9, 5) is None
    tell(stream.note(master.see(succeeded(1, master.lease(0)), at=2.0).events))
    assert told.take() == [(5, [0], [COMPLETED], False)]
    tell(stream.note(master.see(results(1, (master.lease(1), Outcome.EXITED)), at=3.0).events))
    (rest,) = told.take()
    assert sorted(zip(rest[1], rest[2], strict=True)) == [(1, DEAD), (2, CANCELLED)] and rest[3]
    assert stream.note(master.see(submit(alike("x", TRUE), run="other"), at=4.0).events) is None
    assert told.take() == []


def test_a_late_client_gets_the_results_of_ended_jobs_at_once(master: Master) -> None:
    stream, told = ResultStream(master.state), Told()
    master.see(succeeded(1, master.lease(0)), at=2.0)
    stream.expect(told.peer, 6, [])
    tell(stream.begin(9, 6, "r"))
    assert told.take() == [(6, [0], [COMPLETED], False)]
    master.see(cancel("r"), at=3.0)
    master.see(results(1, (master.lease(1), Outcome.STOPPED)), at=4.0)
    stream.expect(told.peer, 7, [])
    tell(stream.begin(9, 7, "r"))
    ((request, positions, _, last),) = told.take()
    assert (request, sorted(positions), last) == (7, [0, 1, 2], True)
    (whole,) = stream.all_of(8, "r", None)
    assert sorted(whole.positions) == [0, 1, 2] and whole.last


def test_of_unwanted_jobs_only_dead_ones_are_reported(master: Master) -> None:
    """Jobs are CANCELLED because of a DEAD job. A client that wants only the cancelled jobs must
    learn the reason."""
    stream, told = ResultStream(master.state), Told()
    stream.expect(told.peer, 5, [2])
    tell(stream.begin(9, 5, "r"))
    tell(stream.note(master.see(succeeded(1, master.lease(0)), at=2.0).events))
    assert told.take() == []
    tell(stream.note(master.see(results(1, (master.lease(1), Outcome.EXITED)), at=3.0).events))
    (rest,) = told.take()
    assert sorted(zip(rest[1], rest[2], strict=True)) == [(1, DEAD), (2, CANCELLED)] and rest[3]


def test_a_client_that_left_or_was_refused_gets_no_results(master: Master) -> None:
    stream, told, other = ResultStream(master.state), Told(9), Told(10)
    for request in (5, 6):
        stream.expect(told.peer, request, [])
        stream.begin(9, request, "r")
    stream.expect(other.peer, 5, [])
    stream.begin(10, 5, "r")
    stream.unwatch(told.peer, 5)
    tell(stream.note(master.see(succeeded(1, master.lease(0)), at=2.0).events))
    assert [request for request, *_ in told.take()] == [6] and len(other.take()) == 1
    stream.expect(told.peer, 7, [])
    stream.refused(9, 7)
    stream.expect(told.peer, 8, [])
    stream.forget(told.peer)
    assert stream.expected(9, 7) is None and stream.expected(9, 8) is None
    tell(stream.note(master.see(results(1, (master.lease(1), Outcome.EXITED)), at=3.0).events))
    assert told.take() == [] and len(other.take()) == 1


def test_values_of_chosen_jobs_are_read_once_they_are_over(master: Master) -> None:
    stream = ResultStream(master.state)
    with pytest.raises(Conflict, match="r/a is DISPATCHED: it has no result yet"):
        stream.some_of(msg.ReadValues(5, "r", ["a"]))
    master.see(succeeded(1, master.lease(0)), at=2.0)
    (values,) = stream.some_of(msg.ReadValues(5, "r", ["a"]))
    assert (list(values.positions), list(values.states), values.last) == ([0], [COMPLETED], True)
    for names in ([], ["a"] * (result_stream.PAGE + 1)):
        with pytest.raises(CallerError, match="1 to 10,000 jobs at once"):
            stream.some_of(msg.ReadValues(5, "r", names))
    with pytest.raises(NotFound, match="no job 'x'"):
        stream.some_of(msg.ReadValues(5, "r", ["x"]))
    with pytest.raises(NotFound, match="no run 'none'"):
        stream.some_of(msg.ReadValues(5, "none", ["a"]))


def test_results_of_many_jobs_come_in_pages_and_the_last_page_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_stream, "PAGE", 3)
    monkeypatch.setattr(result_stream, "PAGE_BYTES", 100)
    names = " ".join(f"j{n}" for n in range(8))
    master = Master()
    master.see(register(slots=8), submit(alike(names, TRUE)), at=1.0)
    master.see(succeeded(1, *[master.lease(n) for n in range(8)]), at=2.0)
    for n, size in ((3, 90), (4, 90)):
        master.job(n).value = b"x" * size
    pages = ResultStream(master.state).all_of(5, "r", None)
    assert [list(page.positions) for page in pages] == [[0, 1, 2], [3], [4, 5, 6], [7]]
    assert [page.last for page in pages] == [False, False, False, True]
