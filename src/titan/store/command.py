"""One command of the table: its arguments, its flags, and its function.

This module must not import `context`, because a context has sessions, and a session queues
commands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.store.differences import DIFFERS
from titan.store.replies import Reply

Run = Callable[[Any, list[bytes]], Reply]
"""Function that executes a command. Its parameters are the Context and the arguments, beginning
with the command's name. Raises Refusal."""


class Command:
    """Command of the table, or a subcommand (`parent|name`)."""

    __slots__ = (
        "administers",
        "arity",
        "blocks",
        "differs",
        "empties",
        "flags",
        "group",
        "grows",
        "keys",
        "name",
        "never_queued",
        "not_in_transaction",
        "run",
        "sub",
        "summary",
        "without_auth",
        "writes",
    )

    def __init__(self, name: str, arity: int, flags: str, keys: str, summary: str, group: str, run: Run | None) -> None:
        self.name = name.encode()
        self.arity = arity
        self.flags = flags
        self.keys = keys
        self.summary = summary
        self.group = group
        self.run = run
        """None: the command has only subcommands."""
        self.sub: dict[bytes, Command] = {}
        self.writes = "w" in flags
        self.grows = "m" in flags
        self.blocks = "b" in flags
        self.never_queued = "x" in flags
        self.not_in_transaction = "o" in flags
        self.without_auth = "n" in flags
        self.administers = "a" in flags or "j" in flags
        self.empties = "e" in flags
        self.differs = DIFFERS.get(name, "")
        """Difference from the command of Redis of the same name; empty if there is none."""

    def takes(self, count: int) -> bool:
        """Return whether the command takes `count` arguments, including its name."""
        return count == self.arity if self.arity >= 0 else count >= -self.arity

    @property
    def key_range(self) -> tuple[int, int, int]:
        """First, last and step of the keys, as COMMAND shows them; 0, 0, 0 if keys have no fixed
        position."""
        if self.keys in ("-", "streams") or self.keys.startswith("n"):
            return 0, 0, 0
        if self.keys == "sort" or "+" in self.keys:
            return 1, 1, 1
        parts = [int(part) for part in self.keys.split(":")]
        first = parts[0]
        last = parts[1] if len(parts) > 1 else first
        return first, last, parts[2] if len(parts) > 2 else 1

    def keys_of(self, args: list[bytes]) -> list[bytes]:
        """Return the keys among the arguments of a call; an empty list if the arguments are
        invalid."""
        kind = self.keys
        if kind == "-":
            return []
        if kind == "streams":
            at = next((i for i, arg in enumerate(args) if arg.upper() == b"STREAMS"), len(args)) + 1
            return args[at : at + (len(args) - at) // 2]
        if kind == "sort":
            stores = [args[i + 1] for i in range(2, len(args) - 1) if args[i].upper() == b"STORE"]
            return [*args[1:2], *stores[-1:]]
        if "n" in kind:
            fixed, _, number = kind.partition("n")
            at = int(number)
            count = args[at] if at < len(args) else b""
            if not count.isdigit() or len(count) > 9 or int(count) > len(args) - at - 1:
                return []
            return [*args[1 : 2 if fixed else 1], *args[at + 1 : at + 1 + int(count)]]
        first, last, step = self.key_range
        return args[first : (last + 1 if last >= 0 else len(args) + last + 1) : step]
