"""Sessions: transactions, channels, passwords, and commands about the connection."""

from __future__ import annotations

from support.store import Talk, check
from titan.store.replies import NO_REPLY, NULL_ARRAY, OK, PONG, QUEUED, Error, Push, Status
from titan.store.resp import encode


def test_a_changed_watched_key_aborts_the_transaction() -> None:
    talk = Talk()
    talk("WATCH k")
    talk("SET k 1", 2)
    talk("MULTI")
    assert talk("INCR k") == QUEUED
    assert talk("EXEC") is NULL_ARRAY
    assert talk("EXEC") == Error(b"ERR EXEC without MULTI")
    talk("WATCH k")
    talk("MULTI")
    talk("INCR k")
    assert talk("EXEC") == [2]
    assert not talk.store._ctx.observed


def test_expiry_flush_swap_and_rename_abort_a_watching_transaction() -> None:
    for spoil in ("", "FLUSHALL", "SWAPDB 0 1", "RENAME k l"):
        talk = Talk()
        talk("SET k 1 PX 10")
        talk("WATCH k")
        if spoil:
            talk(spoil, 2)
        else:
            talk.now += 10
        talk("MULTI")
        assert talk("EXEC") is NULL_ARRAY, spoil


def test_a_wrong_command_aborts_the_transaction_and_a_failing_command_does_not() -> None:
    talk = Talk()
    talk("MULTI")
    talk("NONSENSE")
    assert talk("EXEC") == Error(b"EXECABORT Transaction discarded because of previous errors.")
    talk("SET k text")
    talk("MULTI")
    talk("INCR k")
    talk("SET l 1")
    reply = talk("EXEC")
    assert isinstance(reply, list)
    assert isinstance(reply[0], Error)
    assert reply[1] == OK


