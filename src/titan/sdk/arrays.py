"""Job arrays: one specification, many jobs that differ in their item.

Owns the accepted items and the placeholders. An array `resize` of three jobs is `resize[0]`,
`resize[1]` and `resize[2]`. Placeholders in its `args` and `parents`:

- ``${item}``: the job's item. ``${item.KEY}``: a value of an item that is a mapping.
- ``${matrix.KEY}``: the job's value on that axis of a matrix.
- ``${index}``: the job's index, counted from 0.
- ``$${`` is a literal ``${``.

Nothing is inserted into the text of a command: there the value is ``$1``.

Pure. Does not know `Job`, which holds the values that are normalised here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import product
from numbers import Real
from typing import Final, NamedTuple

from titan.model.dag import MAX_JOBS, Parallel
from titan.sdk.field_table import BadField

Item = str | tuple[tuple[str, str], ...]
"""A text, or (key, text) pairs."""
Foreach = int | tuple[Item, ...]
"""The number of jobs, each of which has its index as item, or the items."""
Axes = tuple[tuple[str, tuple[str, ...]], ...]
"""(axis, values) pairs. There is a job for each combination; the last axis varies fastest."""


class Combinations(NamedTuple):
    """A matrix with `include` or `exclude`: the names, and the values of each job."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Matrix = Axes | Combinations

MAX_KEYS: Final = 64
MAX_COMBINED: Final = 100_000
"""Limit of combinations of a matrix with `include` or `exclude`."""
MAX_MATCHES: Final = 10_000_000
"""Limit of combinations times entries of `include` and `exclude`."""
INCLUDE, EXCLUDE = "include", "exclude"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_ESCAPED = re.compile(r"\$\$\{(?![^{}]*\.result(?:\.[^{}]*)?\})")
"""Before the placeholder of a result, ``$${`` is left to `titan.model.job_results`."""
_PLACEHOLDER = re.compile(_ESCAPED.pattern + r"|\$\{(item|matrix|index)(?:\.([^${}]*))?\}")


class BadArray(BadField):
    """An invalid value for an array. The text is the problem, to be put after a colon."""


