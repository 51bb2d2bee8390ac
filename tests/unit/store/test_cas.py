"""CAS: a string is set to a new value if it has the old one."""

from __future__ import annotations

import pytest

from support.store import Talk, replayed
from titan.store.replies import OK, QUEUED, SYNTAX, WRONG_TYPE, Error


def test_cas_sets_the_new_value_only_if_the_old_value_matches() -> None:
    talk = Talk()
    assert talk("CAS k '' a") == 0, "a missing key does not equal the empty text"
    assert talk("SET k a") == OK
    talk.changes()
    assert talk("CAS k b c") == 0
    assert talk.changes() == []
    assert talk("CAS k a b") == 1
    assert talk("CAS k a c", 2) == 0
    assert talk("GET k") == b"b"
    assert talk.changes() == ["SET k b"]


def test_cas_keeps_the_expiry_or_sets_another() -> None:
    talk = Talk()
    talk("SET k a PX 500")
    assert talk("CAS k a b") == 1
    assert talk("PTTL k") == 500
    assert talk("CAS k b c PX 2000") == 1
    assert talk("PTTL k") == 2000
    assert talk.changes() == ["SET k a PXAT 1000500", "SET k b KEEPTTL", "SET k c PXAT 1002000"]
    talk.now += 2000
    assert talk("CAS k c d") == 0
    assert talk("EXISTS k") == 0


def test_strings_that_were_changed_in_place_are_compared_as_well() -> None:
    talk = Talk()
    talk("SETRANGE k 0 abc")
    talk("APPEND k d")
    assert talk("CAS k abcd e") == 1
    assert replayed(talk.store.take_changes()).digest() == talk.store.digest()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("CAS l a b", WRONG_TYPE),
        ("CAS k a b EX 1", SYNTAX),
        ("CAS k a b PX", SYNTAX),
        ("CAS k a b NX", SYNTAX),
        ("CAS k a b KEEPTTL", SYNTAX),
        ("CAS k a b PX 0", Error(b"ERR invalid expire time in 'cas' command")),
        ("CAS k a b PX x", Error(b"ERR value is not an integer or out of range")),
        ("CAS k a", Error(b"ERR wrong number of arguments for 'cas' command")),
    ],
)
def test_an_invalid_cas_changes_nothing(line: str, reply: Error) -> None:
    talk = Talk()
    talk("SET k a")
    talk("RPUSH l x")
    talk.changes()
    assert talk(line) == reply
    assert talk("GET k") == b"a"
    assert talk.changes() == []


def test_cas_aborts_watching_transactions_and_works_inside_transactions() -> None:
    talk = Talk()
    talk("SET k a")
    talk("WATCH k", 2)
    talk("CAS k b c")
    talk("MULTI", 2)
    assert talk("CAS k a b", 2) == QUEUED
    assert talk("EXEC", 2) == [1]
    talk("WATCH k", 2)
    talk("CAS k b c")
    talk("MULTI", 2)
    assert not isinstance(talk("EXEC", 2), list)
