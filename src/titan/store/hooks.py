"""What the engine asks of its shell. Each method has a default for a store without one, as in
tests."""

from __future__ import annotations

from collections.abc import Mapping

from titan.store.replies import OK, Error, Reply, Status


class Hooks:
    """Override what the shell can do. None of these may call back into the store."""

    def save(self, *, background: bool) -> Reply:
        """SAVE and BGSAVE: make everything durable. The reply, or an Error."""
        return Status(b"Background saving started") if background else OK

    def rewrite(self) -> Reply:
        """BGREWRITEAOF: make a snapshot, so that older changes can go. The reply, or an Error."""
        return Status(b"Background append only file rewriting started")

    def last_save_s(self) -> int:
        """When the last snapshot was made, in seconds since the epoch."""
        return 0

    def shutdown(self, options: list[bytes]) -> Reply:
        """SHUTDOWN with its options (NOSAVE, SAVE, NOW, FORCE, ABORT in capitals). NO_REPLY if the
        store will stop."""
        return Error(b"ERR Errors trying to SHUTDOWN. Check logs.")

    def facts(self) -> Mapping[str, Mapping[str, object]]:
        """What INFO tells beyond the engine: section (Server, Persistence, ...) to field to value."""
        return {}

    def suspicious(self, address: str, word: str) -> None:
        """A connection spoke HTTP, as a web page does that attacks the store, and is closed: to be
        logged."""

    def broke(self, command: str, error: Exception) -> None:
        """A command raised what it should not: to be logged. Its client got an error."""

    def configured(self, name: str, value: str) -> None:
        """CONFIG SET changed a setting."""