def test_messages_go_to_channels_and_patterns() -> None:
    talk = Talk()
    talk("SUBSCRIBE news", 2)
    talk("PSUBSCRIBE n* x", 3)
    assert talk("PUBLISH news hello") == 2
    assert talk.heard() == [
        (2, Push([b"message", b"news", b"hello"])),
        (3, Push([b"pmessage", b"n*", b"news", b"hello"])),
    ]
    assert talk("GET k", 2) == Error(
        b"ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )
    assert talk("PING", 2) == [b"pong", b""]
    out = bytearray()
    encode(talk("UNSUBSCRIBE", 2), 2, out)
    assert bytes(out) == b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n"
    assert talk("GET k", 2) is None
    talk.store.close_session(talk.session(3))
    assert talk("PUBLISH news hello") == 0


def test_commands_without_the_password_are_refused() -> None:
    talk = Talk(requirepass="secret")
    assert talk("GET k") == Error(b"NOAUTH Authentication required.")
    assert talk("AUTH wrong") == Error(b"WRONGPASS invalid username-password pair or user is disabled.")
    assert talk("AUTH default secret") == OK
    assert talk("GET k") is None
    assert isinstance(talk("HELLO 3", 2), Error)
    assert isinstance(talk("HELLO 3 AUTH default secret SETNAME me", 2), dict)
    assert talk("CLIENT GETNAME", 2) == b"me"
    assert talk("RESET", 2) == Status(b"RESET")
    assert isinstance(talk("GET k", 2), Error)


def test_replies_can_be_left_out() -> None:
    talk = Talk()
    assert talk("CLIENT REPLY SKIP") is NO_REPLY
    assert talk("SET k 1") is NO_REPLY
    assert talk("GET k") == b"1"
    assert talk("CLIENT REPLY OFF") is NO_REPLY
    assert talk("GET k") is NO_REPLY
    assert talk("CLIENT REPLY ON") == OK


def test_connections_are_listed_and_closed() -> None:
    talk = Talk()
    talk("CLIENT SETNAME one")
    talk("CLIENT SETNAME two", 2)
    shown = talk("CLIENT LIST")
    assert isinstance(shown, bytes)
    assert [line.split()[4] for line in shown.splitlines()] == [b"name=one", b"name=two"]
    assert talk("CLIENT KILL ID 2") == 1
    assert talk("QUIT") == OK
    assert [session.id for session in talk.store.take_closing()] == [2, 1]


def test_reads_for_a_group_do_not_count_as_changes_of_a_watched_stream() -> None:
    talk = Talk()
    talk("XADD s 1-1 f v")
    for line in ("XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >", "XACK s g 1-1", "XSETID s 5-0", "XGROUP DESTROY s g"):
        talk("WATCH s")
        assert not isinstance(talk(line, 2), Error), line
        talk("MULTI")
        assert talk("EXEC") == [], line
    talk("WATCH s t")
    talk("XGROUP CREATE t g 0 MKSTREAM", 2)
    talk("MULTI")
    assert talk("EXEC") is NULL_ARRAY, "it made the key"


def test_a_command_that_cannot_be_queued_aborts_the_transaction() -> None:
    for line in ("SAVE", "SHUTDOWN NOSAVE"):
        talk = Talk()
        talk("MULTI")
        assert talk(line) == Error(b"ERR Command not allowed inside a transaction")
        assert talk("EXEC") == Error(b"EXECABORT Transaction discarded because of previous errors.")


def test_a_wrong_exec_ends_the_transaction() -> None:
    talk = Talk()
    talk("MULTI")
    talk("SET k v")
    assert talk("EXEC x") == Error(b"EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
    assert talk("EXEC") == Error(b"ERR EXEC without MULTI")
    assert talk("EXISTS k") == 0


def test_a_session_without_the_password_gets_errors_for_wrong_commands() -> None:
    talk = Talk(requirepass="secret")
    assert talk("NONSENSE") == Error(b"ERR unknown command 'NONSENSE', with args beginning with: ")
    assert talk("GET") == Error(b"ERR wrong number of arguments for 'get' command")
    assert talk("MULTI") == Error(b"NOAUTH Authentication required.")


def test_a_password_set_later_does_not_affect_existing_sessions() -> None:
    talk = Talk()
    talk("PING", 2)
    assert talk("CONFIG SET requirepass secret") == OK
    assert talk("PING", 2) == PONG
    assert talk("PING", 3) == Error(b"NOAUTH Authentication required.")
    assert talk("AUTH secret", 3) == OK
    assert talk("CONFIG SET requirepass secret requirepass other") == Error(
        b"ERR CONFIG SET failed (possibly related to argument 'requirepass') - duplicate parameter"
    )


def test_a_connection_can_read_its_own_id_and_name() -> None:
    talk = Talk()
    for line in ("CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1.2", "SELECT 3", "MULTI"):
        talk(line)
    talk("SUBSCRIBE a b", 2)
    talk.now += 5_000
    told = talk("CLIENT LIST ID 1", 3)
    assert isinstance(told, bytes)
    facts = dict(part.split(b"=", 1) for part in told.split())
    assert facts[b"name"] == b"me" and facts[b"db"] == b"3" and facts[b"multi"] == b"0" and facts[b"flags"] == b"x"
    assert facts[b"idle"] == b"5" and facts[b"lib-name"] == b"lib" and facts[b"lib-ver"] == b"1.2"
    assert facts[b"addr"] == b"127.0.0.1:1"
    listening = talk("CLIENT LIST TYPE pubsub", 3)
    assert isinstance(listening, bytes)
    assert b" sub=2 " in listening and listening.count(b"\n") == 1
    assert talk("CLIENT KILL ADDR 127.0.0.1:2 SKIPME no", 3) == 1
    assert talk("CLIENT KILL 127.0.0.1:9", 3) == Error(b"ERR No such client")
    assert [session.id for session in talk.store.take_closing()] == [2]
    assert talk("CLIENT KILL ID 3", 3) == 0, "not itself"


def test_a_closed_session_leaves_nothing_behind() -> None:
    talk = Talk()
    talk("SUBSCRIBE c", 2)
    talk("PSUBSCRIBE p*", 2)
    talk("WATCH k", 3)
    talk("BLPOP l 0", 4)
    for number in (2, 3, 4):
        talk.store.close_session(talk.session(number))
    assert talk("PUBLISH c x") == 0
    assert talk("PUBSUB CHANNELS") == []
    assert talk("PUBSUB NUMPAT") == 0
    talk("SET k v")
    talk("RPUSH l x")
    assert talk.heard() == []
    assert talk("LLEN l") == 1
    check(talk.store)


def test_messages_of_a_transaction_arrive_in_order_also_in_resp3() -> None:
    talk = Talk()
    talk("HELLO 3", 2)
    talk("SUBSCRIBE c", 2)
    assert talk("GET k", 2) is None
    for line in ("MULTI", "PUBLISH c 1", "SET k v", "PUBLISH c 2"):
        talk(line)
    assert talk("EXEC") == [1, OK, 1]
    assert talk.heard() == [(2, Push([b"message", b"c", b"1"])), (2, Push([b"message", b"c", b"2"]))]


def test_a_session_to_be_closed_gets_no_further_element_or_message() -> None:
    talk = Talk()
    talk("BLPOP k 0", 2)
    talk("SUBSCRIBE c", 3)
    for number in (2, 3):
        assert talk(f"CLIENT KILL ID {number}") == 1
        assert talk(f"CLIENT KILL ID {number} SKIPME no") == 1
    talk("RPUSH k x")
    assert talk("LLEN k") == 1
    assert talk("PUBLISH c x") == 0
    talk("SUBSCRIBE c", 4)
    talk("QUIT", 4)
    assert talk("PUBLISH c x") == 0
    assert talk.heard() == []
    assert [session.id for session in talk.store.take_closing()] == [2, 3, 4]
