"""Parameters of a pipeline file: `params`, which declares them, and `${params.NAME}` in its texts.

    params:
      epochs: 4                  # short for {default: 4}
      lr: {type: number, default: 0.1, help: Learning rate}
      mode: {choices: [fast, full], default: fast}
      data: {required: true, help: Folder of the data}

`type` is `string`, `integer`, `number` or `boolean`. Without it, the type is that of the default,
else of the first choice, else `string`. A value is inserted as it was written. A text that is a
single placeholder becomes a value of the parameter's type, so `retries: ${params.retries}` is an
integer.

Works on the nodes of the file, before the keys of jobs are read. Does not know jobs.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from titan.model.conditions import BadCondition, with_params
from titan.model.dag import MAX_ARGS_BYTES
from titan.sdk.fields import text_problem
from titan.sdk.yaml_nodes import Entries, Items, Node, Scalar, Source, kind_of, value_of, with_scalars

MAX_PARAMS: Final = 256
MAX_INSERTED: Final = 16 * 1024 * 1024
"""Maximum total length, in characters, of the values inserted into one pipeline."""
TYPES: Final = ("string", "integer", "number", "boolean")
_KEYS: Final = ("type", "default", "help", "choices", "required")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PLACEHOLDER = re.compile(r"(?<!\$)\$\{params\.?([^{}]*)\}")
_CONDITION = "if"
_WHOLE_ARGS = "args"
"""Key whose string is split into words before values are inserted, so a value is never split."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a pipeline file. Values are texts, as they are inserted.

    - `type`: string, integer, number or boolean.
    - `default`: None if the parameter is required.
    - `line`: its line in the file.
    """

    name: str
    type: str
    default: str | None
    help: str
    choices: tuple[str, ...]
    line: int

    @property
    def required(self) -> bool:
        return self.default is None

    @property
    def sample(self) -> str:
        """Return the default, or for a required parameter some value of its type."""
        if self.default is not None:
            return self.default
        return self.choices[0] if self.choices else {"string": self.name, "boolean": "true"}.get(self.type, "1")


# -- declarations ----------------------------------------------------------------------------------
def declared(source: Source, root: Entries) -> dict[str, Param]:
    """Return the parameters that a pipeline declares, by name. Raises InvalidPipeline."""
    if "params" not in root.entries:
        return {}
    line, node = root.entries["params"]
    if not isinstance(node, Entries):
        raise source.fault(line, "params", f"must be a mapping of names to defaults, {{epochs: 4}}, not {kind_of(node)}")
    if len(node.entries) > MAX_PARAMS:
        raise source.fault(line, "params", f"has {len(node.entries):,} parameters; the limit is {MAX_PARAMS}")
    found = {}
    for name, (at, value) in node.entries.items():
        # Keeps the name declared if its fault is only recorded, so its uses are not reported as
        # faults too.
        found[name] = Param(name, "string", "", "", (), at)
        with source.part:
            found[name] = _declaration(source, name, at, value)
    return found


def _declaration(source: Source, name: str, line: int, node: Node) -> Param:
    key = f"params.{name[:64]}"
    if not _NAME.fullmatch(name):
        problem = f"{name[:64]!r} is not a name: use up to 64 letters, digits, _ and -, and start with a letter or _"
        raise source.fault(line, "params", problem)
    if isinstance(node, Scalar):
        default = _scalar(source, key, line, node)
        return _checked(source, Param(name, _type_of(default), default.text, "", (), line))
    if not isinstance(node, Entries):
        raise source.fault(line, key, "must be a default, or a mapping such as {type: number, default: 0.1}, not a list")
    entries = node.entries
    for word, (at, _) in entries.items():
        if word not in _KEYS:
            near = difflib.get_close_matches(word[:40], _KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(_KEYS)}"
            raise source.fault(at, f"{key}.{word[:40]}", f"unknown key: {hint}")
    choices = _choices(source, key, entries)
    first = _scalar(source, f"{key}.default", *entries["default"]) if "default" in entries else None
    required = _required(source, key, entries)
    if required and first is not None:
        raise source.fault(entries["required"][0], key, "is required, so its default is never used: leave one of them out")
    if required is False and first is None:
        raise source.fault(entries["required"][0], key, "is not required, so it needs a default")
    shaped_by = first or (choices[0] if choices else None)
    type_ = _type(source, key, *entries["type"]) if "type" in entries else _type_of(shaped_by) if shaped_by else "string"
    help_ = _text(source, f"{key}.help", *entries["help"]) if "help" in entries else ""
    texts = tuple([choice.text for choice in choices])
    return _checked(source, Param(name, type_, first.text if first else None, help_, texts, line))


def _checked(source: Source, param: Param) -> Param:
    """Return the parameter, if its default and its choices are values of its type."""
    for choice in param.choices:
        if problem := _problem(param, choice, choices=()):
            raise source.fault(param.line, f"params.{param.name}", f"choices: {problem}")
    if param.default is not None and (problem := _problem(param, param.default)):
        raise source.fault(param.line, f"params.{param.name}", f"default: {problem}")
    return param


def _choices(source: Source, key: str, entries: dict[str, tuple[int, Node]]) -> list[Scalar]:
    if "choices" not in entries:
        return []
    line, node = entries["choices"]
    if not isinstance(node, Items) or not node.items:
        raise source.fault(line, f"{key}.choices", "must be a list of at least one value, such as [fast, full]")
    return [_scalar(source, f"{key}.choices", item.line, item) for item in node.items]


def _required(source: Source, key: str, entries: dict[str, tuple[int, Node]]) -> bool | None:
    if "required" not in entries:
        return None
    line, node = entries["required"]
    value = value_of(node) if isinstance(node, Scalar) else None
    if not isinstance(value, bool):
        raise source.fault(line, f"{key}.required", f"must be true or false, not {kind_of(node)}")
    return value


def _type(source: Source, key: str, line: int, node: Node) -> str:
    text = _text(source, f"{key}.type", line, node)
    if text not in TYPES:
        near = difflib.get_close_matches(
            {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}.get(text, text[:40]), TYPES, 1
        )
        hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(TYPES)}"
        raise source.fault(line, f"{key}.type", f"unknown type {text[:40]!r}: {hint}")
    return text


def _text(source: Source, key: str, line: int, node: Node) -> str:
    value = value_of(node) if isinstance(node, Scalar) else None
    if not isinstance(value, str):
        raise source.fault(line, key, f"must be a string, not {kind_of(node)}")
    return value


def _scalar(source: Source, key: str, line: int, node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise source.fault(line, key, f"must be a string, a number or a boolean, not {kind_of(node)}")
    if value_of(node) is None:
        raise source.fault(line, key, "has no value: write one, '' for an empty text, or {required: true}")
    return node


def _type_of(node: Scalar) -> str:
    value = value_of(node)
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else "number" if isinstance(value, float) else "string"


# -- values ----------------------------------------------------------------------------------------
def values_of(
    source: Source, root: Entries, params: Mapping[str, Param], chosen: Mapping[str, object], *, sample: bool = False
) -> dict[str, Scalar]:
    """Return the value of each parameter, as a node. Raises InvalidPipeline.

    `chosen` are the values of this run. With `sample`, a required parameter may be missing.
    """
    line = root.entries["params"][0] if params else root.line
    for name in chosen:
        with source.part:
            if name not in params:
                raise source.fault(line, "params", f"{name[:64]!r} is not declared: {_nearest(name, params)}")
    values = {}
    for name, param in params.items():
        text = param.sample
        if name in chosen:
            with source.part:
                text = _chosen(source, param, chosen[name])
        elif param.required and not sample:
            raise source.fault(param.line, f"params.{name}", f"is required: pass --param {name}=VALUE")
        values[name] = Scalar(param.line, text, plain=param.type != "string")
    return values


def _chosen(source: Source, param: Param, value: object) -> str:
    text = _as_text(value)
    problem = f"must be {_article(param.type)}" if text is None else _problem(param, text)
    if text is None or problem:
        raise source.fault(param.line, f"params.{param.name}", problem)
    return text


def _as_text(value: object) -> str | None:
    """Return a value as it is inserted; None if it is no text, number, boolean or path."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (bytes, Mapping)) or (isinstance(value, Iterable) and not isinstance(value, str)):
        return None
    return str(value)


