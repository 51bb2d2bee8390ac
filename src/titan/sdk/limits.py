"""Field `limits` of a job, as users write it: `{memory: 512MiB, cpus: 1.5, processes: 64}`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from titan.model.dag import MAX_CPUS, MAX_MEMORY, MAX_PROCESSES, MIN_CPUS, MIN_MEMORY, Limits
from titan.model.sizes import SIZE_RULE, format_size, parse_size
from titan.sdk.field_table import BadField

LIMITS = ("memory", "cpus", "processes")


class BadLimits(BadField):
    """Invalid limits. The text is the problem, to be put after a colon."""


def limits_of(value: object) -> Limits:
    """Convert limits. Raises BadLimits.

    `value` is a Limits, or a mapping of memory (bytes, or text such as 512MiB), cpus (a number) and
    processes (an integer).

    >>> limits_of({"memory": "512MiB", "cpus": 1.5})
    Limits(memory=536870912, cpus=1.5, processes=0)
    """
    if isinstance(value, Limits):
        value = {name: amount for name in LIMITS if (amount := getattr(value, name))}
    if not isinstance(value, Mapping):
        raise BadLimits("must be a mapping of memory, cpus and processes, such as {memory: 512MiB, cpus: 1.5, processes: 64}")
    if not value:
        raise BadLimits("is empty: give memory, cpus or processes, or leave it out")
    for name in value:
        if name not in LIMITS:
            near = difflib.get_close_matches(str(name)[:40], LIMITS, 1)
            raise BadLimits(
                f"{str(name)[:40]!r} is not a limit: "
                + (f"did you mean {near[0]!r}?" if near else "use memory, cpus and processes")
            )
    return Limits(
        memory=_memory(value["memory"]) if "memory" in value else 0,
        cpus=_cpus(value["cpus"]) if "cpus" in value else 0.0,
        processes=_processes(value["processes"]) if "processes" in value else 0,
    )


def _memory(value: object) -> int:
    size = parse_size(value) if isinstance(value, str) else value
    if not isinstance(size, int) or isinstance(size, bool):
        raise BadLimits(f"memory: {str(value)[:40]!r} is not an amount of memory: give {SIZE_RULE}")
    if not MIN_MEMORY <= size <= MAX_MEMORY:
        raise BadLimits(f"memory: must be {format_size(MIN_MEMORY)} to {format_size(MAX_MEMORY)}, not {format_size(size)}")
    return size


def _cpus(value: object) -> float:
    number = _number(value)
    if number is None:
        raise BadLimits(f"cpus: must be a number such as 1.5, not {str(value)[:40]!r}")
    if not MIN_CPUS <= number <= MAX_CPUS:  # also for NaN
        raise BadLimits(f"cpus: must be {MIN_CPUS:g} to {MAX_CPUS:,g}")
    return number


def _processes(value: object) -> int:
    number = _number(value)
    if number is None or not number.is_integer():
        raise BadLimits(f"processes: must be an integer, not {str(value)[:40]!r}")
    if not 1 <= number <= MAX_PROCESSES:
        raise BadLimits(f"processes: must be 1 to {MAX_PROCESSES:,}")
    return int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None
