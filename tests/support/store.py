"""A store for tests, with commands and changes as plain words."""

from __future__ import annotations

from titan.store.context import Change
from titan.store.replies import Reply
from titan.store.resp import encode
from titan.store.session import Session
from titan.store.store import Store
from titan.store.stream_log import MAX_ID, Stream
from titan.store.values import SetValue, SortedSet

TRANSACTION = ([b"MULTI"], [b"EXEC"])
"""Commands around the changes of a transaction."""


class Talk:
    """Store with a clock of its own. A session is created when it first sends a command. Settings
    are those of CONFIG, with underscores: `Talk(maxmemory="20kb")`."""

    def __init__(self, **settings: str) -> None:
        self.store = Store(seed=7, settings={name.replace("_", "-"): value for name, value in settings.items()})
        self.now = 1_000_000
        self.sessions: dict[int, Session] = {}

    def session(self, number: int = 1) -> Session:
        if number not in self.sessions:
            self.sessions[number] = self.store.open_session(number, now_ms=self.now, address=f"127.0.0.1:{number}")
        return self.sessions[number]

    def __call__(self, line: str, number: int = 1) -> Reply:
        """Execute the words of `line` in a session; ``''`` is an empty word."""
        return self.say([b"" if word == "''" else word.encode() for word in line.split()], number)

    def say(self, args: list[bytes], number: int = 1) -> Reply:
        return self.store.execute(self.now, self.session(number), args)

    def wire(self, line: str, number: int = 1) -> bytes:
        """Return the bytes of the reply in the session's version of the protocol."""
        out = bytearray()
        reply = self(line, number)
        encode(reply, self.session(number).resp, out)
        return bytes(out)

    def changes(self) -> list[str]:
        """Return the changes since the last call, as lines. A change outside of database 0 begins
        with the number of its database."""
        return [(f"{db}: " if db else "") + b" ".join(args).decode() for db, args in self.store.take_changes()]

    def heard(self) -> list[tuple[int, Reply]]:
        return [(session.id, reply) for session, reply in self.store.take_deliveries()]


def replayed(changes: list[Change]) -> Store:
    """Return a store that repeated `changes`. Also check that the replay makes no changes and no
    messages of its own."""
    copy = Store(seed=11)
    for database, args in changes:
        copy.replay(database, args)
    assert not copy.take_changes()
    assert not copy.take_deliveries()
    return copy


def snapshot(store: Store) -> Store:
    """Return a store that is loaded from a snapshot of `store`."""
    return replayed(list(store.rewrite()))


def check(store: Store) -> None:
    """Check the invariants that hold between any two commands."""
    ctx = store._ctx
    assert not ctx.executing
    assert not ctx.ready
    for index, db in ctx.databases.items():
        assert db.index == index
        assert set(db.expires) <= set(db.data)
        assert all(isinstance(value, bytes | bytearray | Stream) or len(value) for value in db.data.values()), "none is empty"
        due = db.first_due()
        assert due == min(db.expires.values(), default=None)
        for value in db.data.values():
            if isinstance(value, SetValue):
                assert sorted(value.by_place()) == sorted(value)
                assert [value.members[member] for member in value.by_place()] == list(range(len(value)))
            elif isinstance(value, SortedSet):
                assert list(value.pairs()) == sorted((score, member) for member, score in value.scores.items())
            elif isinstance(value, Stream):
                check_stream(value)
    for (index, key), observers in ctx.observed.items():
        assert observers.watchers or observers.waiters
        assert all((index, key) in session.watched for session in observers.watchers)
        for session, wait in observers.waiters.items():
            assert session.blocked is wait
            assert (index, key) in [(wait.index, waited) for waited in wait.keys]
    if ctx.meter is not None:
        total = ctx.meter.total
        ctx.meter.measure(list(ctx.databases.values()))
        assert ctx.meter.total == total


def check_stream(stream: Stream) -> None:
    assert list(stream.entries.span(0, MAX_ID)) == sorted(stream.entries)
    assert stream.last >= max(stream.entries, default=0)
    for group in stream.groups.values():
        assert sum(len(consumer.pending) for consumer in group.consumers.values()) == len(group.pending)
        for entry, pending in group.pending.items():
            assert group.consumers[pending.consumer.name].pending[entry] is pending
