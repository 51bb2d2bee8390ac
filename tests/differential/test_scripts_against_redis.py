"""Scripts of three connections, compared with redis-server: which waiting connection is served
when, who gets which message, and what makes a transaction fail.

After each command both sides have sent the same replies to all connections, and at the end no reply
is left. Then both sides have the same keys, and so do a replay of the changes and a load of a
snapshot.
"""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from differential.comparing import comparable
from differential.peer import Connection, Redis, Tree, parse_all
from differential.scripts import LATER, PASS, SCRIPTS
from support.store import replayed, snapshot
from titan.store.context import Change
from titan.store.replies import BLOCKED, NO_REPLY, Reply
from titan.store.resp import encode
from titan.store.session import Session
from titan.store.store import Store

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
NUMBERS = (1, 2, 3)


class Crowd:
    def __init__(self, redis: Redis, resp: int) -> None:
        redis.clean()
        self.redis = redis
        self.store = Store(seed=1)
        self.sessions: dict[int, Session] = {}
        self.connections: dict[int, Connection] = {}
        self.changes: list[Change] = []
        self.story: list[str] = []
        self.asked_to_wait: Connection | None = None
        """Connection that has just sent a blocking command, which redis-server may not have
        executed yet."""
        for number in NUMBERS:
            self.sessions[number] = self.store.open_session(number)
            self.connections[number] = Connection(redis.port)
            if resp == 3:
                self.store.execute(0, self.sessions[number], [b"HELLO", b"3"])
                self.connections[number].ask(b"HELLO", b"3")

    def say(self, number: int, words: list[str]) -> None:
        """Execute words of a script, as `scripts` describes them."""
        self.story.append(f"{number} {' '.join(words)}")
        if words[0] == PASS:
            until = time.monotonic() + int(words[1]) / 1000
            while time.monotonic() < until:
                self.redis.control.ask(b"PING")
            return
        session, connection = self.sessions[number], self.connections[number]
        reply: Any = NO_REPLY
        mine, theirs = ([self._word(word, of_redis=of_redis) for word in words] for of_redis in (False, True))
        if self.asked_to_wait is not None and words != [LATER]:
            self.redis.wait_until_blocked(self.asked_to_wait)
        self.asked_to_wait = None
        if words == [LATER]:
            self.store.time_out_blocked(1 << 62)
        else:
            connection.send(theirs)
            reply = self.store.execute(time.time_ns() // 1_000_000, session, mine)
        said: dict[Session, bytearray] = {}
        if reply is BLOCKED:
            self.asked_to_wait = connection
        elif reply is not NO_REPLY:
            encode(reply, session.resp, said.setdefault(session, bytearray()))
        for other, later in self.store.take_deliveries():
            encode(later, other.resp, said.setdefault(other, bytearray()))
        self.changes += self.store.take_changes()
        for other, data in said.items():
            self._compare(other, mine, parse_all(data))

    def _word(self, word: str, *, of_redis: bool) -> bytes:
        if word.startswith("@"):
            number = int(word[1:])
            return b"%d" % (self.connections[number].id if of_redis else self.sessions[number].id)
        return b"" if word == "''" else word.encode()

    def _compare(self, session: Session, args: list[bytes], ours: list[Tree]) -> None:
        try:
            theirs = [self.connections[session.id].receive() for _ in ours]
        except (TimeoutError, ConnectionError) as error:
            raise AssertionError(f"{self._told()}\nours {ours} for {session.id}, and Redis says nothing more: {error!r}") from error
        assert [comparable(args, tree) for tree in ours] == [comparable(args, tree) for tree in theirs], (
            f"{self._told()}\nfor {session.id}:\n  ours {ours}\nRedis' {theirs}"
        )

    def _told(self) -> str:
        return "\n".join(self.story)

    def finish(self) -> None:
        for number in NUMBERS:
            assert self.connections[number].is_silent(), f"{self._told()}\nRedis says more to {number}"
        now = time.time_ns() // 1_000_000
        size: Reply = self.store.execute(now, self.store.open_session(9), [b"DBSIZE"])
        assert self.redis.control.ask(b"DBSIZE") == (b":", str(size).encode()), self._told()
        assert replayed(self.changes).digest() == self.store.digest() == snapshot(self.store).digest(), self._told()

    def close(self) -> None:
        for name, value in ((b"maxmemory", b"0"), (b"requirepass", b"")):
            self.redis.control.ask(b"CONFIG", b"SET", name, value)
        for connection in self.connections.values():
            connection.close()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_gets_the_replies_and_leaves_the_keys_of_redis(redis: Redis, name: str, resp: int) -> None:
    crowd = Crowd(redis, resp)
    try:
        for number, words in SCRIPTS[name]:
            crowd.say(number, words)
        crowd.finish()
    finally:
        crowd.close()
