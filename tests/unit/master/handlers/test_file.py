"""Uploads and downloads of workers and clients, at the pace of the receiver."""

from __future__ import annotations

import asyncio
from hashlib import sha256

from support.handlers import SocketlessMaster, Speaker, answers, refuses
from titan.protocol import messages as msg
from titan.protocol.handshake import hello

ABSENT = "ab" * 32


def key(number: int) -> str:
    return f"{number:016x}"


def send(speaker: Speaker, data: bytes, number: int) -> str:
    """Upload a file and return its hash."""
    hash_ = sha256(data).hexdigest()
    start = speaker.ask(msg.SendFile(0, key(number), len(data)), msg.SendFrom)
    assert start.offset == 0
    for at in range(0, len(data), msg.FILE_WINDOW):
        since = len(speaker.got)
        speaker.say(msg.FilePiece(start.request, at, len(data)), data[at : at + msg.FILE_WINDOW])
        speaker.heard(msg.FileTaken, start.request, since=since)
    speaker.say(msg.FileEnd(start.request, hash_))
    assert speaker.heard(msg.Stored, start.request).hash == hash_
    return hash_


@answers(msg.SendFile, msg.FilePiece, msg.FileEnd)
def test_a_file_is_confirmed_when_it_is_on_the_disk(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("sender")
    hash_ = send(worker, b"an output", 1)
    assert (master.inside.home / "files" / hash_).read_bytes() == b"an output"
    assert sum(m.size for m, _ in worker.got if isinstance(m, msg.FileTaken)) == len(b"an output")
    assert client.ask(msg.SendFile(0, key(2), 9, hash_), msg.Stored).hash == hash_, "it is there already"


@answers(msg.SendFile)
def test_an_upload_continues_at_its_offset_after_a_disconnect(master: SocketlessMaster) -> None:
    first, second, data = master.client(), master.client(), b"half and half"
    start = first.ask(msg.SendFile(0, key(3), len(data)), msg.SendFrom)
    first.say(msg.FilePiece(start.request, 0, 5), data[:5])
    first.heard(msg.FileTaken, start.request)
    first.hang_up()
    again = second.ask(msg.SendFile(0, key(3), len(data)), msg.SendFrom)
    assert again.offset == 5
    second.say(msg.FilePiece(again.request, 5, len(data) - 5), data[5:])
    second.say(msg.FileEnd(again.request, sha256(data).hexdigest()))
    second.heard(msg.Stored, again.request)


@refuses(msg.SendFile)
def test_invalid_uploads_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.SendFile(0, key(4), 1 << 50), "limit_exceeded", "--set file_bytes=...")
    client.refused(msg.SendFile(0, "../../lock", 5), "caller", "'../../lock' is not the key of an upload")
    start = client.ask(msg.SendFile(0, key(4), 5), msg.SendFrom)
    since = len(client.got)
    client.say(msg.SendFile(start.request, key(5), 5))
    assert "each with its own request id" in client.heard(msg.Error, start.request, since=since).message


@refuses(msg.FilePiece)
def test_more_bytes_than_announced_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    start = client.ask(msg.SendFile(0, key(6), 3), msg.SendFrom)
    client.say(msg.FilePiece(start.request, 0, 4), b"four")
    error = client.heard(msg.Error, start.request)
    assert (error.code, error.message) == ("caller", "the file has more than the announced 3 bytes")
    assert not list((master.inside.home / "files").glob(f"{key(6)}*"))


@refuses(msg.FileEnd)
def test_content_that_does_not_match_its_hash_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    start = client.ask(msg.SendFile(0, key(7), 4), msg.SendFrom)
    client.say(msg.FilePiece(start.request, 0, 4), b"four")
    client.say(msg.FileEnd(start.request, ABSENT))
    error = client.heard(msg.Error, start.request)
    assert error.code == "caller" and "arrived with content that does not match its hash: send it again" in error.message
    assert not master.inside.files.store.has(ABSENT)


@answers(msg.FetchFile, msg.FileTaken)
def test_a_file_is_sent_no_further_ahead_than_the_window(master: SocketlessMaster) -> None:
    client, data = master.client(), bytes(msg.FILE_WINDOW + (4 << 20))
    hash_ = send(client, data, 8)
    fetch = client.say(msg.FetchFile(0, hash_)).request

    def got() -> int:
        return sum(len(b) for m, b in client.got if isinstance(m, msg.FilePiece) and m.request == fetch)

    master.until(lambda: got() > msg.FILE_WINDOW - (4 << 20), "the window")
    client.ask(msg.Ping(0), msg.Pong)
    master.do(_pause())
    assert got() <= msg.FILE_WINDOW
    client.say(msg.FileTaken(fetch, got()))
    master.until(lambda: got() == len(data), "the rest")


async def _pause() -> None:
    """Wait long enough for a sender without a window to continue."""
    await asyncio.sleep(0.2)


@answers(msg.FetchFile, msg.StopSending)
def test_a_download_stops_when_the_receiver_stops_it(master: SocketlessMaster) -> None:
    client, data = master.client(), bytes(msg.FILE_WINDOW + (4 << 20))
    hash_ = send(client, data, 9)
    fetch = client.ask(msg.FetchFile(0, hash_), msg.FilePiece).request
    client.say(msg.StopSending(0, fetch))
    downloads = master.inside.files._downloads[client.peer]
    master.until(lambda: fetch not in downloads, "the end of the sending")
    client.say(msg.FileTaken(fetch, len(data)))
    client.ask(msg.Ping(0), msg.Pong)
    assert sum(len(b) for m, b in client.got if isinstance(m, msg.FilePiece) and m.request == fetch) < len(data)


@refuses(msg.FetchFile)
def test_a_download_of_an_unknown_file_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.FetchFile(0, ABSENT), "not_found", f"{ABSENT[:12]!r}")
    hash_ = send(client, b"short", 10)
    client.refused(msg.FetchFile(0, hash_, 6), "caller", "offset 6 is beyond the end of the file, which has 5 bytes")


@refuses(msg.FileTaken, msg.StopSending)
def test_downloads_of_an_unregistered_worker_are_refused(master: SocketlessMaster) -> None:
    worker = master.connection()
    worker.ask(hello("worker", "test"), msg.Welcome)
    for message in (msg.FileTaken(0, 5), msg.StopSending(0, 1)):
        text = f"a {type(message).__name__} from a worker that is not registered on this connection"
        worker.refused(message, "protocol", text)
