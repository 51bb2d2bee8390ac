"""Requirements of a job on its worker, as users write them: capabilities, `cpus`, `memory`, `gpus`.

Owns the accepted values and their form in a template. `unmet` finds the requirements that no
present worker can meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from titan.model.dag import MAX_CPUS, MAX_LOG, MAX_MEMORY, MIN_LOG, Needs
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
    """Return a template's requirements other than its main capability; None if there are none."""
    more = () if isinstance(requirement, str) else requirement[1:]
    return Needs(cpus, memory, gpus, more) if more or cpus or memory or gpus else None


# -- conversion of values --------------------------------------------------------------------------
def requirement_of(value: object) -> Requirement:
    """Return a single capability, or several without duplicates. Raises BadField."""
    if not isinstance(value, str) and (isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable)):
        raise BadField(f"must be a capability or a list of them, not {_kind(value)}")
    capabilities = (value,) if isinstance(value, str) else tuple(value)
    if not capabilities:
        raise BadField("must not be empty: leave it out for GENERAL")
    if len(capabilities) > MAX_CAPABILITIES:
        raise BadField(f"has {len(capabilities)} capabilities; the limit is {MAX_CAPABILITIES}")
    for capability in capabilities:
        if not isinstance(capability, str):
            raise BadField(f"each capability must be a string, not {_kind(capability)}")
        if not is_capability(capability):
            raise BadField(f"{capability[:80]!r} is malformed: a capability is {CAPABILITY_RULE}")
    unique = tuple(dict.fromkeys(capabilities))
    return unique[0] if len(unique) == 1 else unique


def cpus_of(value: object) -> float:
    """Convert a number of CPUs. Raises BadField."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise BadField(f"must be a number of CPUs, not {_kind(value)}")
    if not 0 <= value <= MAX_CPUS:  # also for NaN
        raise BadField(f"must be 0 to {MAX_CPUS:,.0f}")
    if 0 < value < 0.001:
        raise BadField("must be 0 or at least 0.001")
    return float(value)


def memory_of(value: object) -> int:
    """Convert a size to bytes. Raises BadField."""
    if isinstance(value, str):
        try:
            return size_of(value)
        except ValueError as error:
            raise BadField(str(error)) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadField(f"must be a number of bytes or a size such as '4GiB', not {_kind(value)}")
    if not 0 <= value <= MAX_MEMORY:
        raise BadField(f"must be 0 to {size_text(MAX_MEMORY)}")
    return value


def log_limit_of(value: object) -> int:
    """Convert a size to bytes, 0 for the worker's limit. Raises BadField."""
    size = memory_of(value)
    if size and not MIN_LOG <= size <= MAX_LOG:
        raise BadField(f"must be {size_text(MIN_LOG)} to {size_text(MAX_LOG)}")
    return size


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