# -- conversion of values --------------------------------------------------------------------------
def foreach_of(value: object) -> Foreach:
    """Convert the value of `foreach`. Raises BadArray.

    >>> foreach_of(["a", 2, {"name": "b", "size": 3}])
    ('a', '2', (('name', 'b'), ('size', '3')))
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MAX_JOBS:
            raise BadArray(f"must be 1 to {MAX_JOBS:,} jobs, not {value:,}")
        return value
    if isinstance(value, range):
        value = list(value)
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise BadArray("must be a list of items, or the number of jobs")
    items: list[Item] = []
    for item in value:
        if len(items) >= MAX_JOBS:
            raise BadArray(f"has more than {MAX_JOBS:,} items")
        items.append(_item(item))
    if not items:
        raise BadArray("is empty: an array has at least one job")
    return tuple(items)


def matrix_of(value: object) -> Matrix:
    """Convert the value of `matrix`. Raises BadArray.

    `exclude` drops combinations. `include` adds values to the combinations that it does not
    contradict, or else a combination. Combinations without such a value have "".

    >>> matrix_of({"lang": ["de", "en"], "size": [1]})
    (('lang', ('de', 'en')), ('size', ('1',)))
    >>> matrix_of({"a": [1, 2], "exclude": [{"a": 1}], "include": [{"a": 2, "b": "x"}, {"a": 3}]})
    Combinations(names=('a', 'b'), rows=(('2', 'x'), ('3', '')))
    """
    if not isinstance(value, Mapping):
        raise BadArray("must be a mapping of axes to lists of values")
    axes = _axes_of({key: values for key, values in value.items() if key not in (INCLUDE, EXCLUDE)}, alone=INCLUDE not in value)
    include, exclude = (_entries(name, value[name]) if name in value else [] for name in (INCLUDE, EXCLUDE))
    return _combined(axes, include, exclude) if include or exclude else axes


def _axes_of(value: Mapping[object, object], *, alone: bool) -> Axes:
    if len(value) > MAX_KEYS or (alone and not value):
        raise BadArray(f"must have 1 to {MAX_KEYS} axes")
    axes = []
    count = 1
    for key, values in value.items():
        name = _key(key)
        if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
            raise BadArray(f"{name}: must be a list of values")
        texts = tuple([_text(item, f"{name}: each value") for item in values])
        if not texts:
            raise BadArray(f"{name}: is empty: an axis has at least one value")
        count *= len(texts)
        if count > MAX_JOBS:
            raise BadArray(f"makes more than {MAX_JOBS:,} jobs")
        axes.append((name, texts))
    return tuple(axes)


def _entries(name: str, value: object) -> list[dict[str, str]]:
    """Return the entries of `include` or `exclude`."""
    if isinstance(value, (str, bytes, Mapping, Set)) or not isinstance(value, Iterable):
        raise BadArray(f"{name}: must be a list of mappings of names to values")
    entries = []
    for item in value:
        if not isinstance(item, Mapping):
            raise BadArray(f"{name}: each entry must be a mapping of names to values")
        pairs = _item(item)
        assert not isinstance(pairs, str)
        entries.append(dict(pairs))
    if not entries:
        raise BadArray(f"{name}: is empty: leave it out")
    return entries


def _combined(axes: Axes, include: list[dict[str, str]], exclude: list[dict[str, str]]) -> Combinations:
    known = dict(axes)
    if axes and size_of(None, axes) > MAX_COMBINED:
        raise BadArray(f"with include or exclude it has at most {MAX_COMBINED:,} combinations: leave values out")
    if axes and size_of(None, axes) * (len(include) + len(exclude)) > MAX_MATCHES:
        raise BadArray(f"the combinations times the entries of include and exclude exceed {MAX_MATCHES:,}")
    for entry in exclude:
        for name, text in entry.items():
            if name not in known:
                raise BadArray(f"exclude: {name}: the matrix has no such axis: there {_axes(known) if known else 'is none'}")
            if text not in known[name]:
                raise BadArray(f"exclude: {name}: {text[:60]!r} is not among its values")
    made = [dict(zip(known, values, strict=True)) for values in product(*known.values())] if axes else []
    rows = [row for row in made if not any(entry.items() <= row.items() for entry in exclude)]
    found = list(rows)
    for entry in include:
        fixed = [(name, text) for name, text in entry.items() if name in known]
        fitting = [row for row in rows if all(row[name] == text for name, text in fixed)]
        if not axes or not fitting:
            found.append(entry)
        for row in fitting if axes else ():
            row.update(entry)
    if not found:
        raise BadArray("exclude: leaves no job: the array has at least one")
    if len(found) > MAX_JOBS:
        raise BadArray(f"makes more than {MAX_JOBS:,} jobs")
    names = tuple(dict.fromkeys([*known, *(name for entry in include for name in entry)]))
    if len(names) > MAX_KEYS:
        raise BadArray(f"must have 1 to {MAX_KEYS} axes")
    return Combinations(names, tuple([tuple([row.get(name, "") for name in names]) for row in found]))


def _item(value: object) -> Item:
    if not isinstance(value, Mapping):
        return _text(value, "each item")
    if not 1 <= len(value) <= MAX_KEYS:
        raise BadArray(f"an item that is a mapping has 1 to {MAX_KEYS} values")
    return tuple([(_key(key), _text(text, f"{key}: each value")) for key, text in value.items()])


def _key(key: object) -> str:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise BadArray(f"{str(key)[:64]!r} is not a valid key: use letters, digits, _ and -, and start with a letter or _")
    return key


def _text(value: object, subject: str) -> str:
    if isinstance(value, os.PathLike):
        value = value.__fspath__()
    if isinstance(value, bool) or not isinstance(value, (str, Real)):
        raise BadArray(f"{subject} must be a string, a number or a path, not {type(value).__name__}")
    value = str(value)
    if "\0" in value:
        raise BadArray(f"{subject}: contains a NUL character")
    return value


def max_parallel_of(value: object) -> int | None:
    """Convert the value of `max_parallel`. Raises BadArray."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_JOBS):
        return value
    raise BadArray(f"must be a number of jobs, 1 to {MAX_JOBS:,}, not {str(value)[:60]}")


def parallel_of(max_parallel: int | None, array: str) -> Parallel | None:
    """Return the limit in the template of an array's jobs."""
    return None if max_parallel is None else Parallel(array, max_parallel)


# -- the jobs of an array --------------------------------------------------------------------------
def size_of(foreach: Foreach | None, matrix: Matrix | None) -> int:
    if isinstance(matrix, Combinations):
        return len(matrix.rows)
    if matrix is not None:
        count = 1
        for _, values in matrix:
            count *= len(values)
        return count
    assert foreach is not None
    return foreach if isinstance(foreach, int) else len(foreach)


def member(name: str, index: int) -> str:
    """Return the id of one job of an array."""
    return f"{name}[{index}]"


