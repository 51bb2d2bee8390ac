"""YAML of a pipeline file, as nodes with line numbers. Does not know pipelines.

It reads YAML's events instead of objects and interprets them itself. So each value has its line, an
alias is never copied, no tag creates an object, and depth and size have limits. Plain scalars have
the meaning of YAML 1.2: `yes` and `no` are strings, `1.10` is a number.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError

from titan.errors import InvalidPipeline

MAX_BYTES: Final = 5 * 1024 * 1024
MAX_NODES: Final = 500_000
"""Limit of keys and values, each counted as often as aliases repeat it."""
MAX_DEPTH: Final = 32
MAX_FAULTS: Final = 1000
"""Limit of faults that are reported for a file."""


class Source:
    """A pipeline file, and its faults.

    The first fault ends the reading, unless `collect` asks for all. Then a fault ends only the part
    of the file that is read within ``with source.part:``, and `found` has the faults.
    """

    def __init__(self, name: str, *, collect: bool = False) -> None:
        self.name = name
        self.folder = Path(os.path.abspath(name)).parent
        self.text = ""
        self.part = _Part(self)
        self.faults = 0
        """Number of recorded faults, with those that are not listed because their key has one."""
        self.found: dict[tuple[int, str], InvalidPipeline] = {}
        """The first fault of each line and key."""
        self._collects = collect

    def fault(self, line: int, key: str, problem: str) -> InvalidPipeline:
        return InvalidPipeline.of(self.name, line, key, problem)

    def records(self, fault: InvalidPipeline) -> bool:
        """Record a fault if all are wanted. Return whether the reading goes on."""
        if not self._collects or len(self.found) >= MAX_FAULTS:
            return False
        self.faults += 1
        self.found.setdefault((fault.line, fault.key), fault)
        return True

    def check(self, before: int = 0) -> None:
        """Raise a fault if more than `before` were recorded."""
        if self.faults > before:
            raise next(reversed(self.found.values()))

    def read(self) -> str:
        """Return the text of the file, or with ``-`` of stdin. It is read once."""
        if self.text:
            return self.text
        try:
            if self.name == "-":
                return self._decoded(sys.stdin.buffer.read(MAX_BYTES + 1))
            if not stat.S_ISREG(os.stat(self.name).st_mode):
                raise self.fault(1, "file", "is not a regular file: give the path of a pipeline's YAML")
            with open(self.name, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise self.fault(1, "file", "does not exist: check the path") from None
        except (OSError, ValueError) as error:
            raise self.fault(1, "file", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        return self._decoded(raw)

    def _decoded(self, raw: bytes) -> str:
        if len(raw) > MAX_BYTES:
            raise self.fault(1, "file", f"exceeds {MAX_BYTES:,} bytes: submit the jobs from Python, or split the pipeline")
        try:
            self.text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self.fault(line, "file", f"is not UTF-8 (byte 0x{raw[error.start]:02x}): save it as UTF-8") from None
        return self.text


class _Part:
    """Context of a part of a file, which a fault ends. The fault is recorded if all are wanted."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        return isinstance(error, InvalidPipeline) and self._source.records(error)


# -- YAML ------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Scalar:
    line: int
    text: str
    plain: bool
    """True if it is not quoted, so it may be more than a string."""
    size: int = 1


@dataclass(slots=True)
class Items:
    line: int
    items: list[Node] = field(default_factory=list)
    size: int = 1


@dataclass(slots=True)
class Entries:
    line: int
    entries: dict[str, tuple[int, Node]] = field(default_factory=dict)
    """Key -> (line, value)."""
    size: int = 1


Node = Scalar | Items | Entries


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    node: Items | Entries
    anchor: str | None
    key: Scalar | None = None
    merged: list[Entries] = field(default_factory=list)


def load_nodes(source: Source) -> Entries:
    """Return the root mapping of the file's single document. Raises InvalidPipeline."""
    return load_documents(source, several=False)[0]


def load_documents(source: Source, *, several: bool = True) -> list[Entries]:
    """Return the root mapping of each document, at least one; without `several`, exactly one.
    Raises InvalidPipeline."""
    roots: list[Entries] = []
    for line, root in _documents(source, source.read()):
        if isinstance(root, Scalar) and root.plain and not root.text:
            continue
        if not isinstance(root, Entries):
            raise source.fault(root.line, "file", f"must be a mapping with name and jobs, not {kind_of(root)}")
        if roots and not several:
            raise source.fault(
                line, "---", "a second pipeline begins: only `titan submit` takes several: move it into another file"
            )
        roots.append(root)
    if not roots:
        raise source.fault(1, "file", "is empty: a pipeline needs at least name and jobs")
    return roots


