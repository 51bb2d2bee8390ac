"""TitanStore over the master's connections: lanes of clients, and tunnels of jobs through their
workers."""

from __future__ import annotations

from support.handlers import SocketlessMaster, Speaker, answers, needing, refuses
from titan.protocol import messages as msg


def run(client: Speaker, *lines: str, lane: int = 0) -> bytes:
    """Commands, a line each; their replies in RESP."""
    commands = [[word.encode() for word in line.split()] for line in lines]
    answer = client.ask(msg.StoreCommands(0, commands, lane), msg.StoreReplies)
    assert answer.count == len(lines)
    return client.blob_of(answer)


@answers(msg.StoreCommands)
def test_the_commands_of_a_lane_share_a_session(master: SocketlessMaster) -> None:
    client = master.client()
    assert run(client, "SET lane v", "GET lane") == b"+OK\r\n$1\r\nv\r\n"
    assert run(client, "MULTI", "INCR shared") == b"+OK\r\n+QUEUED\r\n"
    assert run(client, "INCR shared", lane=1) == b":1\r\n", "another lane is in no transaction"
    assert run(client, "EXEC") == b"*1\r\n:2\r\n"


@refuses(msg.StoreCommands)
def test_commands_that_are_not_for_lanes(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.StoreCommands(0, []), "caller", "a command for the store is empty")
    client.refused(msg.StoreCommands(0, [[b"GET", b"k"], []]), "caller", "a command for the store is empty")
    client.refused(msg.StoreCommands(0, [[b"subscribe", b"c"]]), "caller", "SUBSCRIBE is for connections to the store's port")


@answers(msg.CloseLane)
def test_a_lane_that_is_closed_ends_its_session(master: SocketlessMaster) -> None:
    client = master.client()
    run(client, "MULTI", "SET never v")
    client.say(msg.CloseLane(0, 0))
    assert run(client, "GET never") == b"_\r\n", "the next command has a session of its own"


@refuses(msg.CloseLane)
def test_a_worker_has_no_lanes(master: SocketlessMaster) -> None:
    master.worker("laneless").refused(msg.CloseLane(0, 0), "protocol", "a worker must not send a CloseLane to the master")


@answers(msg.StoreStream)
def test_a_job_has_the_keys_of_its_run_and_those_of_all(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("tunnel", offers="TUNNEL")
    lease = worker.start(client.submit(needing("TUNNEL", "a")), "a")
    run(client, "SET both everybody's")
    set_ = b"SET both mine\r\n"
    for number, shared in ((900, False), (901, True)):
        worker.say(msg.StoreStream(number, lease, shared=shared), b"GET both\r\n" + (b"" if shared else set_))
    mine = master.until(lambda: b"".join(b for m, b in worker.got if m.request == 900 and b) or None, "the replies")
    theirs = master.until(lambda: b"".join(b for m, b in worker.got if m.request == 901 and b) or None, "the replies")
    assert (mine, theirs) == (b"$-1\r\n+OK\r\n", b"$11\r\neverybody's\r\n")
    assert worker.find(msg.StoreStream, 900) == msg.StoreStream(900, taken=len(b"GET both\r\n" + set_))
    worker.say(msg.StoreStream(900, closed=True))
    assert run(client, "GET both") == b"$11\r\neverybody's\r\n"


def test_a_tunnel_under_a_lease_that_is_not_the_workers_is_closed(master: SocketlessMaster) -> None:
    worker = master.worker("stranger")
    worker.say(msg.StoreStream(902, 12345), b"GET both\r\n")
    assert worker.heard(msg.StoreStream, 902) == msg.StoreStream(902, closed=True)


@refuses(msg.StoreStream)
def test_a_client_has_no_tunnels(master: SocketlessMaster) -> None:
    master.client().refused(msg.StoreStream(903), "protocol", "a client must not send a StoreStream to the master", b"")
