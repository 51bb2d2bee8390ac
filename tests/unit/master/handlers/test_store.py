"""TitanStore over the master's connections: lanes of clients, and tunnels of jobs through their
workers."""

from __future__ import annotations

import os

import pytest

from support.handlers import SocketlessMaster, Speaker, answers, needing, refuses
from titan import __version__
from titan.core.events import events as ev
from titan.errors import CallerError
from titan.master.store.sessions import REQUESTS_AT_ONCE
from titan.protocol import messages as msg
from titan.store.store import Store


def run(client: Speaker, *lines: str, lane: int = 0) -> bytes:
    """Execute one command per line, and return the replies in RESP."""
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
def test_commands_that_a_lane_cannot_run_are_refused(master: SocketlessMaster) -> None:
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


def late(client: Speaker, message: msg.Message) -> bytes:
    """Wait for the replies to commands that were sent earlier, and return them."""
    answer = client.master.until(lambda: client.find(msg.StoreReplies, message.request), "the replies")
    return client.blob_of(answer)


def test_a_command_that_blocks_is_answered_when_an_element_comes(master: SocketlessMaster) -> None:
    client, other = master.client(), master.client("bob@there")
    waits = client.say(msg.StoreCommands(0, [[b"BLPOP", b"queue:later", b"0"], [b"SET", b"behind", b"it"]], 3))
    assert run(other, "GET behind") == b"_\r\n", "commands behind a blocked command wait too"
    assert client.find(msg.StoreReplies, waits.request) is None
    assert run(other, "RPUSH queue:later first") == b":1\r\n"
    assert late(client, waits) == b"*2\r\n$11\r\nqueue:later\r\n$5\r\nfirst\r\n+OK\r\n"
    assert run(other, "GET behind", "LLEN queue:later") == b"$2\r\nit\r\n:0\r\n"


def test_a_command_that_blocks_for_too_long_is_answered_with_nothing(master: SocketlessMaster) -> None:
    client = master.client()
    assert run(client, "BLPOP queue:never 0.01", lane=4) == b"_\r\n"
    assert run(client, "PING", lane=4) == b"+PONG\r\n"


def test_a_key_expires_without_being_read(master: SocketlessMaster) -> None:
    client = master.client()
    assert run(client, "SET brief v PX 5", "SET long v") == b"+OK\r\n+OK\r\n"
    store = master.inside.core.state.store
    master.until(lambda: not any(b"brief" in key for key in keys_of(store)) or None, "the expiry")
    assert any(key == b"long" for key in keys_of(store))
    deletions = [args for event in master.decided if type(event) is ev.StoreChanged for args in event.commands]
    assert [b"DEL", b"brief"] in deletions, "a replay deletes it as well, and looks at no clock"


def keys_of(store: Store) -> list[bytes]:
    """Return the keys of the store, in the order of a snapshot."""
    return [args[1] for _, args in store.rewrite() if len(args) > 1]


def test_more_requests_than_one_turn_has_are_all_answered_in_order(master: SocketlessMaster) -> None:
    client = master.client()
    count = REQUESTS_AT_ONCE + 500
    commands = [[b"INCR", b"counted"] for _ in range(count)]
    answer = client.ask(msg.StoreCommands(0, commands, 5), msg.StoreReplies)
    replies = client.blob_of(answer).split(b"\r\n")[:-1]
    assert answer.count == count and replies == [b":%d" % n for n in range(1, count + 1)]


def test_a_part_of_a_master_is_not_shut_down_by_a_command(master: SocketlessMaster) -> None:
    client = master.client()
    assert run(client, "SHUTDOWN NOSAVE") == b"-ERR this store is a part of a master: stop the master with SIGTERM\r\n"
    assert run(client, "SHUTDOWN ABORT") == b"-ERR No shutdown in progress.\r\n"
    assert run(client, "PING") == b"+PONG\r\n"


def test_saving_orders_a_snapshot_of_the_master(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    ordered: list[str] = []
    monkeypatch.setattr(master.inside.core, "snapshot_soon", lambda: ordered.append("snapshot"))
    client = master.client()
    assert run(client, "SAVE", "BGSAVE") == b"+OK\r\n+Background saving started\r\n"
    assert run(client, "BGREWRITEAOF") == b"+Background append only file rewriting started\r\n"
    assert ordered == ["snapshot"] * 3
    assert run(client, "LASTSAVE") == b":%d\r\n" % int(master.inside.core.snapshot_at)


def test_info_tells_of_the_process_of_the_master(master: SocketlessMaster) -> None:
    text = run(master.client(), "INFO").decode()
    assert f"process_id:{os.getpid()}" in text and f"titan_version:{__version__}" in text
    memory = int(text.partition("used_memory_rss:")[2].split()[0])
    assert 1 << 20 < memory < 1 << 40


def test_invalid_settings_of_the_store_are_refused(master: SocketlessMaster) -> None:
    desk = master.inside.store
    with pytest.raises(CallerError, match=r"the store has no setting 'nope': .*maxmemory"):
        desk.configure({"nope": "1"})
    with pytest.raises(CallerError, match="maxmemory=much: "):
        desk.configure({"maxmemory": "much"})
    desk.configure({"maxmemory": "1gb"})
    assert run(master.client(), "CONFIG GET maxmemory").endswith(b"$10\r\n1073741824\r\n")
    desk.configure({"maxmemory": "0"})


def test_the_keys_of_the_cluster_are_read_beside_those_of_the_store(master: SocketlessMaster) -> None:
    client = master.client()
    name = client.submit(needing("NOBODY", "mounted"))
    assert run(client, f"HGET titan:run:{name} state") == b"$7\r\nRUNNING\r\n"
    assert run(client, f"HGET titan:job:{name}/mounted state") == b"$6\r\nQUEUED\r\n"
    assert run(client, f"SET titan:run:{name} x").startswith(b"-")
    assert b"titan:queue:NOBODY" in run(client, "KEYS titan:queue:*")
