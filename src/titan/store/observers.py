"""Who has an eye on which keys: sessions that watch them (WATCH), and sessions that wait for them."""

from __future__ import annotations

from titan.store.session import Session, Wait


class Observers:
    """Of one key; those who wait are served first come first served."""

    __slots__ = ("passed_over", "waiters", "watchers")

    def __init__(self) -> None:
        self.passed_over = False
        """What those who wait could take came over something else, see `Context.stored`."""
        self.watchers: dict[Session, None] = {}
        self.waiters: dict[Session, Wait] = {}


class Observed(dict[tuple[int, bytes], Observers]):
    """By database and key; only keys that somebody observes. SWAPDB exchanges the keys of two
    databases, not their observers."""

    def add(self, index: int, key: bytes) -> Observers:
        """The observers of a key, to which the caller adds one."""
        found = self.get((index, key))
        if found is None:
            found = self[index, key] = Observers()
        return found

    def leave(self, index: int, key: bytes, session: Session, *, watching: bool) -> None:
        """A session no longer watches a key, or no longer waits for it."""
        found = self.get((index, key))
        if found is not None:
            (found.watchers if watching else found.waiters).pop(session, None)
            if not found.watchers and not found.waiters:
                del self[index, key]

    def of(self, index: int) -> list[bytes]:
        """The keys of one database."""
        return [key for at, key in self if at == index]
