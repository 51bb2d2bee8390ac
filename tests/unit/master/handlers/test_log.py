"""Reading and following the output of jobs."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from support.core import alike
from support.handlers import SocketlessMaster, Speaker, WorkerSpeaker, answers, needing, refuses
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.protocol import messages as msg


def printed(worker: WorkerSpeaker, run: str, text: bytes, offset: int = 0, stream: int = 1) -> None:
    worker.say(msg.LogData(0, [run], ["a"], [1], [stream], [offset], [len(text)]), text)


def chunks(client: Speaker, request: int) -> list[tuple[int, int, bytes, bool]]:
    """Return (stream, offset, bytes, last) of each chunk that arrived."""
    return [(m.stream, m.offset, b, m.last) for m, b in client.got if isinstance(m, msg.LogChunk) and m.request == request]


@answers(msg.ReadLogs)
def test_output_is_read_and_followed_to_the_end_of_the_job(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("printer", offers="PRINT")
    run = client.submit(needing("PRINT", "a"))
    lease = worker.start(run, "a")
    printed(worker, run, b"out")
    printed(worker, run, b"err", stream=2)
    read = client.ask(msg.ReadLogs(0, run, "a"), msg.LogChunk).request
    master.until(lambda: any(last for *_, last in chunks(client, read)), "the end")
    assert sorted(chunks(client, read)) == [(1, 0, b"out", False), (1, 3, b"", True), (2, 0, b"err", False)]
    follow = client.say(msg.ReadLogs(0, run, "a", follow=True)).request
    master.until(lambda: len(chunks(client, follow)) == 2, "what is there")
    printed(worker, run, b"put", 3)
    master.until(lambda: (1, 3, b"put", False) in chunks(client, follow), "what came later")
    worker.finish(lease)
    master.until(lambda: chunks(client, follow)[-1] == (1, 6, b"", True), "the end")


def test_output_is_not_sent_after_the_client_stopped_following(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("unread", offers="UNREAD")
    run = client.submit(needing("UNREAD", "a"))
    lease = worker.start(run, "a")
    printed(worker, run, b"one")
    follow = client.ask(msg.ReadLogs(0, run, "a", follow=True), msg.LogChunk).request
    client.say(msg.Unwatch(0, follow))
    client.ask(msg.Ping(0), msg.Pong)
    printed(worker, run, b"two", 3)
    worker.finish(lease)
    client.ask(msg.Ping(0), msg.Pong)
    assert chunks(client, follow) == [(1, 0, b"one", False)]


@refuses(msg.ReadLogs)
def test_output_of_an_unknown_run_or_job_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.ReadLogs(0, "nope", "a"), "not_found", "there is no run 'nope'")
    client.refused(msg.ReadLogs(0, run, "b"), "not_found", f"run {run} has no job 'b'")
    client.refused(msg.ReadLogs(0, run, "a", 1), "not_found", f"{run}/a has had 0 attempts; there is no attempt 1")


def test_all_attempts_are_followed_one_after_the_other(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("again", offers="AGAIN")
    run = client.submit(alike("a", JobTemplate(command="x", requirement="AGAIN", retries=1)))
    first = worker.start(run, "a")
    worker.say(msg.LogData(0, [run], ["a"], [1], [1], [0], [5]), b"first")
    follow = client.say(msg.ReadLogs(0, run, "a", follow=True)).request
    one = client.say(msg.ReadLogs(0, run, "a", 1, follow=True)).request
    worker.finish(first, Outcome.EXITED, 3)
    second = worker.lease_of(run, "a", after=first)
    worker.say(msg.Started(0, [second], [2.0]))
    worker.say(msg.LogData(0, [run], ["a"], [2], [1], [0], [6]), b"second")
    worker.finish(second)
    master.until(lambda: any(last for *_, last in chunks(client, follow)), "the end")
    attempts = [(m.attempt, b) for m, b in client.got if isinstance(m, msg.LogChunk) and m.request == follow]
    assert [(attempt, data) for attempt, data in attempts if data] == [(1, b"first"), (2, b"second")]
    master.until(lambda: any(last for *_, last in chunks(client, one)), "the end of attempt 1")
    assert [data for _, _, data, _ in chunks(client, one) if data] == [b"first"], "that attempt alone"


def test_a_client_that_disconnects_no_longer_follows(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("gone", offers="GONE")
    run = client.submit(needing("GONE", "a"))
    lease = worker.start(run, "a")
    printed(worker, run, b"one")
    client.ask(msg.ReadLogs(0, run, "a", follow=True), msg.LogChunk)
    client.hang_up()
    master.client().ask(msg.Ping(0), msg.Pong)
    logs = master.inside.handlers._log_handler
    master.until(lambda: not logs._streams and not logs._followers, "the end of what is followed")
    worker.finish(lease)


def test_a_log_that_cannot_be_read_is_an_error_of_the_machine(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    client, worker = master.client(), master.worker("torn", offers="TORN")
    run = client.submit(needing("TORN", "a"))
    worker.start(run, "a")

    def torn(*_: object) -> Iterator[tuple[int, int, bytes]]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(master.inside.logs, "pieces", torn)
    client.refused(msg.ReadLogs(0, run, "a"), "environment", "the log cannot be read: [Errno 5] Input/output error")


def test_the_output_of_a_run_is_sent_with_the_jobs(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("both", offers="BOTH")
    run = client.submit(needing("BOTH", "a"))
    lease = worker.start(run, "a")
    printed(worker, run, b"one")
    follow = client.say(msg.ReadLogs(0, run, "", follow=True)).request
    first = master.until(lambda: client.find(msg.LogChunk, follow), "the output so far")
    assert (first.job, first.stream, client.blob_of(first)) == ("a", 1, b"one")
    worker.finish(lease)
    master.until(
        lambda: any(m.last for m, _ in client.got if isinstance(m, msg.LogChunk) and m.request == follow) or None, "the end"
    )
    once = client.ask(msg.ReadLogs(0, run, ""), msg.LogChunk)
    assert once.job == "a"
