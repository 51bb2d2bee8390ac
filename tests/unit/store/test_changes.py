"""A replay of the journaled changes needs no clock, randomness or conditions, and gives the same
keys."""

from __future__ import annotations

import pytest

from support.store import TRANSACTION, Talk, replayed, snapshot
from titan.errors import JournalCorrupt
from titan.store.store import Store


@pytest.mark.parametrize(
    ("before", "command", "changes"),
    [
        ("", "SET k v", ["SET k v"]),
        ("", "SET k v EX 10", ["SET k v PXAT 1010000"]),
        ("SET k v EX 10", "SET k w KEEPTTL", ["SET k w KEEPTTL"]),
        ("SET k v", "SET k w NX", []),
        ("SET k v", "EXPIRE k 5", ["PEXPIREAT k 1005000"]),
        ("SET k v", "EXPIRE k -1", ["DEL k"]),
        ("", "INCRBYFLOAT k 0.1", ["SET k 0.1 KEEPTTL"]),
        ("", "SETEX k 2 v", ["SET k v PXAT 1002000"]),
        ("SET k v", "GETEX k PX 5", ["PEXPIREAT k 1000005"]),
        ("SET k v", "GETDEL k", ["DEL k"]),
        ("SADD k a", "SPOP k", ["SREM k a"]),
        ("SADD k a", "SADD k a", []),
        ("SADD k a b", "SPOP k 9", ["DEL k"]),
        ("HSET k f 1", "HINCRBYFLOAT k f 0.5", ["HSET k f 1.5"]),
        ("RPUSH k a b", "RPOPLPUSH k l", ["LMOVE k l RIGHT LEFT"]),
        ("RPUSH k a b", "LMPOP 1 k LEFT COUNT 9", ["LPOP k 2"]),
        ("ZADD k 1 a", "ZPOPMIN k", ["ZPOPMIN k 1"]),
        ("ZADD k 1 a", "BZPOPMAX k 0", ["ZPOPMAX k 1"]),
        ("", "XADD k * f v", ["XADD k 1000000-0 f v"]),
        ("XADD k 1-1 f v", "XADD k MAXLEN ~ 1 2-1 f v", ["XADD k 2-1 f v", "XTRIM k MAXLEN = 1"]),
        ("RPUSH k b a", "SORT k ALPHA STORE l", ["SORT k ALPHA STORE l"]),
        ("SET k v", "COPY k l", ["COPY k l REPLACE"]),
        ("", "DEL k", []),
        ("", "GET k", []),
    ],
)
def test_each_change_is_recorded_in_a_repeatable_form(before: str, command: str, changes: list[str]) -> None:
    talk = Talk()
    if before:
        talk(before)
    kept = talk.store.take_changes()
    talk(command)
    now = talk.store.take_changes()
    assert [b" ".join(args).decode() for _, args in now] == changes
    assert replayed(kept + now).digest() == snapshot(talk.store).digest() == talk.store.digest()


def test_a_key_that_has_expired_is_deleted_before_it_is_used_again() -> None:
    talk = Talk()
    talk("SET k v PX 10")
    talk.now += 10
    talk("INCR k")
    assert talk.changes() == ["SET k v PXAT 1000010", "DEL k", "INCR k"]


def test_the_owner_expires_keys_when_they_are_due_and_replay_never_does() -> None:
    talk = Talk()
    for i in range(5):
        talk(f"SET k{i} v PX {10 * (i + 1)}")
    talk("PERSIST k0")
    assert talk.store.next_due() == 1_000_020
    kept = talk.store.take_changes()
    assert replayed(kept).next_due() == 1_000_020
    assert talk.store.expire_due(1_000_040, 2) == 2
    assert talk.store.expire_due(1_000_040, 2) == 1
    assert talk.changes() == ["DEL k1", "DEL k2", "DEL k3"]
    assert talk.store.next_due() == 1_000_050
    assert talk("GET k0") == b"v"


def test_old_expiry_times_do_not_accumulate() -> None:
    talk = Talk()
    for i in range(1_000):
        talk(f"SET k v PX {i + 1}")
    assert len(talk.store._ctx.databases[0]._due) <= 67


def test_the_changes_of_a_transaction_are_adjacent() -> None:
    talk = Talk()
    for line in ("MULTI", "SET a 1", "INCR a", "SADD s x", "EXEC"):
        talk(line)
    changes = talk.store.take_changes()
    assert [args[0] for _, args in changes] == [b"MULTI", b"SET", b"INCR", b"SADD", b"EXEC"]
    assert replayed(changes).digest() == talk.store.digest()
    assert replayed([change for change in changes if change[1] not in TRANSACTION]).digest() == talk.store.digest()
    talk("MULTI")
    talk("INCR a")
    talk("GET a")
    assert talk("EXEC") == [3, b"3"]
    assert talk.changes() == ["INCR a"], "which needs no company"


@pytest.mark.parametrize(
    "change", [(0, [b"NONSENSE"]), (0, [b"SET", b"k"]), (99, [b"SET", b"k", b"v"]), (0, [b"INCR"]), (0, []), (0, [b"XGROUP"])]
)
def test_a_replay_of_something_that_is_no_change_is_an_error(change: tuple[int, list[bytes]]) -> None:
    store = Store()
    with pytest.raises(JournalCorrupt):
        store.replay(*change)
    assert store.take_changes() == []


def test_a_transaction_takes_no_more_than_one_record_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.store.transactions.MOST_COMMAND", 10_000)
    talk = Talk()
    talk("MULTI")
    assert talk.say([b"SET", b"k", b"v" * 9_000]) == b"QUEUED"
    assert b"more than 10000 bytes together" in bytes(talk.say([b"SET", b"k", b"v" * 9_000]))  # type: ignore[arg-type]
    assert bytes(talk("EXEC")).startswith(b"EXECABORT")  # type: ignore[arg-type]
    talk("MULTI")
    talk.say([b"SET", b"k", b"v" * 9_000])
    assert talk("EXEC") == [b"OK"]
