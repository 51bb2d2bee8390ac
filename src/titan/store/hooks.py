"""Hooks by which the engine calls its shell. Each has a default for a store without a shell, as in
tests."""

from __future__ import annotations

from collections.abc import Mapping

from titan.store.replies import OK, Error, Reply, Status


class Hooks:
    """Hooks of a shell, which overrides those that it supports. None may call back into the
    store."""

    def save(self, *, background: bool) -> Reply:
        """Make everything durable, for SAVE and BGSAVE. Return the reply or an Error."""
        return Status(b"Background saving started") if background else OK

    def rewrite(self) -> Reply:
        """Make a snapshot, so that older changes can be deleted, for BGREWRITEAOF. Return the reply
        or an Error."""
        return Status(b"Background append only file rewriting started")

    def last_save_s(self) -> int:
        """Return the time of the last snapshot, in seconds since the epoch."""
        return 0

    def shutdown(self, options: list[bytes]) -> Reply:
        """Shut down, with the options of SHUTDOWN (NOSAVE, SAVE, NOW, FORCE, ABORT in capitals).
        Return NO_REPLY if the store will stop."""
        return Error(b"ERR Errors trying to SHUTDOWN. Check logs.")

    def facts(self) -> Mapping[str, Mapping[str, object]]:
        """Return further facts for INFO: section (Server, Persistence, ...) to field to value."""
        return {}

    def suspicious(self, address: str, word: str) -> None:
        """Log that a connection was closed because it sent HTTP, like a web page that attacks the
        store."""

    def broke(self, command: str, error: Exception) -> None:
        """Log that a command raised an unexpected error. Its client got an error reply."""

    def configured(self, name: str, value: str) -> None:
        """Handle a setting that CONFIG SET changed."""