def _documents(source: Source, text: str) -> Iterator[tuple[int, Node]]:
    """Yield (first line, root) of each document."""
    stack: list[_Open] = []
    anchors: dict[str, Node | None] = {}
    total = 0
    first = 1
    for event in _events(source, text):
        line = event.start_mark.line + 1
        if isinstance(event, events.DocumentStartEvent):
            anchors, first = {}, line
            continue
        ended: _Open | None = None
        node: Node
        if isinstance(event, events.ScalarEvent):
            plain = event.style is None or event.style == ""
            node = Scalar(line, event.value, _plain_tag(source, event, line, plain=plain))
        elif isinstance(event, (events.SequenceStartEvent, events.MappingStartEvent)):
            _plain_tag(source, event, line, plain=True)
            if len(stack) >= MAX_DEPTH:
                raise source.fault(line, "syntax", f"nested deeper than {MAX_DEPTH} levels: flatten the pipeline")
            opened = Items(line) if isinstance(event, events.SequenceStartEvent) else Entries(line)
            if event.anchor:
                anchors[event.anchor] = None  # until its end is read
            stack.append(_Open(opened, event.anchor))
            continue
        elif isinstance(event, (events.SequenceEndEvent, events.MappingEndEvent)):
            ended = stack.pop()
            node = _closed(ended)
        elif isinstance(event, events.AliasEvent):
            target = anchors.get(event.anchor)
            if target is None:
                known = event.anchor in anchors
                raise source.fault(line, f"*{event.anchor}", "the alias is inside its own anchor" if known else "no such anchor")
            node = target
            total += target.size - 1
        else:
            continue  # start and end of the stream, end of the document
        total += 1
        if total > MAX_NODES:
            raise source.fault(line, "syntax", f"more than {MAX_NODES:,} values, counting what aliases repeat: split the pipeline")
        anchor = ended.anchor if ended else getattr(event, "anchor", None)
        if anchor and not isinstance(event, events.AliasEvent):
            anchors[anchor] = node
        if stack:
            _put(source, stack[-1], node, line)
        else:
            yield first, node


def _put(source: Source, parent: _Open, node: Node, line: int) -> None:
    container = parent.node
    if isinstance(container, Items):
        container.items.append(node)
        container.size += node.size
    elif parent.key is None:
        if not isinstance(node, Scalar):
            raise source.fault(line, "syntax", f"a key must be a word, not {kind_of(node)}")
        if node.text in container.entries:
            raise source.fault(line, node.text, f"duplicate key: line {container.entries[node.text][0]} already has it")
        parent.key = Scalar(line, node.text, node.plain)
    else:
        key, parent.key = parent.key, None
        if key.text == "<<" and key.plain:
            parent.merged += _merged(source, node, line)
        else:
            container.entries[key.text] = (key.line, node)
        container.size += node.size + 1


def _merged(source: Source, node: Node, line: int) -> list[Entries]:
    """Return the mappings that `<<:` merges, one or a list. The first has precedence."""
    nodes = node.items if isinstance(node, Items) else [node]
    mappings = [item for item in nodes if isinstance(item, Entries)]
    if len(mappings) != len(nodes):
        raise source.fault(line, "<<", "must be an alias of a mapping, or a list of such aliases")
    return mappings


def _closed(ended: _Open) -> Node:
    if isinstance(ended.node, Entries):
        for mapping in ended.merged:
            for key, entry in mapping.entries.items():
                ended.node.entries.setdefault(key, entry)
    return ended.node


def _plain_tag(source: Source, event: Any, line: int, *, plain: bool) -> bool:
    """Return True if the scalar is plain and has no tag. !!str is the only accepted tag."""
    tag = event.tag
    if tag is None:
        return plain
    if str(tag) in ("!", "tag:yaml.org,2002:str") and isinstance(event, events.ScalarEvent):
        return False
    raise source.fault(line, str(tag)[:80], "tags are not allowed: write the plain value")


def _events(source: Source, text: str) -> Iterator[Any]:
    parser = YAML(typ="safe", pure=True)
    stream = parser.parse(text)
    while True:
        try:
            event = next(stream, None)
        except MarkedYAMLError as error:
            _raise_syntax(source, error)
        except Exception as error:  # for some invalid texts the parser raises ValueError, IndexError and others
            position = getattr(error, "position", None)
            line = text.count("\n", 0, position) + 1 if isinstance(position, int) else 1
            reason = getattr(error, "reason", None) or f"not valid YAML ({type(error).__name__})"
            raise source.fault(line, "syntax", str(reason)) from None
        if event is None:
            return
        yield event


def _raise_syntax(source: Source, error: MarkedYAMLError) -> NoReturn:
    lines = source.text.split("\n")
    mark = error.problem_mark or error.context_mark
    at = mark.line if mark else 0
    first = error.context_mark.line if error.context_mark else at
    for number in range(max(first, at - 50), min(at + 1, len(lines))):
        if re.match(r" *\t", lines[number]):
            raise source.fault(number + 1, "indentation", "contains a tab: YAML needs spaces") from None
    problem = " ".join(filter(None, (error.context, error.problem))) or "not valid YAML"
    hint = (
        ": quote the value, because it contains ': '" if error.problem and "mapping values are not allowed" in error.problem else ""
    )
    raise source.fault(at + 1, "syntax", " ".join(problem.split())[:300] + hint) from None


# -- values of scalars -----------------------------------------------------------------------------
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


def value_of(node: Scalar) -> str | int | float | bool | None:
    text = node.text
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            # Above every limit. int() refuses thousands of digits.
            return float("-inf" if text[0] == "-" else "inf")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def with_scalars(node: Node, changed: Callable[[Scalar], Node]) -> Node:
    """Return the node with each scalar in it, at any depth, replaced by what `changed` returns."""
    match node:
        case Scalar():
            return changed(node)
        case Items():
            return Items(node.line, [with_scalars(item, changed) for item in node.items], node.size)
        case Entries():
            entries = {key: (line, with_scalars(value, changed)) for key, (line, value) in node.entries.items()}
            return Entries(node.line, entries, node.size)


def kind_of(node: Node) -> str:
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Entries):
        return "a mapping"
    value, text = value_of(node), node.text if len(node.text) <= 60 else node.text[:57] + "..."
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {text}"
    return f"the string {text!r}" if isinstance(value, str) else f"the number {text}"
