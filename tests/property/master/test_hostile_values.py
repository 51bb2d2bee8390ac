"""Hostile values in every field of every message. The master accepts or refuses each message, and a
replay gives the same state.

This test tries one random value for each field. `python -m fuzz.messages` in tests/ tries values
for as long as it is told.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fuzz.hostile import Case, World, cases, kinds
from titan.protocol import messages as msg
from titan.protocol.opcodes import OPCODES


@pytest.fixture(scope="module")
def worlds() -> Iterator[list[World]]:
    """The world in use, or an empty list. A test that has used the world for long replaces it."""
    made: list[World] = []
    yield made
    for world in made:
        world.restart()
        world.close()


def one_of_each(kind: type[msg.Message], world: World, rng: random.Random) -> list[Case]:
    """Return one random case for each field."""
    by_place: dict[str, list[Case]] = {}
    for case in cases(kind, world):
        by_place.setdefault(case.told.partition(" = ")[0], []).append(case)
    return [rng.choice(them) for them in by_place.values()]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_hostile_values_are_refused_or_taken_and_nothing_breaks(kind: type[msg.Message], worlds: list[World]) -> None:
    seed = random.randrange(1 << 32)
    if worlds and worlds[0].next_number() > 1000:
        worlds[0].restart()
        worlds.pop().close()
    if not worlds:
        worlds.append(World())
    world = worlds[0]
    for case in one_of_each(kind, world, random.Random(seed)):
        try:
            world.case(case)
        except BaseException:
            worlds.clear()
            print(f"seed {seed}: {case.told}")
            raise


def test_all_messages_but_the_greeting_and_the_order_to_stop_are_tried() -> None:
    assert set(OPCODES.values()) - set(kinds()) == {msg.Hello, msg.Stop}
