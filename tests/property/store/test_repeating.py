"""A replay of journaled changes works under any limits: those in force when the changes were made,
and those in force during the replay.

Random commands run under random settings, with extreme numbers, and with names in any case. A store
with default settings repeats their changes. Another store is loaded from a snapshot. All stores
have the same content.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differential.grammar import ALL_THEMES, WAITING, Step, sequences
from support.store import Talk, check, replayed, snapshot
from titan.errors import JournalCorrupt
from titan.store.replies import BLOCKED, NO_REPLY, OK, Error
from titan.store.resp import encode
from titan.store.settings import Settings
from titan.store.store import Store

VALUES = [
    *(b"0", b"1", b"-1", b"", b"nan", b"inf", b"-inf", b"1e18", b"1.5", b"yes", b"1mb", b"1gb", b"2gb", b"100kb", b"\xff\x00"),
    *(b"%d" % (1 << 63), b"%d" % -(1 << 63), b"%d" % ((1 << 63) - 1), b"%d" % (1 << 64), b"9" * 5_000, b"0" * 5_000 + b"1"),
    *(b"x" * 1_000_000, "٣".encode(), b"--1", b"+1", b" 1", b"1 ", b"noeviction", b"allkeys-lru", b"always"),
]
CHANGES = st.tuples(st.sampled_from([name.encode() for name in Settings().names()]), st.sampled_from(VALUES)).map(
    lambda drawn: (0, [b"CONFIG", b"SET", *drawn])
)
EXTREMES = st.sampled_from(
    [
        (0, line.encode().split())
        for line in (
            "SETBIT s1 9000000 1",
            "SETRANGE s2 1100000 x",
            "BITFIELD s1 GET u8 9000000 SET u8 #3 7",
            "XSETID x1 1-1 ENTRIESADDED 9223372036854775807",
            "XADD x1 * f v",
            "XGROUP CREATE x1 g1 0 MKSTREAM ENTRIESREAD 9223372036854775807",
            "XGROUP SETID x1 g1 0 ENTRIESREAD 9223372036854775807",
            "XREADGROUP GROUP g1 c1 STREAMS x1 >",
            "XREADGROUP GROUP g1 c1 STREAMS x1 0",
            "XCLAIM x1 g1 c1 0 1-1 1-2 2-1 RETRYCOUNT 9223372036854775807",
            "XCLAIM x1 g1 c2 0 1-1 1-2 2-1",
            "XAUTOCLAIM x1 g1 c1 0 0",
            "SPOP t1",
            "SPOP t1 2",
            "SORT t1 ALPHA STORE l1",
            "SORT t2 BY w_* STORE l1",
            "sEt s1 5",
            "inCR s1",
            "Xgroup cReate x2 g1 0 MKSTREAM",
            "SUNIONSTORE t1 t2 t1",
            "INCRBYFLOAT s1 1e4500",
            "INCRBYFLOAT s2 " + "1" * 4_600,
            "HINCRBYFLOAT h1 a 1e4931",
            "PEXPIREAT s1 9223372036854775807",
            "ZADD z1 5e-324 a 1.7976931348623157e308 b",
        )
    ]
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([theme for theme in ALL_THEMES if theme != WAITING]).flatmap(lambda theme: sequences(theme, 25)),
    st.lists(st.tuples(st.integers(0, 25), st.one_of(CHANGES, EXTREMES)), max_size=12),
    st.integers(0, 3),
)
def test_a_store_with_default_settings_repeats_what_was_done_under_any(
    steps: list[Step], more: list[tuple[int, Step]], case: int
) -> None:
    for at, step in more:
        steps.insert(min(at, len(steps)), step)
    talk = Talk()
    talk.store.execute(talk.now, talk.session(0), [b"CONFIG", b"SET", b"proto-max-bulk-len", b"1mb"])
    changes = []
    middle: Store | None = None
    for number, (connection, args) in enumerate(steps):
        talk.now += 997
        words = [args[0].swapcase() if case == number % 4 else args[0], *args[1:]]
        reply = talk.say(words, connection)
        if reply is BLOCKED or talk.session(connection).closed:
            talk.store.close_session(talk.sessions.pop(connection))
        elif reply is not NO_REPLY:
            encode(reply, 2, bytearray())
        talk.store.take_closing()
        talk.store.take_deliveries()
        done = talk.store.take_changes()
        if middle is not None:
            for database, change in done:
                middle.replay(database, change)
        changes += done
        check(talk.store)
        if number == len(steps) // 2:
            middle = snapshot(talk.store)
    assert replayed(changes).digest() == snapshot(talk.store).digest() == talk.store.digest()
    assert middle is not None
    assert middle.digest() == talk.store.digest(), "a snapshot, and the changes behind it"


@pytest.mark.parametrize("name", Settings().names())
def test_any_value_of_a_setting_is_taken_or_refused_and_the_store_goes_on(name: str) -> None:
    for value in VALUES:
        talk = Talk()
        reply = talk.say([b"CONFIG", b"SET", name.encode(), value])
        assert reply is OK or isinstance(reply, Error), value
        talk.say([b"CONFIG", b"GET", b"*"])
        talk("SET k v")
        assert talk("SETRANGE k 10 x") in (11, Error(b"OOM command not allowed when used memory > 'maxmemory'.")), value
        assert replayed(talk.store.take_changes()).digest() == talk.store.digest(), value


def test_an_old_journal_that_counts_beyond_64_bits_is_repeated() -> None:
    """Titan wrote such journals before it limited these counters to 64 bits."""
    beyond = b"9223372036854775809"
    store = replayed(
        [
            (0, [b"XADD", b"x", b"1-1", b"f", b"v"]),
            (0, [b"XSETID", b"x", b"1-1", b"ENTRIESADDED", beyond]),
            (0, [b"XGROUP", b"CREATE", b"x", b"g", b"0-0", b"MKSTREAM", b"ENTRIESREAD", beyond]),
            (0, [b"XGROUP", b"CREATECONSUMER", b"x", b"g", b"c"]),
            (0, [b"XCLAIM", b"x", b"g", b"c", b"0", b"1-1", b"TIME", b"5", b"RETRYCOUNT", beyond, b"FORCE", b"JUSTID"]),
            (0, [b"XGROUP", b"SETID", b"x", b"g", b"1-1", b"ENTRIESREAD", beyond]),
            (0, [b"sEt", b"k", b"v"]),
        ]
    )
    assert snapshot(store).digest() == store.digest()


@pytest.mark.parametrize(
    "change", [[b"SETRANGE", b"k", b"x", b"v"], [b"LPUSH", b"k"], [b"LSET", b"k", b"0", b"v"], [b"XADD", b"k"]]
)
def test_a_change_that_cannot_be_replayed_is_an_error_that_names_its_command(change: list[bytes]) -> None:
    with pytest.raises(JournalCorrupt, match=change[0].decode()):
        Store().replay(0, change)
