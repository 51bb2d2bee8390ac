"""What a job asks of its worker, as users write it: one capability or several, `cpus`, `memory` and
`gpus`.

Owns what may be written and what it becomes in a template; `unmet` says what no worker that is
there can give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from titan.model.dag import MAX_CPUS, MAX_MEMORY, Needs
from titan.model.demand import (
    MAX_CAPABILITIES,
)
from titan.model.names import CAPABILITY_RULE, is_capability
from titan.model.sizes import size_of, size_text
from titan.sdk.field_table import BadField

Requirement = str | tuple[str, ...]


def main_capability(requirement: Requirement) -> str:
    return requirement if isinstance(requirement, str) else requirement[0]


def needs_of(requirement: Requirement, cpus: float = 0.0, memory: int = 0, gpus: int = 0) -> Needs | None:
    """What a template says beside its first capability, None for nothing."""
    more = () if isinstance(requirement, str) else requirement[1:]
    return Needs(cpus, memory, gpus, more) if more or cpus or memory or gpus else None


# -- what may be given, made into what is kept -----------------------------------------------------
def requirement_of(value: object) -> Requirement:
    """One capability by itself, several without repeats. Raises BadField."""
    if not isinstance(value, str) and (isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable)):
        raise BadField(f"must be a capability or a list of them, not {_kind(value)}")
    words = (value,) if isinstance(value, str) else tuple(value)
    if not words:
        raise BadField("must not be empty: leave it out for GENERAL")
    if len(words) > MAX_CAPABILITIES:
        raise BadField(f"at most {MAX_CAPABILITIES} capabilities")
    for word in words:
        if not isinstance(word, str):
            raise BadField(f"each capability must be a string, not {_kind(word)}")
        if not is_capability(word):
            raise BadField(f"{word[:80]!r} is malformed: a capability is {CAPABILITY_RULE}")
    found = tuple(dict.fromkeys(words))
    return found[0] if len(found) == 1 else found


def cpus_of(value: object) -> float:
    """Raises BadField."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be a number of CPUs, not {_kind(value)}")
    if not 0 <= value <= MAX_CPUS:  # also for NaN
        raise BadField(f"must be 0 to {MAX_CPUS:,.0f}")
    if 0 < value < 0.001:
        raise BadField("must be 0 or at least 0.001")
    return float(value)


def memory_of(value: object) -> int:
    """Bytes. Raises BadField."""
    if isinstance(value, str):
        try:
            return size_of(value)
        except ValueError as error:
            raise BadField(str(error)) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadField(f"must be a number of bytes or a size as '4GiB', not {_kind(value)}")
    if not 0 <= value <= MAX_MEMORY:
        raise BadField(f"must be 0 to {size_text(MAX_MEMORY)}")
    return value


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