def _problem(param: Param, text: str, choices: tuple[str, ...] | None = None) -> str:
    """Return the problem with a value; "" if there is none."""
    if problem := text_problem(text):
        return problem
    if len(text) > MAX_ARGS_BYTES:
        return f"exceeds {MAX_ARGS_BYTES:,} characters: pass a file"
    if param.type != "string":
        found = _type_of(Scalar(0, text, plain=True))
        if found != param.type and not (param.type == "number" and found == "integer"):
            return f"must be {_article(param.type)}, not {text[:60]!r}"
    choices = param.choices if choices is None else choices
    if choices and text not in choices:
        near = difflib.get_close_matches(text[:40], choices, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(choices)[:200]}"
        return f"{text[:60]!r} is not among its choices: {hint}"
    return ""


def _article(type_: str) -> str:
    return {"integer": "an integer", "boolean": "true or false"}.get(type_, f"a {type_}")


def _nearest(name: str, params: Mapping[str, Param]) -> str:
    if not params:
        return f"the pipeline has no parameters: add params: {{{name if _NAME.fullmatch(name) else 'NAME'}: DEFAULT}}"
    near = difflib.get_close_matches(name[:64], params, 1)
    return f"did you mean {near[0]!r}?" if near else f"there is {', '.join(params)[:200]}"


