"""Publishing files under keys, and finding them."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from support.core import alike
from support.handlers import SocketlessMaster, Speaker, WorkerSpeaker, answers, needing, records, refuses
from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.files import FILE, FOLDER, StoredFile
from titan.protocol import messages as msg

ABSENT = "ab" * 32


def keep(speaker: Speaker, data: bytes) -> str:
    """Upload a file and return its hash."""
    hash_ = sha256(data).hexdigest()
    start = speaker.ask(msg.SendFile(0, hash_[:32], len(data)), msg.SendFrom)
    speaker.say(msg.FilePiece(start.request, 0, len(data)), data)
    speaker.say(msg.FileEnd(start.request, hash_))
    speaker.heard(msg.Stored, start.request)
    return hash_


@records(msg.Publish, ev.ArtifactPublished)
@answers(msg.Publish, msg.FindArtifact)
def test_a_client_publishes_for_all_and_the_newest_version_comes_first(master: SocketlessMaster) -> None:
    client = master.client()
    versions = [keep(client, data) for data in (b"one", b"two!")]
    for hash_, size in zip(versions, (3, 4), strict=True):
        (row,) = client.ask(msg.Publish(0, "models/best", hash_, size), msg.Artifacts).artifacts
        assert (row.key, row.hash, row.size, row.by) == ("models/best", hash_, size, "")
    rows = client.ask(msg.FindArtifact(0, "models/best"), msg.Artifacts).artifacts
    assert [row.hash for row in rows] == versions[::-1]


@answers(msg.Publish, msg.FindArtifact, msg.ListArtifacts)
def test_a_job_publishes_for_its_run(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("publisher", offers="PUBLISH")
    run = client.submit(needing("PUBLISH", "a"))
    lease = worker.start(run, "a")
    hash_ = keep(worker, b"of a run")
    asked = msg.Publish(0, "part", hash_, 8, lease=lease, shared=False)
    (row,) = worker.ask(asked, msg.Artifacts).artifacts
    assert (row.key, row.by) == (f"{run}/part", f"{run}/a")
    (found,) = worker.ask(msg.FindArtifact(0, "part", lease), msg.Artifacts).artifacts
    assert found == row
    assert client.ask(msg.FindArtifact(0, f"{run}/part"), msg.Artifacts).artifacts == [row]
    assert client.ask(msg.ListArtifacts(0, f"{run}/"), msg.Artifacts).artifacts == [row]
    client.refused(msg.FindArtifact(0, "part"), "not_found", "nothing is published as 'part'")


@refuses(msg.Publish)
def test_invalid_publications_are_refused(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("eager")
    hash_ = keep(client, b"something")
    client.refused(msg.Publish(0, "k", ABSENT, 1), "not_found", "the file to publish as 'k' is not on the master")
    client.refused(msg.Publish(0, "k", hash_, 9, FOLDER + 1), "not_found", "upload it first")
    client.refused(msg.Publish(0, "no key", hash_, 9), "caller", "'no key' is not a valid key")
    client.refused(msg.Publish(0, "k", hash_, 9, lease=1), "caller", "a worker must publish for an attempt, and a client must not")
    worker.refused(msg.Publish(0, "k", hash_, 9), "caller", "a worker must publish for an attempt, and a client must not")
    worker.refused(msg.Publish(0, "k", hash_, 9, lease=4711), "conflict", "this attempt is no longer current")
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.Publish(0, f"{run}/k", hash_, 9), "caller", "looks like the key of a run")


@refuses(msg.FindArtifact, msg.ListArtifacts)
def test_an_unpublished_key_is_not_found(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.FindArtifact(0, "nope"), "not_found", "nothing is published as 'nope': `titan artifacts` lists all keys")
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.FindArtifact(0, f"{run}/nope"), "not_found", f"run {run} has published nothing as 'nope'")
    client.refused(msg.FindArtifact(0, "000000000000/nope"), "not_found", "there is no run '000000000000'")
    client.refused(msg.ListArtifacts(0, "000000000000/"), "not_found", "there is no run '000000000000'")
    master.worker("finder").refused(msg.FindArtifact(0, "nope", 4711), "conflict", "this attempt is no longer current")


@answers(msg.ListArtifacts)
def test_keys_are_listed_by_prefix_with_their_newest_version(master: SocketlessMaster) -> None:
    client = master.client()
    hash_ = keep(client, b"listed")
    for name in ("list/b", "list/a", "other"):
        client.ask(msg.Publish(0, name, hash_, 6), msg.Artifacts)
    assert [row.key for row in client.ask(msg.ListArtifacts(0, "list/"), msg.Artifacts).artifacts] == ["list/a", "list/b"]
    assert [row.key for row in client.ask(msg.ListArtifacts(0, "list/", 1), msg.Artifacts).artifacts] == ["list/a"]


@records(msg.RemoveArtifact, ev.ArtifactRemoved)
@answers(msg.RemoveArtifact)
def test_a_key_is_removed(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(msg.Publish(0, "old", keep(client, b"old"), 3), msg.Artifacts)
    (row,) = client.ask(msg.RemoveArtifact(0, "old"), msg.Artifacts).artifacts
    assert row.key == "old"
    client.refused(msg.FindArtifact(0, "old"), "not_found", "nothing is published as 'old'")


@refuses(msg.RemoveArtifact)
def test_an_unknown_key_cannot_be_removed(master: SocketlessMaster) -> None:
    master.client().refused(msg.RemoveArtifact(0, "nope"), "not_found", "there is no shared key 'nope'")


def made_by_job(master: SocketlessMaster, offers: str) -> tuple[WorkerSpeaker, str, str]:
    """Let a job `make.all` complete with the output `data`. Return its worker, the run, and the
    hash."""
    client, worker = master.client(), master.worker(offers.lower(), offers=offers)
    template = JobTemplate(command="make", requirement=offers, outputs=(("data", "out/data"),))
    run = client.submit(alike("make.all other", template))
    hash_ = keep(worker, b"left by a job")
    for name in ("make.all", "other"):
        results = worker.results(worker.start(run, name))
        left = ((StoredFile("data", hash_, 13, FILE),),) if name == "make.all" else ((),)
        since = len(worker.got)
        worker.say(msgspec.structs.replace(results, outputs=list(left)))
        worker.heard(msg.Acked, since=since)
    return worker, run, hash_


@answers(msg.FindArtifact, msg.ListArtifacts)
def test_the_output_of_a_job_is_found_under_its_key(master: SocketlessMaster) -> None:
    _, run, hash_ = made_by_job(master, "OUTPUTS")
    client = master.client()
    (row,) = client.ask(msg.FindArtifact(0, f"{run}/make.all.data"), msg.Artifacts).artifacts
    assert (row.key, row.hash, row.size, row.by) == (f"{run}/make.all.data", hash_, 13, f"{run}/make.all")
    assert client.ask(msg.ListArtifacts(0, f"{run}/"), msg.Artifacts).artifacts == [row]
    assert client.ask(msg.ListArtifacts(0, f"{run}/make"), msg.Artifacts).artifacts == [row]
    assert client.ask(msg.ListArtifacts(0, f"{run}/other"), msg.Artifacts).artifacts == []
    assert client.ask(msg.ListArtifacts(0, f"{run}/", limit=1), msg.Artifacts).artifacts == [row]


@refuses(msg.FindArtifact)
def test_an_output_that_no_job_of_the_run_left_is_not_found(master: SocketlessMaster) -> None:
    _, run, _ = made_by_job(master, "NOTHING")
    client = master.client()
    for key in ("make.all.nope", "other.data", "nope.data", "data"):
        client.refused(msg.FindArtifact(0, f"{run}/{key}"), "not_found", f"run {run} has published nothing as {key!r}")
    client.refused(msg.ListArtifacts(0, "0123456789ab/"), "not_found", "there is no run '0123456789ab'")
