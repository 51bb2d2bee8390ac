"""Random bytes as commands. Each command has a reply that can be encoded, and the changes can be
replayed."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.store import replayed, snapshot
from titan.store.replies import BLOCKED, NO_REPLY
from titan.store.resp import encode
from titan.store.store import Store
from titan.store.table import COMMANDS

NAMES = [[name] for name in COMMANDS] + [[name, sub] for name, command in COMMANDS.items() for sub in command.sub]
ARGUMENTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"k", b"l", b"0", b"1", b"-1", b"2", b"*", b"$", b">", b"1-1", b"inf", b"nan", b"9223372036854775807"]),
    st.sampled_from(
        [b"STREAMS", b"GROUP", b"COUNT", b"LIMIT", b"WITHSCORES", b"BYSCORE", b"BYLEX", b"REV", b"GET", b"BLOCK", b"NX"]
    ),
    st.sampled_from([b"u8", b"i64", b"#1", b"LEFT", b"RIGHT", b"MIN", b"MAX", b"-", b"+", b"(1", b"[a", b"1000000", b"8388607"]),
)
CALLS = st.builds(lambda name, args: [*name, *args], st.sampled_from(NAMES), st.lists(ARGUMENTS, max_size=8))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(CALLS, st.lists(st.binary(max_size=6), min_size=1, max_size=3)), max_size=30), st.sampled_from([2, 3]))
def test_random_bytes_are_answered(calls: list[list[bytes]], resp: int) -> None:
    store = Store(seed=1, settings={"proto-max-bulk-len": "1mb"})
    session = store.open_session(1)
    other = store.open_session(2)
    changes = []
    for now, args in enumerate(calls, 1_000):
        reply = store.execute(now, session, args)
        if reply is BLOCKED:
            store.time_out_blocked(1 << 63)
            store.close_session(session)
            session = store.open_session(now)
        elif reply is not NO_REPLY:
            encode(reply, resp, bytearray())
        changes += store.take_changes()
    store.execute(2_000, other, [b"FLUSHALL"])
    changes += store.take_changes()
    assert replayed(changes).digest() == snapshot(store).digest() == store.digest()
