"""Classes whose fields are a table.

A row defines a field's values, its syntax in a file, and its description. Owns the form of a row,
and the class built from rows. This module does not know the fields of a job, which are the rows of
`titan.sdk.job.Job`.

The following code reads the rows: the constructor, the checks, the keys of pipeline files, the key
of shared templates, and the tables of the docs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Final, Generic, Literal, TypeVar, dataclass_transform

T = TypeVar("T")
Accepted = TypeVar("Accepted")
Stored = TypeVar("Stored")
_ROW: Final = "row"


class BadField(ValueError):
    """A value that a field cannot hold. The text is the problem, to be put after a colon."""


class Field(Generic[Accepted, Stored]):
    """Type of a field that accepts an `Accepted` and stores a `Stored`.

    For annotations only: the attribute is a plain slot.
    """

    def __get__(self, job: object, kind: object = None) -> Stored:
        raise NotImplementedError

    def __set__(self, job: object, value: Accepted) -> None:
        raise NotImplementedError


class Form(Enum):
    """Syntax of a field in a pipeline file. `titan.sdk.pipeline` has a reader for each syntax."""

    TEXT = auto()
    PATH = auto()
    """Path of a file, relative to the pipeline."""
    BOOLEAN = auto()
    INTEGER = auto()
    NUMBER = auto()
    SECONDS = auto()
    SECONDS_OR_NULL = auto()
    MOMENT = auto()
    SIZE = auto()
    """Bytes, or a size such as 4GiB."""
    ANY = auto()
    """A text, a number, or a mapping of them."""
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
    CONDITION = auto()
    CACHE = auto()


class Use(Enum):
    """Jobs that may have a field."""

    WORK = auto()
    """All jobs but gates."""
    ALL = auto()
    GATE = auto()
    """Only gates."""


@dataclass(frozen=True, slots=True)
class Row:
    """Definition of a field."""

    doc: str
    """Description, as a table cell in Markdown."""
    make: Callable[[Any], Any] | None = None
    """Function that converts a given value to the stored one, or raises BadField.

    None: the class checks the value together with other fields.
    """
    default: Any = ...
    """Default value; `...` for a required argument."""
    form: Form | None = None
    """Syntax in a pipeline file; None if the file has no such key."""
    key: str = ""
    """Key in a pipeline file; "" for the name of the field."""
    aliases: tuple[str, ...] = ()
    """Names of the field in other tools, for "did you mean"."""
    use: Use = Use.WORK
    instead: str = ""
    """Field to use instead, where this field does not apply."""
    template: str = ""
    """Field of JobTemplate that receives the value unchanged, unless it is None."""
    own: bool = False
    """True if the template does not depend on the field.

    Jobs that differ in it can share a template.
    """
    planner: bool = False
    """True if the field also applies to the call that adds jobs for `expand` or `pipeline`."""
    words: tuple[str, ...] = ()
    """The accepted words, if there are no other values."""
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
    words: tuple[str, ...] = (),
) -> Any:
    """Define a field of the constructor. The arguments are those of `Row`.

    A default is stored unchanged: `make` never receives it.
    """
    definition = Row(doc, make, default, form, key, aliases, use, instead, template, own, planner, words)
    return field(metadata={_ROW: definition}) if default is ... else field(default=default, metadata={_ROW: definition})


def derived(*, own: bool = False, init: Literal[False] = False) -> Any:
    """Define a field that is computed from others and is not an argument. `own`: see `Row`."""
    return field(init=init, metadata={_ROW: Row("", own=own)})


@dataclass_transform(frozen_default=True, field_specifiers=(row, derived))
def table(kind: type[T]) -> type[T]:
    """Make a frozen dataclass with slots of a class whose fields are rows.

    The class gets these class variables:

    - `ROWS`: the rows of the constructor's arguments, by name;
    - `MADE`: (name, default, make) of the optional arguments that are stored;
    - `values_of`: function that returns the values of an instance in the order of `MADE`;
    - `shape_of`: function that returns all values of an instance that its template depends on.
    """
    made: Any = dataclass(frozen=True, slots=True, repr=False)(kind)
    definitions = made.__dataclass_fields__
    rows = {name: replace(item.metadata[_ROW], name=name) for name, item in definitions.items() if _ROW in item.metadata}
    stored = [item.name for item in fields(made)]
    arguments = {name: row_ for name, row_ in rows.items() if definitions[name].init}
    for name in arguments.keys() - stored:
        if name in made.__dict__:
            # The default of an InitVar would look like a value of every instance.
            delattr(made, name)
    made.ROWS = arguments
    made.MADE = tuple(
        [(name, row_.default, row_.make) for name, row_ in arguments.items() if name in stored and row_.default is not ...]
    )
    made.values_of = attrgetter(*[name for name, *_ in made.MADE])
    made.shape_of = attrgetter(*[name for name in stored if not rows[name].own])
    hints = made.__init__.__annotations__
    hints.update({name: _accepted_type(text) for name, text in hints.items() if isinstance(text, str)})
    made.__doc__ = "\n".join([made.__doc__ or "", *[f"    - `{name}`: {row_.doc}" for name, row_ in arguments.items()], ""])
    return made  # type: ignore[no-any-return]


def _accepted_type(hint: str) -> str:
    """Return the type that the constructor accepts.

    >>> _accepted_type("Field[str | Mapping[str, int], tuple[str, ...]]")
    'str | Mapping[str, int]'
    >>> _accepted_type("InitVar[int | None]"), _accepted_type("int")
    ('int | None', 'int')
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
