"""Each run has a database of its own, which SELECT cannot choose."""

from __future__ import annotations

from support.store import Talk, check, replayed, snapshot
from titan.store.context import SPACES
from titan.store.replies import BLOCKED, OK, Error

RUN = SPACES + 5


def spaced(number: int = RUN) -> Talk:
    """Return a store with two sessions: 1 uses the shared databases, 2 uses the database of a
    run."""
    talk = Talk()
    talk.store.choose(talk.session(2), number)
    return talk


def test_keys_of_runs_and_shared_keys_are_separate() -> None:
    talk = spaced()
    talk("SET k everyone")
    talk("SET k own", 2)
    talk.store.choose(talk.session(3), RUN + 1)
    assert talk("GET k") == b"everyone"
    assert talk("GET k", 2) == b"own"
    assert talk("GET k", 3) is None
    assert talk.changes() == ["SET k everyone", f"{RUN}: SET k own"]
    assert talk.store.spaces() == [RUN]


def test_no_command_can_select_the_space_of_a_run() -> None:
    talk = spaced()
    talk("SET k own", 2)
    for line in (f"SELECT {RUN}", f"SWAPDB 0 {RUN}", f"MOVE k {RUN}", f"COPY k l DB {RUN}"):
        reply = talk(line)
        assert isinstance(reply, Error), line
    assert talk("SWAPDB 0 1", 2) == OK
    assert talk("GET k", 2) == b"own"
    assert b"db" not in talk("INFO keyspace")  # type: ignore[operator]


def test_each_space_is_flushed_separately() -> None:
    talk = spaced()
    for number in (1, 2):
        talk("SET k v", number)
    talk("FLUSHALL")
    assert (talk("DBSIZE"), talk("DBSIZE", 2)) == (0, 1)
    talk("SET k v")
    talk("FLUSHALL", 2)
    assert (talk("DBSIZE"), talk("DBSIZE", 2)) == (1, 0)
    assert talk.store.spaces() == []
    assert replayed(talk.store.take_changes()).digest() == talk.store.digest()


def test_a_session_that_waits_in_a_space_gets_only_elements_pushed_there() -> None:
    talk = spaced()
    assert talk("BLPOP q 0", 2) is BLOCKED
    talk("RPUSH q x")
    assert talk.heard() == []
    talk.store.choose(talk.session(3), RUN)
    talk("RPUSH q y", 3)
    assert talk.heard() == [(2, [b"q", b"y"])]


def test_keys_expire_in_spaces_too() -> None:
    talk = spaced()
    talk("SET k v PX 10", 2)
    assert talk.store.next_due() == talk.now + 10
    assert talk.store.expire_due(talk.now + 10, 100) == 1
    assert talk.changes()[-1] == f"{RUN}: DEL k"
    assert talk.store.next_due() is None


def test_a_space_is_removed_with_its_run_and_restored_from_a_snapshot() -> None:
    talk = spaced()
    talk("RPUSH l a b", 2)
    talk("EXPIRE l 100", 2)
    talk("SET k v")
    copy = snapshot(talk.store)
    assert copy.digest() == talk.store.digest()
    assert copy.spaces() == [RUN]
    talk.store.wipe_space(talk.now, RUN)
    assert talk.store.spaces() == []
    assert talk("DBSIZE") == 1
    assert talk.changes()[-1] == f"{RUN}: FLUSHDB"
    assert replayed(list(talk.store.rewrite())).spaces() == []
    check(talk.store)


def test_spaces_count_towards_the_limit_on_memory() -> None:
    talk = Talk(maxmemory="20kb", maxmemory_policy="allkeys-lru")
    talk.store.choose(talk.session(2), RUN)
    talk("SET own v", 2)
    for i in range(200):
        talk(f"SET k{i} v")
    assert talk("EXISTS own", 2) == 0
    assert f"{RUN}: DEL own" in talk.changes()
    check(talk.store)
