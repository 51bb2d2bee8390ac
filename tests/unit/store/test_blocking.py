"""Waiting sessions are served once, in the order in which they began to wait, and are answered when
their timeout ends."""

from __future__ import annotations

from support.store import Talk
from titan.store.replies import BLOCKED, NULL_ARRAY, Error, Keyed


def test_the_first_waiting_session_is_served_first() -> None:
    talk = Talk()
    assert talk("BLPOP a b 0", 2) is BLOCKED
    assert talk("BRPOP a 0", 3) is BLOCKED
    assert talk("RPUSH a x y z") == 3
    assert talk.heard() == [(2, [b"a", b"x"]), (3, [b"a", b"z"])]
    assert talk.changes() == ["RPUSH a x y z", "LPOP a", "RPOP a"]
    talk("RPUSH b x")
    assert talk.heard() == []
    assert not talk.store._ctx.observed


def test_a_move_wakes_the_next_in_a_chain() -> None:
    talk = Talk()
    talk("BLMOVE a b LEFT RIGHT 0", 2)
    talk("BRPOPLPUSH b c 0", 3)
    talk("BLPOP c 0", 4)
    talk("RPUSH a x")
    assert talk.heard() == [(2, b"x"), (3, b"x"), (4, [b"c", b"x"])]
    assert talk("DBSIZE") == 0


def test_a_wait_for_one_type_is_not_served_by_another() -> None:
    talk = Talk()
    talk("BZPOPMIN k 0", 2)
    talk("RPUSH k x")
    assert talk.heard() == []
    talk("DEL k")
    talk("ZADD k 2 b 1 a")
    assert talk.heard() == [(2, [b"k", b"a", 1.0])]


def test_a_move_to_what_is_no_list_is_an_error_and_takes_nothing() -> None:
    talk = Talk()
    talk("SET b text")
    assert talk("BLMOVE a b LEFT LEFT 0", 2) is BLOCKED
    talk("RPUSH a x")
    [(number, reply)] = talk.heard()
    assert number == 2
    assert isinstance(reply, Error)
    assert talk("LRANGE a 0 -1") == [b"x"]


def test_waiting_sessions_are_served_only_after_a_transaction() -> None:
    talk = Talk()
    talk("BLPOP k 0", 2)
    for line in ("MULTI", "RPUSH k x", "LPOP k", "BLPOP k 0", "RPUSH k y", "EXEC"):
        reply = talk(line)
    assert reply == [1, b"x", NULL_ARRAY, 1]
    assert talk.heard() == [(2, [b"k", b"y"])]


def test_a_wait_ends_with_its_time() -> None:
    talk = Talk()
    talk("BLPOP k 0.5", 2)
    talk("BLMPOP 0.2 1 k LEFT", 3)
    talk("BZMPOP 0 1 k MIN", 4)
    assert talk.store.next_due() == talk.now + 200
    talk.store.time_out_blocked(talk.now + 499)
    assert talk.heard() == [(3, NULL_ARRAY)]
    talk.store.time_out_blocked(talk.now + 500)
    assert talk.heard() == [(2, NULL_ARRAY)]
    assert talk.store.next_due() is None


def test_a_closed_session_no_longer_waits() -> None:
    talk = Talk()
    talk("BLPOP k 0.5", 2)
    talk.store.close_session(talk.session(2))
    talk.store.close_session(talk.session(2))
    talk("RPUSH k x")
    assert talk.heard() == []
    assert talk("LLEN k") == 1
    assert talk.store.next_due() is None


def test_a_stream_is_followed() -> None:
    talk = Talk()
    assert talk("XREAD BLOCK 0 STREAMS s $", 2) is BLOCKED
    talk("XADD s 1-1 f v")
    assert talk.heard() == [(2, Keyed([(b"s", [[b"1-1", [b"f", b"v"]]])]))]
    talk("XREAD BLOCK 0 STREAMS s 5", 2)
    talk("XADD s 2-1 f v")
    assert talk.heard() == []


def test_a_group_shares_new_entries_and_its_removal_ends_the_waits() -> None:
    talk = Talk()
    talk("XGROUP CREATE s g $ MKSTREAM")
    talk("XREADGROUP GROUP g ann BLOCK 0 STREAMS s >", 2)
    talk("XREADGROUP GROUP g bob BLOCK 0 STREAMS s >", 3)
    talk("XADD s 1-1 f v")
    assert talk.heard() == [(2, Keyed([(b"s", [[b"1-1", [b"f", b"v"]]])]))]
    talk("XGROUP DESTROY s g")
    assert talk.heard() == [(3, Error(b"NOGROUP the consumer group this client was blocked on no longer exists"))]
    talk("XGROUP CREATE s g $")
    talk("XREADGROUP GROUP g bob BLOCK 0 STREAMS s >", 3)
    talk("DEL s")
    assert talk.heard() == [(3, Error(b"UNBLOCKED the stream key no longer exists"))]


def test_a_wait_is_ended_by_another_session() -> None:
    talk = Talk()
    talk("BLPOP k 0", 2)
    assert talk("CLIENT UNBLOCK 2 ERROR") == 1
    assert talk("CLIENT UNBLOCK 2") == 0
    assert talk.heard() == [(2, Error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"))]


def test_a_push_to_a_thousand_waiting_sessions_serves_them_in_order() -> None:
    talk = Talk()
    for number in range(2, 1_002):
        talk("BLPOP k 0", number)
    talk("RPUSH k " + " ".join(str(i) for i in range(1_000)))
    assert [number for number, _ in talk.heard()] == list(range(2, 1_002))


def test_a_move_whose_time_is_over_gives_no_list_and_in_a_transaction_no_element() -> None:
    talk = Talk()
    for line in ("BLMOVE a b LEFT LEFT 1", "BRPOPLPUSH a b 1"):
        talk(line, 2)
        talk.store.time_out_blocked(talk.now + 1000)
        assert talk.heard() == [(2, NULL_ARRAY)]
        talk("MULTI")
        talk(line)
        assert talk("EXEC") == [None]


def test_setting_a_group_back_wakes_no_waiting_session() -> None:
    talk = Talk()
    talk("XADD s 1-1 f v")
    talk("XGROUP CREATE s g $")
    talk("XREADGROUP GROUP g c BLOCK 0 STREAMS s >", 2)
    talk("XGROUP SETID s g 0")
    assert talk.heard() == []
    talk("XADD s 2-1 f v")
    assert talk.heard() == [(2, Keyed([(b"s", [[b"1-1", [b"f", b"v"]], [b"2-1", [b"f", b"v"]]])]))]
