"""Field `cache` of a job, as users write it.

It is `true`, or a mapping such as `{version: "2", for: 7d, ignore: [LOG]}`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from titan.model.caching import ignore_problem, version_problem
from titan.model.dag import Cache
from titan.sdk.field_table import BadField
from titan.sdk.fields import kind_of, seconds_of

_NAMES = ("version", "for", "ignore")


def cache_of(value: object) -> Cache | None:
    """Convert a boolean, a mapping or a Cache. Return None for no caching. Raises BadField.

    >>> cache_of(True)
    Cache(version='', max_age_s=0.0, ignore=(), by_position=False)
    >>> cache_of({"for": "1h"}).max_age_s, cache_of(False)
    (3600.0, None)
    """
    if value is None or isinstance(value, (bool, Cache)):
        return value if isinstance(value, Cache) else Cache() if value else None
    if not isinstance(value, Mapping):
        raise BadField(f'must be true, false or a mapping such as {{version: "2", for: 7d}}, not {kind_of(value)}')
    for name in value:
        if name not in _NAMES:
            near = difflib.get_close_matches(str(name)[:40], _NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else "use version, for and ignore"
            raise BadField(f"{str(name)[:40]!r} is unknown: {hint}")
    return Cache(_version(value.get("version", "")), _age(value.get("for", 0.0)), _ignored(value.get("ignore", ())))


def _version(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadField(f"version: must be a text, not {kind_of(value)}")
    if problem := version_problem(value):
        raise BadField(f"version: {problem}")
    return value


def _age(value: object) -> float:
    try:
        return seconds_of(value)
    except BadField as bad:
        raise BadField(f"for: {bad}") from None


def _ignored(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise BadField(f"ignore: must be a list of variables, not {kind_of(value)}")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise BadField(f"ignore: must be a list of variables, not of {kind_of(name)}")
    if problem := ignore_problem(names):
        raise BadField(f"ignore: {problem}")
    return names


def cache_of_array(cache: Cache | None, args: Iterable[tuple[str, ...]]) -> Cache | None:
    """Return the cache for jobs of an array with these arguments.

    Jobs with the same arguments may still do different work, because they know their position.
    """
    if cache is None or cache.by_position:
        return cache
    every = list(args)
    return replace(cache, by_position=True) if len(set(every)) < len(every) else cache
