"""After any sequence of commands, the store is consistent. A replay of its changes and a load of
its snapshot give the same store."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from differential.grammar import ALL_THEMES, Step, sequences
from support.store import check, replayed, snapshot
from titan.store.replies import BLOCKED, NO_REPLY
from titan.store.resp import encode
from titan.store.store import Store

LIMITS: list[dict[str, str]] = [{}, {"maxmemory": "1000gb"}, {"maxmemory": "4kb", "maxmemory-policy": "allkeys-lru"}]


@pytest.mark.parametrize("theme", ALL_THEMES)
def test_a_random_sequence_of_commands_is_repeated_by_its_changes(theme: str) -> None:
    @settings(
        max_examples=20,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(theme, 40), st.sampled_from(LIMITS), st.sampled_from([2, 3]))
    def run(steps: list[Step], limits: dict[str, str], resp: int) -> None:
        store = Store(seed=1, settings=limits)
        sessions = [store.open_session(number) for number in range(4)]
        sessions[1].resp = resp
        changes = []
        for now, (number, args) in enumerate(steps, 4_102_444_800_000 - 20):
            session = sessions[number]
            if session.blocked is None:
                reply = store.execute(now, session, args)
                assert reply is not BLOCKED or session.blocked is not None
                if reply not in (BLOCKED, NO_REPLY):
                    encode(reply, session.resp, bytearray())
            changes += store.take_changes()
            check(store)
        store.expire_due(5_000_000_000_000, 1_000)
        store.time_out_blocked(1 << 62)
        changes += store.take_changes()
        for session, reply in store.take_deliveries():
            encode(reply, session.resp, bytearray())
        assert replayed(changes).digest() == store.digest()
        assert snapshot(store).digest() == store.digest()
        for session in sessions:
            store.close_session(session)
        check(store)
        assert not store._ctx.observed
        assert not store._ctx.channels
        assert not store._ctx.patterns

    run()
