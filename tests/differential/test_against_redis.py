"""Random sequences of commands give the same replies as a real redis-server, byte by byte, except
for parts without an order.

Two connections take turns; sequences with blocking commands use four. One connection begins with
the other version of the protocol. After each sequence both sides have the same keys. A replay of
the changes gives the same store as the commands. So do a replay of any prefix and a snapshot.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from differential.comparing import BY_CHANCE, comparable
from differential.grammar import ALL_THEMES, Step, sequences
from differential.peer import Connection, Redis, Tree, parse_all
from titan.store.replies import BLOCKED, NO_REPLY, Error
from titan.store.resp import encode
from titan.store.session import Session
from titan.store.store import Store

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
CHOSEN = "TITAN_REDIS_EXAMPLES" in os.environ
"""True in the long form, which tries new sequences. The short form tries the same sequences each
time."""
EXAMPLES = int(os.environ.get("TITAN_REDIS_EXAMPLES", "15"))
STEPS = 40
SAID_ELSEWHERE = (b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"RESET", b"QUIT")
"""Commands that are not queued in a transaction here, because their replies come outside of the
reply to EXEC."""


class Side:
    """One connection to both sides."""

    def __init__(self, store: Store, number: int, port: int) -> None:
        self.session = store.open_session(number, address=f"127.0.0.1:{number}")
        self.connection = Connection(port)
        self.queue: list[list[bytes]] = []
        self.closed = False


class Pair:
    """A store and a redis-server that get the same commands."""

    def __init__(self, redis: Redis, sides: int = 2) -> None:
        redis.clean()
        self.redis = redis
        self.store = Store(seed=1)
        self.changes: list[tuple[int, list[bytes]]] = []
        self.sides = [Side(self.store, 1_000_001 + number, redis.port) for number in range(sides)]
        self.by_session: dict[Session, Side] = {side.session: side for side in self.sides}
        self.story: list[str] = []

    def close(self) -> None:
        for side in self.sides:
            side.connection.close()

    def step(self, number: int, args: list[bytes]) -> None:
        side = self.sides[number]
        name = args[0].upper() if args else b""
        if side.closed or side.session.blocked is not None or self._is_left_out(side, name, args):
            return
        self.story.append(f"{number}: {args}")
        if name in (b"SORT", b"SORT_RO", b"EXEC"):
            self.redis.forget_errno()
        reply = self.store.execute(int(time.time() * 1000), side.session, args)
        said: dict[Session, bytearray] = {}
        if reply is BLOCKED:
            side.connection.send(args)
            self.redis.wait_until_blocked(side.connection)
        else:
            side.connection.send(args)
            if reply is not NO_REPLY:
                encode(reply, side.session.resp, said.setdefault(side.session, bytearray()))
        own = len(parse_all(said.get(side.session, b"")))
        for session, later in self.store.take_deliveries():
            encode(later, session.resp, said.setdefault(session, bytearray()))
        self.changes += self.store.take_changes()
        for session, data in said.items():
            self._compare(self.by_session[session], args, parse_all(data), own if session is side.session else 0)
        if name == b"EXEC" or (name in (b"DISCARD", b"RESET") and not isinstance(reply, Error)):
            side.queue = []
        elif reply == b"QUEUED":
            side.queue.append(args)
        side.closed = bool(self.store.take_closing())
        if name == b"SPOP":
            self._agree_on_members(side, args)

    @staticmethod
    def _is_left_out(side: Side, name: bytes, args: list[bytes]) -> bool:
        return side.session.queue is not None and (name in BY_CHANCE or name in SAID_ELSEWHERE)

    def _compare(self, side: Side, args: list[bytes], ours: list[Tree], own: int) -> None:
        try:
            theirs = [side.connection.receive() for _ in ours]
        except (TimeoutError, ConnectionError) as error:
            raise AssertionError(f"{self._told()}\nours {ours}, and Redis says nothing more: {error!r}") from error
        mine = self._comparable(side, args, ours, own)
        other = self._comparable(side, args, theirs, own)
        assert mine == other, f"{self._told()}\n  ours {ours}\nRedis' {theirs}"

    @staticmethod
    def _comparable(side: Side, args: list[bytes], trees: list[Tree], own: int) -> Any:
        if args[0].upper() == b"EXEC" and own and trees and trees[0][0] == b"*" and trees[0][1] is not None:
            first = [comparable(queued, tree) for queued, tree in zip(side.queue, trees[0][1], strict=True)]
            return [first, *trees[1:]]
        if own and args[0].upper() in (b"UNSUBSCRIBE", b"PUNSUBSCRIBE") and len(args) == 1 and trees[0][0] in (b"*", b">"):
            # the connections are closed in any order
            return [sorted(repr(tree[1][part]) for tree in trees) for part in range(3)]
        if len(trees) == 1 and own == 1:
            return [comparable(args, trees[0])]
        return sorted(trees, key=repr)

    def _told(self) -> str:
        return "\n".join(self.story[-60:])

    def _agree_on_members(self, side: Side, args: list[bytes]) -> None:
        """Make both sets equal: each side has removed members at random, and the store now gets the
        members that Redis has."""
        if len(args) not in (2, 3):
            return
        db = b"%d" % side.session.db.index
        control = self.redis.control
        control.ask(b"SELECT", db)
        kept = control.ask(b"SMEMBERS", args[1])
        control.ask(b"SELECT", b"0")
        if kept[0] != b"*":
            return
        other = self.store.open_session(5)
        self.store.choose(other, side.session.db.index)
        now = int(time.time() * 1000)
        theirs = [member[1] for member in kept[1]]
        mine = self.store.execute(now, other, [b"SMEMBERS", args[1]])
        assert isinstance(mine, list)
        assert len(mine) == len(theirs), self._told()
        if sorted(mine) != sorted(theirs):
            self.store.execute(now, other, [b"SADD", args[1], *theirs])
            self.store.execute(now, other, [b"SREM", args[1], *[member for member in mine if member not in theirs]])
        self.store.close_session(other)
        self.changes += self.store.take_changes()

    # -- at the end --------------------------------------------------------------------------------
    def finish(self) -> None:
        for number, side in enumerate(self.sides):
            if not side.closed and side.session.blocked is None:
                self.step(number, [b"PING"])
            assert side.closed or side.connection.is_silent(), f"{self._told()}\nRedis says more"
        for side in self.sides:
            self.store.close_session(side.session)
        self.redis.control.ask(b"CLIENT", b"KILL", b"TYPE", b"normal")
        self._same_keys()
        self._same_after_replay()

    def _same_keys(self) -> None:
        ours = self.store.open_session(7)
        now = int(time.time() * 1000)

        def both(*args: bytes) -> Tree:
            out = bytearray()
            encode(self.store.execute(now, ours, list(args)), 2, out)
            (mine,) = parse_all(out)
            theirs = self.redis.control.ask(*args)
            assert comparable(list(args), mine) == comparable(list(args), theirs), (
                f"{self._told()}\n{args}: {mine}\nRedis: {theirs}"
            )
            return theirs

        for db in range(16):
            both(b"SELECT", b"%d" % db)
            for _, key in both(b"KEYS", b"*")[1]:
                kind = both(b"TYPE", key)[1]
                both(b"PEXPIRETIME", key)
                both(*_READING[kind](key))
        self.redis.control.ask(b"SELECT", b"0")
        self.store.close_session(ours)
        self.changes += self.store.take_changes()

    def _same_after_replay(self) -> None:
        digest = self.store.digest()
        again = Store(seed=2)
        for db, args in self.changes:
            if args not in ([b"MULTI"], [b"EXEC"]):
                again.replay(db, args)
        assert again.digest() == digest, f"{self._told()}\nchanges: {self.changes}"
        assert not again.take_changes()
        snapshot = Store(seed=3)
        for db, args in self.store.rewrite():
            snapshot.replay(db, args)
        assert snapshot.digest() == digest, f"{self._told()}\nsnapshot: {list(self.store.rewrite())}"


_READING: dict[bytes, Callable[[bytes], tuple[bytes, ...]]] = {
    b"string": lambda key: (b"GET", key),
    b"hash": lambda key: (b"HGETALL", key),
    b"list": lambda key: (b"LRANGE", key, b"0", b"-1"),
    b"set": lambda key: (b"SMEMBERS", key),
    b"zset": lambda key: (b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),
    b"stream": lambda key: (b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"),
}


def run(redis: Redis, steps: list[Step], *, hello: bool = True) -> None:
    pair = Pair(redis, max(2, *(number + 1 for number, _ in steps)) if steps else 2)
    try:
        if hello:
            pair.step(1, [b"HELLO", b"3"])
        for number, args in steps:
            pair.step(number, args)
        pair.finish()
    finally:
        pair.close()


@pytest.mark.parametrize("theme", ALL_THEMES)
def test_the_replies_and_the_keys_are_those_of_redis(redis: Redis, theme: str) -> None:
    @settings(
        max_examples=EXAMPLES, derandomize=not CHOSEN, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    @given(sequences(theme, STEPS), st.booleans())
    def check(steps: list[Step], hello: bool) -> None:
        run(redis, steps, hello=hello)

    check()
