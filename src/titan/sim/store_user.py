"""Simulated user that writes to TitanStore and counts the acknowledged writes.

Like a handler of the master, the user executes its commands in the store of the master's state. The
master acknowledges a write when its changes are durable. After each recovery, the store must
contain all acknowledged writes, and no write that the user has not made.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from titan.core import inputs
from titan.sim.oracle.processes import Violation
from titan.sim.world import World
from titan.store.store import Store

KEYS = 3
SHARE = 0.25
"""Share of scenarios with a user of the store."""


class StoreMaster(Protocol):
    """The part of the master that the store's user needs."""

    @property
    def up(self) -> bool: ...

    def write_store(self, written: inputs.StoreWritten, acknowledge: Callable[[], None]) -> None:
        """Journal changes of the store, and call `acknowledge` when they are durable."""


class SimStoreUser:
    def __init__(self, world: World, master: StoreMaster) -> None:
        self._world = world
        self._master = master
        self._rng = Random(f"{world.scenario.seed}/store")
        self._left = self._rng.randint(1, 60) if self._rng.random() < SHARE else 0
        self._requested = [0] * KEYS
        self._acknowledged = [0] * KEYS
        self._store: Store | None = None
        if self._left:
            world.clock.after(self._rng.random(), self._write_and_repeat)

    def on_recovered(self, store: Store) -> None:
        """Check the recovered store of a new master. Raises Violation."""
        for i in range(KEYS):
            count = self._read(store, b"GET", i)
            if not self._acknowledged[i] <= count <= self._requested[i]:
                counts = f"the master acknowledged {self._acknowledged[i]} of {self._requested[i]} writes"
                raise Violation(f"n{i} is {count} in the store: {counts}")
            listed = self._read(store, b"LLEN", i)
            if listed != count:
                raise Violation(f"only a part of a transaction was recovered: n{i} is {count}, and its list has {listed} elements")
            # by now, each write without an acknowledgement is either durable or lost
            self._requested[i] = self._acknowledged[i] = count
        self._store = store

    def _write_and_repeat(self) -> None:
        if self._left and self._world.clock.elapsed < self._world.scenario.fault_s:
            self._left -= 1
            if self._master.up and self._store is not None:
                self._write(self._store)
            self._world.clock.after(self._rng.uniform(0.01, 3.0), self._write_and_repeat)

    def _write(self, store: Store) -> None:
        now_ms = int(self._world.clock.now * 1000)
        store.expire_due(now_ms, 10)
        session = store.open_session(1, now_ms=now_ms)
        written = [0] * KEYS
        for _ in range(self._rng.randint(1, 4)):
            i = self._rng.randrange(KEYS)
            for args in (
                [b"MULTI"],
                [b"INCR", b"n%d" % i],
                [b"RPUSH", b"l%d" % i, b"%d" % self._requested[i]],
                [b"EXEC"],
                [b"SET", b"passing", b"v", b"PX", b"%d" % self._rng.randint(1, 5000)],
                [b"SADD", b"s", b"%d" % self._rng.randrange(9)],
                [b"SPOP", b"s"],
                [b"XADD", b"x", b"MAXLEN", b"5", b"*", b"f", b"v"],
            ):
                store.execute(now_ms, session, args)
            self._requested[i] += 1
            written[i] += 1
        store.close_session(session)
        self._world.trace.count("store write")
        self._master.write_store(inputs.StoreWritten(store.take_changes()), lambda: self._on_durable(written))

    def _on_durable(self, written: list[int]) -> None:
        for i, count in enumerate(written):
            self._acknowledged[i] += count

    def _read(self, store: Store, name: bytes, i: int) -> int:
        session = store.open_session(2)
        found = store.execute(0, session, [name, (b"l%d" if name == b"LLEN" else b"n%d") % i])
        store.close_session(session)
        return int(found) if isinstance(found, (bytes, int)) else 0
