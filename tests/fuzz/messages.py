"""Messages with hostile values against a master in this process. Each is accepted or refused, and a
replay gives the same state."""

from __future__ import annotations

import gc
import random
import sys

from fuzz.harness import Fuzzer, main
from fuzz.hostile import Case, World, cases, kinds

_worlds: list[World] = []
_PER_WORLD = 500


class Refused(Exception):
    """The master answered with an error."""


def close() -> None:
    while _worlds:
        _worlds.pop().close()


def world() -> World:
    """Return the world. After some cases it is replaced, because accepted messages make the state,
    and so each comparison, larger."""
    if _worlds and _worlds[0].next_number() > _PER_WORLD:
        _worlds[0].restart()
        _worlds.pop().close()
        # The transports of asyncio form reference cycles. They are not collected by themselves
        # here, because a master has changed the settings of the garbage collector.
        gc.collect()
    if not _worlds:
        _worlds.append(World())
    return _worlds[0]


def make(rng: random.Random) -> Case:
    while True:
        for case in cases(rng.choice(kinds()), world(), large=rng.random() < 0.02, some=rng):
            return case


def run(case: Case) -> None:
    if world().case(case):
        raise Refused(case.told)


FUZZER = Fuzzer("messages", make, run, (Refused,), case_s=60.0, memory_mib=1024)

if __name__ == "__main__":
    code = main(FUZZER)
    close()
    sys.exit(code)
