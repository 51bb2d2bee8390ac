"""Files that jobs left: lists and downloads that pass from the worker through the master."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest

from support.core import alike
from support.handlers import SocketlessMaster, WorkerSpeaker, answers, needing, refuses
from titan.core.state.state import Past
from titan.errors import CallerError, ProtocolError
from titan.master import relays
from titan.master.handlers import left_files
from titan.master.handlers.left_files import FIRST_REQUEST
from titan.model.dag import Gate, JobTemplate
from titan.model.files import FILE, FOLDER, StoredFile
from titan.model.states import Outcome
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

LOG = msg.FolderRow(b"log.txt", 3, 5.0, FILE)


def own_worker(master: SocketlessMaster, name: str) -> WorkerSpeaker:
    """A worker that offers what only the jobs of this test require."""
    return master.worker(name, offers=name.upper())


def keep(worker: WorkerSpeaker, data: bytes) -> str:
    """Upload content, and return its hash."""
    hash_ = sha256(data).hexdigest()
    worker.ask(msg.SendFile(0, hash_[:16], len(data), hash_), msg.Stored, data)
    return hash_


def ended(master: SocketlessMaster, worker: WorkerSpeaker, *, outcome: Outcome = Outcome.SUCCEEDED) -> str:
    """Run job a on this worker, and return its run."""
    run = master.client().submit(needing(worker.name.upper(), "a"))
    worker.finish(worker.start(run, "a"), outcome)
    return run


@answers(msg.ListLeftFiles, msg.FolderListed)
def test_the_worker_that_ran_the_job_lists_its_folder(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "lists"), master.client()
    run = ended(master, worker)
    asked = client.say(msg.ListLeftFiles(0, run, "a", after=b"l", limit=7))
    order = worker.heard(msg.ListFolder)
    assert order.request > FIRST_REQUEST, "a request of the worker or of `disk` could have the same number"
    assert order == msg.ListFolder(order.request, run, "a", 1, b"l", 7)
    worker.say(msg.FolderListed(order.request, [LOG], True, "not all", 9.0, "--keep 1d"))
    answer = client.heard(msg.LeftFiles, asked.request)
    assert answer == msg.LeftFiles(
        asked.request, 1, "lists", [msg.LeftFileRow(*msgspec.structs.astuple(LOG))], True, "not all", 9.0, "--keep 1d"
    )
    worker.hang_up()


def test_outputs_are_listed_with_their_paths_and_hashes_also_when_the_worker_is_away(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "leaves"), master.client()
    outputs = (("data", "out/data"), ("csv", "parts/*.csv"), ("plots", "plots"))
    template = JobTemplate(command="make", requirement="LEAVES", outputs=outputs)
    run = client.submit(alike("a", template))
    lease = worker.start(run, "a")
    one, two, three = [keep(worker, data) for data in (b"1", b"22", b"333")]
    left = [StoredFile("data", one, 1), StoredFile("csv/x.csv", two, 2, FILE, "csv"), StoredFile("plots", three, 3, FOLDER)]
    worker.say(msgspec.structs.replace(worker.results(lease), outputs=[tuple(left)]))
    master.settled()
    worker.hang_up()
    answer = client.ask(msg.ListLeftFiles(0, run, "a"), msg.LeftFiles)
    found = [(row.path, row.output, row.hash, row.kind) for row in answer.files]
    assert found == [(b"out/data", "data", one, FILE), (b"parts/x.csv", "csv", two, FILE), (b"plots", "plots", three, FOLDER)]
    assert answer.away and answer.remark.startswith("worker leaves is away (SUSPECT)")
    refusal = "worker leaves is away"
    client.refused(msg.FetchLeftFile(0, run, "a", 1, b"log.txt"), "environment", refusal)


def test_outputs_that_a_failed_attempt_left_are_named(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "broken"), master.client()
    template = JobTemplate(command="make", requirement="BROKEN", retries=0, outputs=(("data", "out"), ("csv", "**/*.csv")))
    run = client.submit(alike("a", template))
    worker.finish(worker.start(run, "a"), Outcome.EXITED, 1)
    asked = client.say(msg.ListLeftFiles(0, run, "a"))
    order = worker.heard(msg.ListFolder)
    paths = (b"out", b"out/deep/x", b"outer", b"b/c.csv", b"\xff.csv")
    worker.say(msg.FolderListed(order.request, [LOG] + [msg.FolderRow(path, 1, 1.0, FILE) for path in paths]))
    found = {row.path: row.output for row in client.heard(msg.LeftFiles, asked.request).files}
    assert found == dict(zip((b"log.txt", *paths), ("", "data", "data", "", "csv", "csv"), strict=True))
    worker.hang_up()


def test_an_earlier_attempt_is_listed_where_it_ran(master: SocketlessMaster) -> None:
    first, client = own_worker(master, "first"), master.client()
    run = client.submit(alike("a", JobTemplate(command="false", requirement="FIRST", retries=1)))
    first.finish(first.start(run, "a"), Outcome.EXITED, 1)
    second = own_worker(master, "second")
    core = master.inside.core
    job = core.state.jobs[core.state.runs[run].first]
    assert [past.attempt for past in job.history or [] if isinstance(past, Past)] == [1]
    client.say(msg.ListLeftFiles(0, run, "a", 1))
    assert first.heard(msg.ListFolder).attempt == 1
    assert second.find(msg.ListFolder) is None
    client.refused(msg.ListLeftFiles(0, run, "a", 7), "not_found", "attempts; there is no attempt 7")
    for worker in (first, second):
        worker.hang_up()


@pytest.mark.parametrize(
    ("template", "remark"),
    [
        (JobTemplate(command="true", requirement="NOBODY"), "has not started, so it left no files"),
        (JobTemplate(kind="gate", gate=Gate("ok?")), "is a gate, which has no folder"),
    ],
)
def test_a_job_without_a_folder_says_why(master: SocketlessMaster, template: JobTemplate, remark: str) -> None:
    client = master.client()
    run = client.submit(alike("a", template))
    answer = client.ask(msg.ListLeftFiles(0, run, "a"), msg.LeftFiles)
    assert answer.remark == f"{run}/a {remark}" and not answer.files and not answer.away


@refuses(msg.ListLeftFiles, msg.FetchLeftFile, msg.FolderListed)
def test_requests_of_others_and_for_unknown_jobs_are_refused(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "curious"), master.client()
    run = ended(master, worker)
    for message in (msg.ListLeftFiles(0, run, "b"), msg.FetchLeftFile(0, run, "b", 1, b"x")):
        client.refused(message, "not_found", f"run {run} has no job 'b'")
        worker.refused(message, "protocol", f"a worker must not send a {type(message).__name__}")
    client.refused(msg.FolderListed(0, []), "protocol", "a client must not send a FolderListed to the master")
    worker.hang_up()


def test_a_worker_that_errs_leaves_or_stays_silent_is_named(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    held, stranger, client = own_worker(master, "errs"), own_worker(master, "other"), master.client()
    run = ended(master, held)
    asked = client.say(msg.ListLeftFiles(0, run, "a"))
    order = held.heard(msg.ListFolder)
    stranger.say(msg.FolderListed(order.request, [LOG]))
    held.say(error_of(order.request, ProtocolError("opcode 167 is unknown here; the peer may be newer")))
    error = client.heard(msg.Error, asked.request)
    assert error.message == f"worker {held.name} is of an earlier Titan that cannot show files: upgrade it"
    monkeypatch.setattr(left_files, "ANSWER_S", 0.1)
    late = client.say(msg.ListLeftFiles(0, run, "a"))
    assert "has not listed the folder within 0.1 s" in client.heard(msg.Error, late.request).message
    monkeypatch.setattr(left_files, "ANSWER_S", 60.0)
    broken = client.say(msg.ListLeftFiles(0, run, "a"))
    held.hang_up()
    assert f"the connection to worker {held.name} broke" in client.heard(msg.Error, broken.request).message
    stranger.hang_up()


# -- downloads -------------------------------------------------------------------------------------
@answers(msg.FetchLeftFile, msg.FileTaken, msg.StopSending)
def test_pieces_pass_through_the_master_at_the_pace_of_the_client(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "sends"), master.client()
    run = ended(master, worker)
    asked = client.say(msg.FetchLeftFile(0, run, "a", 1, b"big", 4, 10))
    order = worker.heard(msg.SendLeftFile)
    assert order == msg.SendLeftFile(order.request, run, "a", 1, b"big", 4, 10)
    worker.say(msg.FilePiece(order.request, 4, 10), b"half")
    piece = client.heard(msg.FilePiece, asked.request)
    assert (piece.offset, piece.size, client.blob_of(piece)) == (4, 10, b"half")
    client.say(msg.FileTaken(asked.request, 4))
    assert worker.heard(msg.FileTaken, order.request).size == 4
    client.say(msg.StopSending(0, asked.request))
    assert worker.heard(msg.StopSending).fetch == order.request
    since = len(client.got)
    worker.say(msg.FilePiece(order.request, 8, 10), b"!!")
    master.settled()
    assert client.find(msg.FilePiece, asked.request, since=since) is None
    assert worker.find(msg.Error) is None, "pieces of a stopped download are dropped"
    worker.hang_up()


def test_errors_and_lost_connections_end_a_download(master: SocketlessMaster) -> None:
    worker, client = own_worker(master, "fails"), master.client()
    run = ended(master, worker)
    refused = client.say(msg.FetchLeftFile(0, run, "a", 1, b"link"))
    worker.say(error_of(worker.heard(msg.SendLeftFile).request, CallerError("'link' is a link")))
    assert client.heard(msg.Error, refused.request).message == "'link' is a link"
    gone, since = master.client(), len(worker.got)
    gone.say(msg.FetchLeftFile(0, run, "a", 1, b"x"))
    order = worker.heard(msg.SendLeftFile, since=since)
    gone.hang_up()
    assert worker.heard(msg.StopSending).fetch == order.request
    cut = client.say(msg.FetchLeftFile(0, run, "a", 1, b"x"))
    worker.hang_up()
    assert "the connection to worker fails broke" in client.heard(msg.Error, cut.request).message


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (1, 10, "a piece of another place than the next"),
        (0, 2, "a piece of another place"),
        (0, 1 << 40, "more than 3 bytes at once"),
    ],
)
def test_a_worker_that_breaks_the_rules_ends_only_the_download(
    master: SocketlessMaster, offset: int, size: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(msg, "FILE_WINDOW", 3)
    worker, client = own_worker(master, "odd"), master.client()
    run = ended(master, worker)
    asked = client.say(msg.FetchLeftFile(0, run, "a", 1, b"x"))
    order = worker.heard(msg.SendLeftFile)
    worker.say(msg.FilePiece(order.request, offset, size), b"12345")
    assert text in client.heard(msg.Error, asked.request).message
    assert worker.heard(msg.StopSending).fetch == order.request
    worker.hang_up()


def test_downloads_are_limited_and_a_finished_one_counts_no_more(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "MAX_OF_CLIENT", 2)
    monkeypatch.setattr(relays, "MAX_ALL", 3)
    worker, client, other = own_worker(master, "busy"), master.client(), master.client()
    run = ended(master, worker)
    fetch = msg.FetchLeftFile(0, run, "a", 1, b"x")
    for _ in range(2):
        client.say(fetch)
    client.refused(fetch, "limit_exceeded", "2 files are being downloaded on this connection")
    other.say(fetch)
    other.refused(fetch, "limit_exceeded", "3 files are being downloaded from workers, the limit: try again later")
    order = worker.heard(msg.SendLeftFile)
    worker.say(msg.FilePiece(order.request, 0, 0), b"")
    asked = client.say(fetch)
    master.settled()
    assert client.find(msg.Error, asked.request) is None
    for speaker in (worker, client, other):
        speaker.hang_up()
