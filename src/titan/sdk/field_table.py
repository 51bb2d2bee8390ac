"""Classes whose fields are a table: each row says what a field may hold, how a pipeline file writes
it, and what it is for.

Owns the form of a row, and the class that comes of rows. Knows no field of a job: those are the
rows of `titan.sdk.job.Job`. The constructor, the checks, the keys of pipeline files, the key of
shared templates and the tables of the docs are all read from rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar, dataclass_transform

T = TypeVar("T")
Given = TypeVar("Given")
Kept = TypeVar("Kept")
_ROW: Final = "row"


class BadField(ValueError):
    """A value that a field cannot hold. The text says why, for after a colon."""


class Field(Generic[Given, Kept]):
    """Type of a field that takes a `Given` and keeps a `Kept`. For annotations only: the attribute
    is a plain slot."""

    def __get__(self, job: object, kind: object = None) -> Kept:
        raise NotImplementedError

    def __set__(self, job: object, value: Given) -> None:
        raise NotImplementedError


class Form(Enum):
    """How a pipeline file writes a field. `titan.sdk.pipeline` has a reader for each."""

    TEXT = auto()
    PATH = auto()
    """The path of a file beside the pipeline."""
    BOOLEAN = auto()
    INTEGER = auto()
    NUMBER = auto()
    SECONDS = auto()
    SECONDS_OR_NULL = auto()
    MOMENT = auto()
    SIZE = auto()
    """Bytes, or as 4GiB."""
    ANY = auto()
    """A text, a number or a mapping of such."""
    TEXTS = auto()
    ARGS = auto()
    IDS = auto()
    SECRETS = auto()
    ENV = auto()
    ITEMS = auto()
    MATRIX = auto()
    CODES = auto()
    ON_FAILURE = auto()
    LIMITS = auto()
    OUTPUTS = auto()
    INPUTS = auto()


class Use(Enum):
    """Which jobs may have a field."""

    WORK = auto()
    """Those that run something: no gate."""
    ALL = auto()
    GATE = auto()
    """Gates alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """All there is to know of a field."""

    doc: str
    """A cell of a table in Markdown."""
    make: Callable[[Any], Any] | None = None
    """Returns what is kept of a given value; raises BadField. None: the class looks at it with
    other fields."""
    default: Any = ...
    """`...`: there is none, the argument is required."""
    form: Form | None = None
    """None: a pipeline file has no such key."""
    key: str = ""
    """In a pipeline file; "" for the name of the field."""
    aliases: tuple[str, ...] = ()
    """Its names in other tools, for "did you mean"."""
    use: Use = Use.WORK
    instead: str = ""
    """The field to use where this one cannot be."""
    template: str = ""
    """The field of a JobTemplate that gets the value as it is, unless it is None."""
    own: bool = False
    """Says nothing of the template: jobs that differ in it may share one."""
    planner: bool = False
    """Holds for the call that adds the jobs of an expansion or of a saved pipeline, too."""
    name: str = ""


def row(
    doc: str,
    make: Callable[[Any], Any] | None,
    *,
    default: Any = ...,
    form: Form | None = None,
    key: str = "",
    aliases: tuple[str, ...] = (),
    use: Use = Use.WORK,
    instead: str = "",
    template: str = "",
    own: bool = False,
    planner: bool = False,
) -> Any:
    """A field of the constructor. The arguments are those of `Row`. A default is kept as it is:
    `make` never sees it."""
    it = Row(doc, make, default, form, key, aliases, use, instead, template, own, planner)
    return field(metadata={_ROW: it}) if default is ... else field(default=default, metadata={_ROW: it})


def derived(*, own: bool = False, init: Literal[False] = False) -> Any:
    """A field that is made of others, and is no argument of the constructor. `own`: as in `Row`."""
    return field(init=init, metadata={_ROW: Row("", own=own)})


@dataclass_transform(frozen_default=True, field_specifiers=(row, derived))
def table(kind: type[T]) -> type[T]:
    """Makes a frozen dataclass with slots of a class whose fields are rows, and gives it these
    class variables:

    - `ROWS`: the rows of the constructor's arguments, by name;
    - `MADE`: (name, default, make) of those that are optional and kept;
    - `given_of`: returns the values of an instance in the order of `MADE`;
    - `shape_of`: returns all of its values that its template depends on.
    """
    made: Any = dataclass(frozen=True, slots=True, repr=False)(kind)
    rows = {name: replace(it.metadata[_ROW], name=name) for name, it in made.__dataclass_fields__.items() if _ROW in it.metadata}
    kept = [it.name for it in fields(made)]
    arguments = {name: it for name, it in rows.items() if made.__dataclass_fields__[name].init}
    for name in arguments.keys() - kept:
        if name in made.__dict__:
            # the default of an InitVar, which would look like a value of every instance
            delattr(made, name)
    made.ROWS = arguments
    made.MADE = tuple([(name, it.default, it.make) for name, it in arguments.items() if name in kept and it.default is not ...])
    made.given_of = attrgetter(*[name for name, *_ in made.MADE])
    made.shape_of = attrgetter(*[name for name in kept if not rows[name].own])
    hints = made.__init__.__annotations__
    hints.update({name: _given(text) for name, text in hints.items() if isinstance(text, str)})
    made.__doc__ = "\n".join([made.__doc__ or "", *[f"    - `{name}`: {it.doc}" for name, it in arguments.items()], ""])
    return made  # type: ignore[no-any-return]


def _given(hint: str) -> str:
    """The type that the constructor takes.

    >>> _given("Field[str | Mapping[str, int], tuple[str, ...]]"), _given("InitVar[int | None]"), _given("int")
    ('str | Mapping[str, int]', 'int | None', 'int')
    """
    name, bracket, inner = hint.partition("[")
    if not bracket or name not in ("Field", "InitVar"):
        return hint
    depth = 0
    for at, letter in enumerate(inner):
        depth += (letter == "[") - (letter == "]")
        if depth < 0 or (letter == "," and not depth):
            return inner[:at]
    raise AssertionError(f"{hint!r} has no end")
