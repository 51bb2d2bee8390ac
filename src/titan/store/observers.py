"""Observers of keys: sessions that watch them (WATCH) and sessions that wait for them (BLPOP)."""

from __future__ import annotations

from titan.store.session import Session, Wait


class Observers:
    """Observers of one key. The store serves waiting sessions in the order in which they began to
    wait."""

    __slots__ = ("suppressed", "waiters", "watchers")

    def __init__(self) -> None:
        self.suppressed = False
        """True if a command replaced the value by its result, which does not serve waiting
        sessions. See `Context.stored`."""
        self.watchers: dict[Session, None] = {}
        self.waiters: dict[Session, Wait] = {}


class Observed(dict[tuple[int, bytes], Observers]):
    """Observers by (database, key). Only observed keys have an entry. SWAPDB exchanges the keys of
    two databases, but not their observers."""

    def add(self, index: int, key: bytes) -> Observers:
        """Return the observers of a key, to which the caller adds a session."""
        observers = self.get((index, key))
        if observers is None:
            observers = self[index, key] = Observers()
        return observers

    def leave(self, index: int, key: bytes, session: Session, *, watching: bool) -> None:
        """Remove a session that no longer watches a key, or no longer waits for it."""
        observers = self.get((index, key))
        if observers is not None:
            (observers.watchers if watching else observers.waiters).pop(session, None)
            if not observers.watchers and not observers.waiters:
                del self[index, key]

    def of(self, index: int) -> list[bytes]:
        """Return the observed keys of one database."""
        return [key for at, key in self if at == index]
