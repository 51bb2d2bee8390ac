"""Worker groups for a simulation: N, N:SLOTS, N:SLOTS:GENERAL+GPU; 1..8 compares several N."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import click

from titan.predict.plan import Group
from titan.sdk.fields import problem_of
from titan.sdk.needs import requirement_of

MAX_WORKERS = 100_000
MAX_COMPARED = 64
_FORM = re.compile(r"(\d+)(?:\.\.(\d+))?(?::(\d+))?(?::([^:]+))?")
_HINT = "write N, N:SLOTS or N:SLOTS:GENERAL+GPU, with 1..8 for N to compare"


class Capacity(NamedTuple):
    """Resources that each worker reports; 0 for a resource that it does not report."""

    cpus: float = 0.0
    memory: int = 0
    gpus: int = 0


def fleets(texts: Sequence[str], slots: int, capacity: Capacity) -> list[list[Group]]:
    """Return the worker groups of each cluster to predict: one cluster, or one per N of a range.

    Raises UsageError.

    >>> for fleet in fleets(["1..2", "1:4:GPU"], 1, Capacity()):
    ...     [(g.count, g.slots, g.capabilities) for g in fleet]
    [(1, 1, ('GENERAL',)), (1, 4, ('GPU',))]
    [(2, 1, ('GENERAL',)), (1, 4, ('GPU',))]
    """
    found: list[list[Group]] = [[]]
    ranged = ""
    for text in texts:
        counts, group = _parsed(text, slots, capacity)
        if len(counts) > 1:
            if ranged:
                raise click.UsageError(f"--workers {ranged} and {text}: only one --workers may have a range")
            ranged = text
        found = [[*fleet, Group(n, *group)] for n in counts for fleet in found]
    if not sum(group.count for group in found[0]):
        raise click.UsageError("--workers: a cluster without workers runs nothing")
    return found


def _parsed(text: str, slots: int, capacity: Capacity) -> tuple[range, tuple[int, tuple[str, ...], float, int, int]]:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise click.UsageError(f"--workers {text[:80]!r}: {_HINT}")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first or last > MAX_WORKERS or last - first >= MAX_COMPARED:
        raise click.UsageError(f"--workers {text[:80]!r}: at most {MAX_WORKERS:,} workers and {MAX_COMPARED} to compare; {_HINT}")
    own = int(match[3]) if match[3] else slots
    if not 1 <= own <= 65_536:
        raise click.UsageError(f"--workers {text[:80]!r}: a worker has 1 to 65,536 slots")
    capabilities = tuple(dict.fromkeys(match[4].split("+"))) if match[4] else ("GENERAL",)
    if problem := problem_of(requirement_of, capabilities):
        raise click.UsageError(f"--workers {text[:80]!r}: {problem}")
    return range(first, last + 1), (own, capabilities, *capacity)
