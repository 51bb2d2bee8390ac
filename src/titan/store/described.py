"""COMMAND and its subcommands: flags, keys and ACL categories of commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from titan.store.command import Command
from titan.store.context import Context
from titan.store.patterns import folded
from titan.store.replies import SYNTAX, Refusal, Reply, SetReply, Status
from titan.store.server_info import unknown_subcommand


def _by_name(table: dict[str, str]) -> dict[bytes, list[str]]:
    """Invert `table`, whose keys are words and whose values are names separated by blanks. Return
    the words of each name."""
    return {name.encode(): words.split() for words, names in table.items() for name in names.split()}


_FLAGS = {
    "w": "write",
    "r": "readonly",
    "m": "denyoom",
    "b": "blocking",
    "p": "pubsub",
    "a": "admin",
    "f": "fast",
    "n": "no_auth",
    "o": "no_multi",
}
"""Flags by their letters in the table of commands."""
_FURTHER_FLAGS = _by_name(
    {
        "loading stale": "publish pubsub|channels pubsub|numpat pubsub|numsub echo select command command|count command|docs "
        "command|getkeys command|info command|list info lastsave slowlog|get slowlog|len slowlog|reset time",
        "noscript": "blmove blpop brpop brpoplpush bzpopmax bzpopmin wait",
        "noscript loading stale": "psubscribe punsubscribe subscribe unsubscribe client|getname client|id client|info client|kill "
        "client|list client|no-evict client|no-touch client|reply client|setinfo client|setname client|unblock config|get "
        "config|resetstat config|rewrite config|set latency|history latency|latest latency|reset role",
        "noscript loading stale allow_busy": "discard multi unwatch watch auth hello quit reset shutdown",
        "noscript loading stale skip_slowlog": "exec",
        "noscript no_async_loading": "bgrewriteaof bgsave save",
    }
)
"""Further flags of Redis. They have no effect here, but clients read them."""
_CATEGORIES = {"write": "write", "readonly": "read", "admin": "admin dangerous", "pubsub": "pubsub", "blocking": "blocking"}
"""ACL categories by flag."""
_OF_GROUPS = {"sorted set": "sortedset", "generic": "keyspace", "transactions": "transaction", "server": ""}
"""ACL categories of the groups whose category differs from their name."""
_FURTHER_CATEGORIES = _by_name(
    {
        "dangerous": "keys info",
        "dangerous list set sortedset": "sort sort_ro",
        "connection": "command command|count command|docs command|getkeys command|info command|list wait",
        "keyspace": "dbsize object|encoding object|freq object|idletime object|refcount",
        "dangerous keyspace": "flushall flushdb swapdb",
        "admin dangerous": "lastsave role",
    }
)
_SORTING = (b"sort", b"sort_ro")
"""Commands whose keys depend on the elements of the sorted value."""


class Catalogue:
    """Functions of COMMAND and its subcommands. `table` maps names in lower case to the commands
    that they describe."""

    def __init__(self, table: Mapping[bytes, Command]) -> None:
        self._table = table

    def command(self, ctx: Context, args: list[bytes]) -> Reply:
        if len(args) > 1:
            raise Refusal(unknown_subcommand(args))
        return [_facts(command) for command in self._table.values()]

    def command_count(self, ctx: Context, args: list[bytes]) -> Reply:
        return len(self._table)

    def command_info(self, ctx: Context, args: list[bytes]) -> Reply:
        if len(args) == 2:
            return self.command(ctx, args[:1])
        commands = (self._named(name) for name in args[2:])
        return [None if command is None else _facts(command) for command in commands]

    def command_list(self, ctx: Context, args: list[bytes]) -> Reply:
        names = list(self._table)
        if len(args) == 2:
            return list(names)
        if len(args) != 5 or args[2].upper() != b"FILTERBY":
            raise Refusal(SYNTAX)
        how, value = args[3].upper(), args[4]
        if how == b"PATTERN":
            matches = folded(value)
            return [name for name in names if matches(name)]
        if how == b"ACLCAT":
            category = value.lower().decode("latin-1")
            return [command.name for command in self._table.values() if category in _categories(command)]
        if how == b"MODULE":
            return []
        raise Refusal(SYNTAX)

    def command_docs(self, ctx: Context, args: list[bytes]) -> Reply:
        table = self._table
        chosen = [table[name.lower()] for name in args[2:] if name.lower() in table] if len(args) > 2 else list(table.values())
        return {command.name: _docs(command) for command in chosen}

    def command_getkeys(self, ctx: Context, args: list[bytes]) -> Reply:
        called = args[2:]
        found = self._table.get(called[0].lower())
        if found is not None and found.sub and len(called) > 1:
            found = found.sub.get(called[1].lower())
        if found is None:
            raise Refusal(b"ERR Invalid command specified")
        if not found.takes(len(called)):
            raise Refusal(b"ERR Invalid number of arguments specified for command")
        if found.keys == "-":
            raise Refusal(b"ERR The command has no key arguments")
        keys = found.keys_of(called)
        if not keys:
            raise Refusal(b"ERR Invalid arguments specified for command")
        return list(keys)

    def _named(self, name: bytes) -> Command | None:
        parent, _, sub = name.lower().partition(b"|")
        found = self._table.get(parent)
        return found.sub.get(sub) if found is not None and sub else found


def _facts(command: Command) -> list[Any]:
    first, last, step = command.key_range
    flags = SetReply(Status(flag.encode()) for flag in _flags(command))
    categories = SetReply(Status(b"@" + category.encode()) for category in _categories(command))
    sub = [_facts(child) for child in command.sub.values()]
    return [command.name, command.arity, flags, first, last, step, categories, [], [], sub]


def _flags(command: Command) -> list[str]:
    flags = [_FLAGS[letter] for letter in command.flags if letter in _FLAGS]
    flags += _FURTHER_FLAGS.get(command.name, [])
    if command.keys == "streams" or "n" in command.keys or command.name in _SORTING:
        flags.append("movablekeys")
    return flags


def _categories(command: Command) -> list[str]:
    flags = _flags(command)
    found = " ".join(_CATEGORIES[flag] for flag in flags if flag in _CATEGORIES).split()
    found += ["fast" if "fast" in flags else "slow", *_FURTHER_CATEGORIES.get(command.name, [])]
    group = _OF_GROUPS.get(command.group, command.group)
    if group and not command.sub and command.name not in _SORTING:
        found.append(group)
    return list(dict.fromkeys(found))


def _docs(command: Command) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {
        b"summary": command.summary.encode(),
        b"since": b"1.0.0",
        b"group": command.group.replace(" ", "-").encode(),
    }
    if command.sub:
        found[b"subcommands"] = {child.name: _docs(child) for child in command.sub.values()}
    return found
