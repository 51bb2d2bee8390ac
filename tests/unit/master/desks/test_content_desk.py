"""Artifacts by their content: staged, sent in pieces, fetched, and found by name."""

from __future__ import annotations

from hashlib import sha256

from support.desks import SocketlessMaster, Speaker, answers, refuses
from titan.protocol import messages as msg

ABSENT = "ab" * 32


def put(client: Speaker, data: bytes, name: str = "") -> str:
    hash_ = sha256(data).hexdigest()
    assert client.ask(msg.Put(0, hash_, len(data), 0, name), msg.Stored, data).hash == hash_
    return hash_


@answers(msg.Stage, msg.Put)
def test_what_is_not_here_is_sent_once(master: SocketlessMaster) -> None:
    client = master.client()
    hash_ = sha256(b"a script").hexdigest()
    assert client.ask(msg.Stage(0, [hash_, ABSENT, ABSENT], [8, 1, 1]), msg.Staged).missing == [hash_, ABSENT]
    put(client, b"a script")
    assert client.ask(msg.Stage(0, [hash_, ABSENT], [8, 1]), msg.Staged).missing == [ABSENT]
    assert master.worker("stager").ask(msg.Stage(0, [hash_], [8]), msg.Staged).missing == []
    assert client.ask(msg.Put(0, hash_, 8, 0), msg.Stored, b"anything").hash == hash_, "it is here already"


@answers(msg.Put, msg.Fetch)
def test_an_artifact_comes_and_goes_in_pieces(master: SocketlessMaster) -> None:
    client, data = master.client(), bytes(range(256)) * 10
    hash_ = sha256(data).hexdigest()
    number = client.next()
    client.say(msg.Put(number, hash_, len(data), 0), data[:1000])
    client.say(msg.Put(number, hash_, len(data), 1000), data[1000:])
    client.heard(msg.Stored, number)
    piece = client.ask(msg.Fetch(0, hash_), msg.Piece)
    assert (piece.size, piece.offset, client.blob_of(piece)) == (len(data), 0, data)
    tail = client.ask(msg.Fetch(0, hash_, 2000), msg.Piece)
    assert (tail.offset, client.blob_of(tail)) == (2000, data[2000:])


@refuses(msg.Put)
def test_content_that_is_not_what_it_says(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.Put(0, ABSENT, 5, 0), "caller", "arrived with another content than its hash says", b"wrong")
    client.refused(msg.Put(0, "no hash", 5, 0), "caller", "'no hash' is no SHA-256 in hex", b"wrong")
    client.refused(msg.Put(0, ABSENT, 1 << 50, 0), "limit_exceeded", "the limit is", b"wrong")
    client.refused(msg.Put(0, ABSENT, 5, 3), "conflict", "a piece at 3 where 0 is due", b"wrong")
    assert client.ask(msg.Stage(0, [ABSENT], [5]), msg.Staged).missing == [ABSENT]


@refuses(msg.Fetch)
def test_an_artifact_that_is_not_here(master: SocketlessMaster) -> None:
    master.client().refused(msg.Fetch(0, ABSENT), "not_found", f"no artifact '{ABSENT}' is here: stage it first")


@answers(msg.Resolve)
@refuses(msg.Resolve)
def test_names_in_the_registry(master: SocketlessMaster) -> None:
    client = master.client()
    hash_ = put(client, b"#!/bin/sh", "tools/run.sh")
    resolved = client.ask(msg.Resolve(0, "tools/run.sh"), msg.Resolved)
    assert (resolved.hash, resolved.size) == (hash_, 9)
    (master.inside.registry.folder / "dropped.sh").write_bytes(b"by hand")
    assert client.ask(msg.Resolve(0, "dropped.sh"), msg.Resolved).hash == sha256(b"by hand").hexdigest()
    client.refused(msg.Resolve(0, "nope"), "not_found", "perm_files/ has no 'nope'")
    client.refused(msg.Resolve(0, "../lock"), "caller", "'../lock' is no name inside perm_files/")


@refuses(msg.Stage)
def test_nothing_is_staged_before_a_hello(master: SocketlessMaster) -> None:
    stranger = master.connection()
    stranger.say(msg.Stage(0, [ABSENT], [1]))
    assert stranger.heard(msg.Error).message == "the first message must be a Hello, not a Stage"
