"""Runs a parser on damaged and invented inputs for a while: no crash, no hang, no memory above a
bound.

A fuzzer gives two functions. `make(rng)` returns one input; `run(input)` feeds it to the code under
test and raises only what that code promises to raise (`allowed`). Each case draws from a generator
of its own, seeded by the run's seed and the case's number, so `--seed S --case N` repeats case N
alone. A case that fails stops the run and names that command.

    cd tests && python -m fuzz.archives --seconds 600 --seed 1
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
MIB = 1024 * 1024


class Failed(Exception):
    """A case failed. The message has the command that repeats it."""


@dataclass(frozen=True)
class Fuzzer(Generic[T]):
    """A fuzzer. A case that takes longer than `case_s` seconds counts as hung. The process may grow
    by at most `memory_mib` MiB in a whole run."""

    name: str
    make: Callable[[random.Random], T]
    run: Callable[[T], None]
    allowed: tuple[type[BaseException], ...]
    case_s: float = 10.0
    memory_mib: int = 512


@dataclass(frozen=True)
class Outcome:
    cases: int
    refused: int
    """Number of cases that ended in an allowed error."""
    seconds: float
    grown_mib: float
    slowest_s: float

    def __str__(self) -> str:
        return (
            f"{self.cases:,} cases ({self.refused:,} refused) in {self.seconds:.0f} s; slowest {self.slowest_s * 1000:.0f} ms;"
            f" memory grew by {self.grown_mib:.0f} MiB"
        )


def fuzz(fuzzer: Fuzzer[T], *, seconds: float = 0.0, cases: int = 0, seed: int = 1) -> Outcome:
    """Run for a number of seconds, or for a number of cases. Raises Failed for the first case that
    fails.

    After a hang no exception can be raised. The process then prints the stack of every thread and
    exits with 1.
    """
    begun, peak = time.monotonic(), _peak_mib()
    done = refused = 0
    slowest = 0.0
    while (cases and done < cases) or (seconds and time.monotonic() - begun < seconds):
        took, was_refused = run_case(fuzzer, seed, done)
        done += 1
        refused += was_refused
        slowest = max(slowest, took)
        if _peak_mib() - peak > fuzzer.memory_mib:
            raise Failed(f"{_repeat(fuzzer, seed, done - 1)}: the process grew by {_peak_mib() - peak:.0f} MiB")
    return Outcome(done, refused, time.monotonic() - begun, _peak_mib() - peak, slowest)


def run_case(fuzzer: Fuzzer[T], seed: int, number: int) -> tuple[float, bool]:
    """Run a case. Return (seconds, whether the input was refused). Raises Failed."""
    made = fuzzer.make(random.Random(f"{seed}/{number}"))
    faulthandler.dump_traceback_later(fuzzer.case_s, exit=True)
    begun, was_refused = time.monotonic(), False
    try:
        fuzzer.run(made)
    except fuzzer.allowed:
        was_refused = True
    except BaseException as e:
        raise Failed(f"{_repeat(fuzzer, seed, number)}: {type(e).__name__}: {e}") from e
    finally:
        faulthandler.cancel_dump_traceback_later()
    return time.monotonic() - begun, was_refused


def damaged(rng: random.Random, good: bytes, *, others: list[bytes] | None = None) -> bytes:
    """Return a copy with up to eight cuts, flips, repeats, swaps and insertions. Sometimes the copy
    is spliced with one of `others`."""
    data = bytearray(good)
    if others and rng.random() < 0.2:
        other = rng.choice(others)
        data = bytearray(data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :])
    for _ in range(rng.randint(1, 8)):
        if not data:
            break
        at = rng.randrange(len(data))
        size = min(len(data) - at, 1 << rng.randrange(10))
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] * rng.choice((1, 1, 2, 50))
            case 4:
                data[at:at] = rng.randbytes(size)
            case 5:
                data[at : at + size] = rng.randbytes(size)
            case _:
                del data[at:]
    return bytes(data)


def main(fuzzer: Fuzzer[T]) -> int:
    parser = argparse.ArgumentParser(description=f"Fuzz {fuzzer.name}.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, default=-1, help="run this case alone")
    args = parser.parse_args()
    try:
        if args.case >= 0:
            took, was_refused = run_case(fuzzer, args.seed, args.case)
            print(f"{fuzzer.name}: case {args.case} {'was refused' if was_refused else 'was accepted'} in {took * 1000:.1f} ms")
        else:
            print(f"{fuzzer.name}, seed {args.seed}: {fuzz(fuzzer, seconds=args.seconds, seed=args.seed)}")
    except Failed as e:
        print(f"FAILED {e}", file=sys.stderr)
        if e.__cause__ is not None:
            sys.excepthook(type(e.__cause__), e.__cause__, e.__cause__.__traceback__)
        return 1
    return 0


def _repeat(fuzzer: Fuzzer[T], seed: int, number: int) -> str:
    return f"{fuzzer.name} --seed {seed} --case {number}"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
