"""What a job asks of its worker, as users write it: one capability or several, `cpus`, `memory` and `gpus`.

Owns what may be written and what it becomes in a template; `unmet` says what no worker that is there can give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from titan.model.dag import MAX_CPUS, MAX_MEMORY, Needs
from titan.model.demand import (
    MAX_CAPABILITIES,
    MAX_GPUS,
)
from titan.model.names import CAPABILITY_RULE, is_capability
from titan.model.sizes import size_of, size_text

Requirement = str | tuple[str, ...]


def listed(value: object) -> Any:
    """Any iterable of words as a tuple; what is none stays as it is, for the complaint."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        return value
    return tuple(value)


def several(value: str | Sequence[str]) -> Requirement:
    """One capability by itself, several without repeats."""
    if isinstance(value, str):
        return value
    found = tuple(dict.fromkeys(value))
    return found[0] if len(found) == 1 else found


def main_capability(requirement: Requirement) -> str:
    return requirement if isinstance(requirement, str) else requirement[0]


def needs_of(requirement: Requirement, cpus: float = 0.0, memory: int = 0, gpus: int = 0) -> Needs | None:
    """What a template says beside its first capability, None for nothing."""
    more = () if isinstance(requirement, str) else requirement[1:]
    return Needs(cpus, memory, gpus, more) if more or cpus or memory or gpus else None


def bytes_of(memory: int | str) -> int:
    return size_of(memory) if isinstance(memory, str) else memory


# -- "" or the problem --------------------------------------------------------------------------------------------------
def requirement_problem(value: object) -> str:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)):
        return f"must be a capability or a list of them, not {_kind(value)}"
    if not words:
        return "must not be empty: leave it out for GENERAL"
    if len(words) > MAX_CAPABILITIES:
        return f"at most {MAX_CAPABILITIES} capabilities"
    for word in words:
        if not isinstance(word, str):
            return f"each capability must be a string, not {_kind(word)}"
        if not is_capability(word):
            return f"{word[:80]!r} is malformed: a capability is {CAPABILITY_RULE}"
    return ""


def cpus_problem(value: object) -> str:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"must be a number of CPUs, not {_kind(value)}"
    if not 0 <= value <= MAX_CPUS:  # also for NaN
        return f"must be 0 to {MAX_CPUS:,.0f}"
    return "must be 0 or at least 0.001" if 0 < value < 0.001 else ""


def memory_problem(value: object) -> str:
    if isinstance(value, str):
        try:
            size_of(value)
        except ValueError as error:
            return str(error)
        return ""
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be a number of bytes or a size as '4GiB', not {_kind(value)}"
    return "" if 0 <= value <= MAX_MEMORY else f"must be 0 to {size_text(MAX_MEMORY)}"


def gpus_problem(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return f"must be a whole number of GPUs, not {_kind(value)}"
    return "" if 0 <= value <= MAX_GPUS else f"must be 0 to {MAX_GPUS:,}"


def _kind(value: object) -> str:
    if value is None:
        return "nothing (null)"
    text = repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    if isinstance(value, str):
        return f"the string {text}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"the number {text}"
    return f"a {type(value).__name__}"
