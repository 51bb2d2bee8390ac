"""Output of jobs: read when it is there, and followed."""

from __future__ import annotations

from support.handlers import SocketlessMaster, Speaker, WorkerSpeaker, answers, needing, refuses
from titan.protocol import messages as msg


def printed(worker: WorkerSpeaker, run: str, text: bytes, offset: int = 0, stream: int = 1) -> None:
    worker.say(msg.LogData(0, [run], ["a"], [1], [stream], [offset], [len(text)]), text)


def chunks(client: Speaker, request: int) -> list[tuple[int, int, bytes, bool]]:
    """(stream, offset, bytes, last) of what came."""
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


def test_what_is_followed_no_longer_is_not_sent(master: SocketlessMaster) -> None:
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
def test_output_that_is_not_there(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.ReadLogs(0, "nope", "a"), "not_found", "there is no run 'nope'")
    client.refused(msg.ReadLogs(0, run, "b"), "not_found", f"run {run} has no job 'b'")
    client.refused(msg.ReadLogs(0, run, "a", 1), "not_found", f"{run}/a has had 0 attempts; there is no attempt 1")
