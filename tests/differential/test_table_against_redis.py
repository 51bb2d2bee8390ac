"""The table of commands, compared with redis-server: what COMMAND returns for each command, and the
replies to invalid arguments."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from differential.peer import Redis, Tree, parse_all
from differential.test_against_redis import CHOSEN, Pair
from titan.store.resp import encode
from titan.store.store import Store
from titan.store.table import COMMANDS

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
OWN = (b"cas", b"client|no-touch", b"client|setinfo")
"""Titan's own commands, and commands of a later Redis."""
BY_CHANCE = b"randomkey spop memory|usage client|id client|info client|list".split()
BY_CLOCK = b"time lastsave info role object|idletime expire pexpire setex psetex".split()
OF_THE_SERVER = b"shutdown save bgsave bgrewriteaof config|get config|rewrite config|resetstat".split()
OF_THE_SESSION = (
    b"quit reset hello select subscribe psubscribe unsubscribe punsubscribe multi exec discard watch client|reply".split()
)
OF_ALL_COMMANDS = b"command command|count command|docs command|info command|list".split()
LEFT_OUT = {*OWN, *BY_CHANCE, *BY_CLOCK, *OF_THE_SERVER, *OF_THE_SESSION, *OF_ALL_COMMANDS}
FULL = "SET k 5; RPUSH l 1; XADD s 1-1 f v; XGROUP CREATE s g 0; SET 1 x; SET -1 x; HSET h 1 2; ZADD z 1 1"
NONSENSE: list[list[bytes]] = [
    *([word] * 7 for word in (b"k", b"1", b"-1", b"", b"k\0x", b"l", b"z")),
    *(line.split() for line in (b"k 1 2 3 4 5", b"k x 1 x 1 x", b"1 k LEFT COUNT 1 x", b"k 0 NX XX GT LT", b"k l m 0 1-1 x")),
    *(line.split() for line in (b"s g - + 1 c x", b"s g c 0 1-1 JUSTID x", b"h 1 1 1 1", b"ANY k x", b"z - + x y")),
]


def test_commands_are_described_alike(redis: Redis) -> None:
    """Name, arity, flags, keys and categories of commands and subcommands are equal."""
    theirs = dict(_described(redis.control.ask(b"COMMAND")))
    store, out = Store(), bytearray()
    encode(store.execute(0, store.open_session(1), [b"COMMAND"]), 2, out)
    mine = dict(_described(parse_all(out)[0]))
    assert len(mine) > 200
    assert {name: row for name, row in mine.items() if name not in OWN} == {
        name: row for name, row in theirs.items() if name in mine
    }


def _described(reply: Tree) -> Iterator[tuple[bytes, Any]]:
    for _, row in reply[1]:
        name, arity, flags, first, last, step, categories, _, _, subcommands = row
        yield name[1], (arity, sorted(flags[1]), first, last, step, sorted(categories[1]))
        yield from _described(subcommands)


@pytest.mark.parametrize("before", ["", FULL], ids=["empty", "full"])
@pytest.mark.parametrize("words", NONSENSE if CHOSEN else NONSENSE[::4], ids=repr)
def test_nonsense_is_refused_alike(redis: Redis, words: list[bytes], before: str) -> None:
    pair = Pair(redis)
    try:
        for name, most in _calls(len(words)):
            for line in before.split("; ") if before else ():
                pair.step(0, line.encode().split())
            for count in range(most + 1):
                pair.step(0, [*name, *words[:count]])
        assert not pair.sides[0].closed, "or nothing was said"
        pair.finish()
    finally:
        pair.close()


def _calls(most: int) -> Iterator[tuple[list[bytes], int]]:
    """Yield the names of commands, and the maximum number of their arguments to try."""
    for name, command in COMMANDS.items():
        if name not in LEFT_OUT:
            yield [name], 0 if command.blocks or name == b"wait" else most
        for sub in command.sub:
            if name + b"|" + sub not in LEFT_OUT:
                yield [name, sub], most
        if command.sub and name not in LEFT_OUT:
            yield [name, b"nonsense"], most
