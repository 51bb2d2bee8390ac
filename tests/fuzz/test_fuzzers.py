"""A short form of each fuzzer. `make fuzz TARGET=archives SECONDS=600 SEED=7` runs one
for longer."""

from __future__ import annotations

from typing import Any

import pytest

from fuzz import archives, frames, messages, pipelines, resp
from fuzz.harness import Failed, Fuzzer, fuzz

FUZZERS: list[Fuzzer[Any]] = [archives.FUZZER, pipelines.FUZZER, resp.FUZZER, frames.FUZZER]


@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda it: it.name)
def test_what_comes_from_strangers_is_taken_or_refused(fuzzer: Fuzzer[Any]) -> None:
    done = fuzz(fuzzer, cases=60, seed=1)
    assert 0 < done.refused < done.cases, "a fuzzer whose inputs are all refused, or all taken, tries little"


def test_messages_are_taken_or_refused() -> None:
    """The number of cases is limited, because each needs a master.
    tests/property/master/test_hostile_values.py tries every field of every message."""
    try:
        assert fuzz(messages.FUZZER, cases=40, seed=1).refused > 0
    finally:
        messages.close()


def raises(number: int) -> None:
    if number % 10 == 0:
        raise KeyError(number)
    if number % 2:
        raise ValueError(number)


def test_a_case_that_fails_stops_the_run_and_can_be_repeated() -> None:
    fuzzer = Fuzzer("numbers", lambda rng: rng.randrange(100), raises, (ValueError,))
    with pytest.raises(Failed, match=r"numbers --seed 5 --case \d+: KeyError") as failed:
        fuzz(fuzzer, cases=1000, seed=5)
    number = int(str(failed.value).split("--case ")[1].split(":")[0])
    assert fuzz(fuzzer, cases=number, seed=5).cases == number