def array_of(job: str) -> tuple[str, int]:
    """Return (array, index) of an id such as `resize[12]`; ("", 0) for other ids.

    >>> array_of("resize[12]"), array_of("resize"), array_of("resize[x]")
    (('resize', 12), ('', 0), ('', 0))
    """
    name, bracket, rest = job.rpartition("[")
    number = rest[:-1]
    if not bracket or not rest.endswith("]") or not (number.isascii() and number.isdigit()) or str(int(number[:9])) != number:
        return "", 0
    return name, int(number)


def rows(
    foreach: Foreach | None, matrix: Matrix | None, args: Sequence[str], parents: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield (args, parents) of each job, in order. Without `args`, the item's values are the args.

    >>> args, parents = ("--in=${item}", "$${item}"), ("load[${index}]", "start")
    >>> for row in rows(("a", "b"), None, args, parents):
    ...     print(row)
    (('--in=a', '${item}'), ('load[0]', 'start'))
    (('--in=b', '${item}'), ('load[1]', 'start'))
    """
    arguments = [_filler(text, foreach, matrix) for text in args]
    ids = [_filler(text, foreach, matrix) for text in parents]
    same_parents = tuple(parents) if all(isinstance(fill, str) for fill in ids) else None
    for index, values in enumerate(_values(foreach, matrix)):
        row_args = tuple([fill if isinstance(fill, str) else fill(index, values) for fill in arguments]) if args else _texts(values)
        yield row_args, same_parents or tuple([fill if isinstance(fill, str) else fill(index, values) for fill in ids])


def _values(foreach: Foreach | None, matrix: Matrix | None) -> Iterable[Item]:
    if isinstance(matrix, Combinations):
        return (tuple(zip(matrix.names, values, strict=True)) for values in matrix.rows)
    if matrix is not None:
        names = names_of(matrix)
        return (tuple(zip(names, values, strict=True)) for values in product(*(values for _, values in matrix)))
    assert foreach is not None
    return map(str, range(foreach)) if isinstance(foreach, int) else foreach


def names_of(matrix: Matrix) -> tuple[str, ...]:
    """Return the names that `${matrix.NAME}` may have."""
    return matrix.names if isinstance(matrix, Combinations) else tuple([name for name, _ in matrix])


def _texts(values: Item) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple([text for _, text in values])


def _filler(text: str, foreach: Foreach | None, matrix: Matrix | None) -> str | Callable[[int, Item], str]:
    """Return a function that fills in the placeholders, or the text itself if it has none.

    Raises BadArray.
    """
    if "${" not in text:
        return text
    for placeholder in _PLACEHOLDER.finditer(text):
        _check_placeholder(placeholder, foreach, matrix)
    if not any(placeholder[1] for placeholder in _PLACEHOLDER.finditer(text)):
        return _ESCAPED.sub("${", text)

    def fill(index: int, values: Item) -> str:
        def put(placeholder: re.Match[str]) -> str:
            kind, key = placeholder[1], placeholder[2]
            if kind is None:
                return "${"
            if kind == "index":
                return str(index)
            if key is None:
                assert isinstance(values, str)
                return values
            return dict(values)[key]  # type: ignore[arg-type]  # `_check_placeholder` has found the key

        return _PLACEHOLDER.sub(put, text)

    return fill


def _check_placeholder(placeholder: re.Match[str], foreach: Foreach | None, matrix: Matrix | None) -> None:
    kind, key = placeholder[1], placeholder[2]
    if kind is None or (kind == "index" and key is None):
        return
    if kind == "index":
        raise BadArray(f"{placeholder[0]}: the index has no keys: write ${{index}}")
    if kind == "matrix":
        if matrix is None:
            raise BadArray(f"{placeholder[0]}: the job has no matrix: write ${{item}}")
        if key is None or key not in names_of(matrix):
            raise BadArray(f"{placeholder[0]}: the matrix has no such axis: there {_axes(names_of(matrix))}")
        return
    if matrix is not None:
        raise BadArray(f"{placeholder[0]}: the job has a matrix: write ${{matrix.{names_of(matrix)[0]}}}")
    if isinstance(foreach, int):
        if key is not None:
            raise BadArray(f"{placeholder[0]}: the items are numbers: write ${{item}}")
        return
    assert foreach is not None
    for i, item in enumerate(foreach):
        if key is None and not isinstance(item, str):
            raise BadArray(f"{placeholder[0]}: item {i} is a mapping: write ${{item.{item[0][0]}}}")
        if key is not None and (isinstance(item, str) or key not in dict(item)):
            raise BadArray(f"{placeholder[0]}: item {i} has no value of that name")


def _axes(names: Iterable[str]) -> str:
    placeholders = [f"${{matrix.{name}}}" for name in names]
    return f"is {placeholders[0]}" if len(placeholders) == 1 else f"are {', '.join(placeholders)}"
