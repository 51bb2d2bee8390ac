"""Hooks through which the store calls its shell, the code that uses sockets and disks. Each hook
has a default, so that tests can use a store without a shell."""

from __future__ import annotations

from collections.abc import Mapping

from titan.store.replies import OK, Error, Reply, Status


class Hooks:
    """Default hooks. A shell overrides the hooks that it supports. A hook must not call the
    store."""

    def save(self, *, background: bool) -> Reply:
        """Handle SAVE or BGSAVE. Return the reply or an Error."""
        return Status(b"Background saving started") if background else OK

    def rewrite(self) -> Reply:
        """Handle BGREWRITEAOF: request a snapshot, so that older changes can be deleted. Return the
        reply or an Error."""
        return Status(b"Background append only file rewriting started")

    def last_save_s(self) -> int:
        """Return the time of the last snapshot, in seconds since the epoch."""
        return 0

    def shutdown(self, options: list[bytes]) -> Reply:
        """Shut down, with the options of SHUTDOWN (NOSAVE, SAVE, NOW, FORCE, ABORT in capitals).
        Return NO_REPLY if the store will stop."""
        return Error(b"ERR Errors trying to SHUTDOWN. Check logs.")

    def facts(self) -> Mapping[str, Mapping[str, object]]:
        """Return further facts for INFO: section (Server, Persistence, ...) -> field -> value."""
        return {}

    def suspicious(self, address: str, word: str) -> None:
        """Log that the store closed a connection on which an HTTP request arrived. A malicious web
        page may have opened the connection."""

    def broke(self, command: str, error: Exception) -> None:
        """Log that a command raised an unexpected error. The client received an error reply."""

    def configured(self, name: str, value: str) -> None:
        """Handle a setting that CONFIG SET changed."""
