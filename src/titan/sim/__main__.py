"""Run the simulator: `python -m titan.sim --seed N` or `--seeds A..B`. Prints one line for each
seed; with --trace, it prints the whole trace before that line."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from titan.sim.run import SimulationFailed, simulate
from titan.sim.scenario import Faults


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    first, last = options.seeds or (options.seed, options.seed)
    began, failed = time.perf_counter(), 0
    totals: Counter[str] = Counter()
    for seed in range(first, last + 1):
        failed += not _run(seed, options, totals)
    count = last - first + 1
    if count > 1:
        took = time.perf_counter() - began
        _print(" ".join(f"{kind}={n}" for kind, n in sorted(totals.items())))
        _print(f"{count} seeds, {failed} failed, {took:.1f} s, {count / took:.1f} seeds/s")
    return 1 if failed else 0


def _run(seed: int, options: argparse.Namespace, totals: Counter[str]) -> bool:
    try:
        outcome = simulate(seed, without=tuple(options.without), until_s=options.until)
    except SimulationFailed as failure:
        if options.trace:
            _print("\n".join(failure.trace.lines))
        _print(str(failure))
        return False
    if options.trace:
        _print("\n".join(outcome.trace.lines))
    totals.update(outcome.trace.counts)
    lines = len(outcome.trace.lines)
    _print(f"seed {seed} ({outcome.scenario.kind}) ok, {outcome.elapsed_s:.0f} s, {lines} lines, digest {outcome.trace.digest()}")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m titan.sim", description=__doc__)
    seeds = parser.add_mutually_exclusive_group(required=True)
    seeds.add_argument("--seed", type=int, help="one seed")
    seeds.add_argument("--seeds", type=_range, metavar="A..B", help="seeds A to B, both included")
    parser.add_argument("--trace", action="store_true", help="print the whole trace")
    parser.add_argument("--until", type=float, metavar="SECONDS", help="stop at this virtual time, without the final checks")
    names = [field.name for field in msgspec.structs.fields(Faults)]
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=names,
        metavar="FAULT",
        help=f"turn this fault off, can be repeated: {names}",
    )
    return parser


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    return int(first), int(last)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
