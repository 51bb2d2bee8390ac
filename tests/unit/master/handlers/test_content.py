"""Content by its hash: staging, uploads, downloads, and names."""

from __future__ import annotations

from hashlib import sha256

from support.handlers import SocketlessMaster, Speaker, answers, refuses
from titan.protocol import messages as msg

ABSENT = "ab" * 32


def put(client: Speaker, data: bytes) -> str:
    hash_ = sha256(data).hexdigest()
    assert client.ask(msg.SendFile(0, "", len(data), hash_), msg.Stored, data).hash == hash_
    return hash_


@answers(msg.Stage, msg.SendFile)
def test_only_missing_content_is_requested_and_each_only_once(master: SocketlessMaster) -> None:
    client = master.client()
    hash_ = sha256(b"a script").hexdigest()
    assert client.ask(msg.Stage(0, [hash_, ABSENT, ABSENT], [8, 1, 1]), msg.Staged).missing == [hash_, ABSENT]
    put(client, b"a script")
    assert client.ask(msg.Stage(0, [hash_, ABSENT], [8, 1]), msg.Staged).missing == [ABSENT]
    assert master.worker("stager").ask(msg.Stage(0, [hash_], [8]), msg.Staged).missing == []
    assert client.ask(msg.SendFile(0, "", 8, hash_), msg.Stored, b"anything").hash == hash_, "it is here already"


@answers(msg.SendFile, msg.FetchFile)
def test_small_content_is_sent_and_fetched_in_one_message(master: SocketlessMaster) -> None:
    client, data = master.client(), bytes(range(256)) * 10
    hash_ = put(client, data)
    piece = client.ask(msg.FetchFile(0, hash_), msg.FilePiece)
    assert (piece.size, piece.offset, client.blob_of(piece)) == (len(data), 0, data)
    tail = client.ask(msg.FetchFile(0, hash_, 2000), msg.FilePiece)
    assert (tail.offset, client.blob_of(tail)) == (2000, data[2000:])


@refuses(msg.SendFile)
def test_content_that_does_not_match_its_hash_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.SendFile(0, "", 5, ABSENT), "caller", "arrived with content that does not match its hash", b"wrong")
    client.refused(msg.SendFile(0, "", 5, "no hash"), "caller", "arrived with content that does not match its hash", b"wrong")
    client.refused(msg.SendFile(0, "", 6, ABSENT), "caller", "the blob of a SendFile must be the whole file", b"wrong")
    client.refused(msg.SendFile(0, "", 5), "caller", "the blob of a SendFile must be the whole file", b"wrong")
    assert client.ask(msg.Stage(0, [ABSENT], [5]), msg.Staged).missing == [ABSENT]


@answers(msg.Resolve, msg.NameContent)
@refuses(msg.Resolve, msg.NameContent)
def test_names_in_the_registry(master: SocketlessMaster) -> None:
    client = master.client()
    hash_ = put(client, b"#!/bin/sh")
    assert client.ask(msg.NameContent(0, "tools/run.sh", hash_), msg.Resolved).size == 9
    resolved = client.ask(msg.Resolve(0, "tools/run.sh"), msg.Resolved)
    assert (resolved.hash, resolved.size) == (hash_, 9)
    (master.inside.registry.folder / "dropped.sh").write_bytes(b"by hand")
    assert client.ask(msg.Resolve(0, "dropped.sh"), msg.Resolved).hash == sha256(b"by hand").hexdigest()
    client.refused(msg.Resolve(0, "nope"), "not_found", "perm_files/ has no 'nope'")
    client.refused(msg.Resolve(0, "../lock"), "caller", "'../lock' is not a valid name inside perm_files/")
    client.refused(msg.NameContent(0, "../lock", hash_), "caller", "'../lock' is not a valid name inside perm_files/")
    client.refused(msg.NameContent(0, "absent.sh", ABSENT), "not_found", ABSENT[:12])


@refuses(msg.Stage)
def test_nothing_is_staged_before_a_hello(master: SocketlessMaster) -> None:
    stranger = master.connection()
    stranger.say(msg.Stage(0, [ABSENT], [1]))
    assert stranger.heard(msg.Error).message == "the first message must be a Hello, not a Stage"