# -- placeholders ----------------------------------------------------------------------------------
def filled(source: Source, root: Entries, chosen: Mapping[str, object], *, sample: bool = False) -> Entries:
    """Return the pipeline with the values of its parameters in place of `${params.NAME}`.

    Raises InvalidPipeline for an unknown parameter and for a value of a wrong type.
    """
    params = declared(source, root)
    values = values_of(source, root, params, chosen, sample=sample)
    if "${params" not in source.text:
        return root
    fill = _Filler(source, params, values)
    entries = {key: (line, fill.root(key, node)) for key, (line, node) in root.entries.items()}
    return Entries(root.line, entries, root.size)


class _Filler:
    def __init__(self, source: Source, params: Mapping[str, Param], values: Mapping[str, Scalar]) -> None:
        self._source = source
        self._params = params
        self._values = values
        self._inserted = 0

    def root(self, key: str, node: Node) -> Node:
        if key == "params" or key.startswith("x-"):
            return node
        if key == "jobs" and isinstance(node, Items):
            return Items(node.line, [self.job(item) for item in node.items], node.size)
        return self.job(node) if key == "defaults" else self.node(key, node)

    def job(self, node: Node) -> Node:
        if not isinstance(node, Entries):
            return self.node("jobs", node)
        entries: dict[str, tuple[int, Node]] = {}
        for key, (line, value) in node.entries.items():
            if key == _CONDITION and isinstance(value, Scalar):
                entries[key] = (line, value)
                with self._source.part:
                    entries[key] = (line, self.condition(value))
                continue
            words = self._words(value) if key == _WHOLE_ARGS else value
            entries[key] = (line, self.node(key, words))
        return Entries(node.line, entries, node.size)

    def node(self, key: str, node: Node) -> Node:
        return with_scalars(node, lambda scalar: self.scalar(key, scalar) if "${params" in scalar.text else scalar)

    def scalar(self, key: str, node: Scalar) -> Scalar:
        with self._source.part:
            return self._filled(key, node)
        return node

    def _filled(self, key: str, node: Scalar) -> Scalar:
        whole = _PLACEHOLDER.fullmatch(node.text)
        if whole is not None:
            value = self._value(key, node, whole)
            return Scalar(node.line, value.text, value.plain)
        text = _PLACEHOLDER.sub(lambda found: self._value(key, node, found).text, node.text)
        return Scalar(node.line, text, plain=node.plain and text == node.text)

    def condition(self, node: Scalar) -> Scalar:
        """Return a condition with values as literals: a text stays one text, whatever it holds."""
        if "${params" not in node.text:
            return node

        def insert(placeholder: str) -> tuple[str, bool]:
            found = _PLACEHOLDER.fullmatch(placeholder)
            assert found is not None, placeholder
            value = self._value(_CONDITION, node, found)
            return value.text, not value.plain

        try:
            return Scalar(node.line, with_params(node.text, insert), plain=False)
        except BadCondition as bad:
            raise self._source.fault(node.line, _CONDITION, str(bad)) from None

    def _value(self, key: str, node: Scalar, found: re.Match[str]) -> Scalar:
        name = found[1]
        if name not in self._values:
            raise self._source.fault(node.line, key, f"{found[0][:80]} is not declared: {_nearest(name, self._params)}")
        value = self._values[name]
        self._inserted += len(value.text)
        if self._inserted > MAX_INSERTED:
            raise self._source.fault(node.line, key, f"the values of parameters exceed {MAX_INSERTED:,} characters: pass a file")
        return value

    @staticmethod
    def _words(node: Node) -> Node:
        """Return the words of a string of arguments as a list, if that is possible."""
        if not isinstance(node, Scalar) or "${params" not in node.text or not isinstance(value_of(node), str):
            return node
        try:
            words: list[Node] = [Scalar(node.line, word, plain=False) for word in shlex.split(node.text)]
        except ValueError:
            return node  # the reader of `args` reports it
        return Items(node.line, words, node.size)
