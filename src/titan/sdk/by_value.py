"""Pickles by value of what cloudpickle leaves to references: wrappers of functools, and the file
names of code.

A wrapper of `lru_cache` pickles as a reference to its name, which a worker cannot resolve for the
caller's own modules. cloudpickle also drops the file of each function, so tracebacks could not show
their lines. A worker rebuilds all with the standard library and cloudpickle alone, and
then also pickles such wrappers by value: results may hold classes that have them.
"""

from __future__ import annotations

import copyreg
import functools
import sys
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

LRU_WRAPPER: type = type(functools.lru_cache(lambda: None))
_NO_FILE = "<dynamic-code>"
"""File name that cloudpickle puts into code."""


def reduced(value: Any, reduce_code: Callable[[CodeType], tuple[Any, ...]], *, is_own: Callable[[Any], bool]) -> Any:
    """Return the reduction of a value, as `reducer_override` does, or NotImplemented."""
    kind = type(value)
    if kind is CodeType:
        make, arguments, *rest = reduce_code(value)
        file = "".join(value.co_filename)  # a copy: equal functions have equal pickles
        return make, tuple(file if argument == _NO_FILE else argument for argument in arguments), *rest
    if kind is functools.cached_property or (kind is LRU_WRAPPER and is_own(value)):
        return _remake, (kind, *_parts_of(value))
    if kind is FunctionType and _is_single_dispatch(value):
        return _remake_single_dispatch, (value.registry[object], dict(value.registry))
    return NotImplemented


def _is_single_dispatch(function: Any) -> bool:
    return function.__code__.co_filename == functools.__file__ and hasattr(function, "registry") and hasattr(function, "dispatch")


def _local_functions() -> tuple[Callable[..., Any], ...]:
    """Return functions that travel by value, because they are local to this one."""

    def parts_of(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return (arguments of the wrapper's type, attributes)."""
        if type(value) is functools.cached_property:
            return (value.func,), {"attrname": value.attrname, "__doc__": value.__doc__}
        settings = value.cache_parameters()
        cache = (settings["maxsize"], settings["typed"], functools._CacheInfo)
        return (value.__wrapped__, *cache), dict(value.__dict__)

    def reduce_on_worker(value: Any) -> Any:
        """Reduce a wrapper to its name if a reader finds it there, else to its parts."""
        found: Any = sys.modules.get(getattr(value, "__module__", ""))
        for part in getattr(value, "__qualname__", "").split("."):
            found = getattr(found, part, None)
        return value.__qualname__ if found is value else (remake, (type(value), *parts_of(value)))

    def remake(kind: type, arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        for wrapper in (functools.cached_property, type(functools.lru_cache(parts_of))):
            copyreg.pickle(wrapper, reduce_on_worker)
        made = kind(*arguments)
        made.__dict__.update(attributes)
        return made

    def remake_single_dispatch(default: Callable[..., Any], registry: dict[type, Callable[..., Any]]) -> Any:
        made = functools.singledispatch(default)
        for kind, function in registry.items():
            made.register(kind, function)
        return made

    return parts_of, remake, remake_single_dispatch


_parts_of, _remake, _remake_single_dispatch = _local_functions()
