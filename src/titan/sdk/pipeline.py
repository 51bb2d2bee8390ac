"""Pipeline files: YAML to a `DAG`, with errors that name file, line and key.

    name: nightly                # required
    project: true                # the default: this folder travels as one archive; false: single files
    version: "3"                 # optional text
    python: .venv                # optional: what runs the .py files of jobs that do not say it themselves
    jobs:                        # required
      - id: fetch                # required, unique
        command: curl -sO "$1"   # or file: a script, relative to this folder, or perm:NAME
        args: [https://example.org/data.csv]
      - id: train
        file: train.py
        args: --epochs 4         # a string is split as a shell does
        depends_on: [fetch]
        requirement: GPU         # priority, delay, affinity, retries, timeout, env, python, driver, type: run

Reads YAML's events, not its objects, and gives them meaning itself: so each value has its line, an alias is never copied out, no
tag makes anything, and depth and size have limits. Plain scalars mean what YAML 1.2 says: `yes` and `no` are strings, `1.10` is
a number. Where text is wanted a number must be quoted, as `1.10` and `007` would else lose what they are; in `args` and `env`
scalars are taken as they are written.

`load_nodes` knows YAML and nothing of pipelines; the rest the other way round.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from ruamel.yaml import YAML, events
from ruamel.yaml.error import MarkedYAMLError

from titan.errors import InvalidGraph, InvalidPipeline
from titan.model.graph import find_cycle
from titan.sdk.job import DAG, Job, dag_problem_of, is_python_script, perm_name, problem_of

MAX_BYTES: Final = 5 * 1024 * 1024
MAX_NODES: Final = 500_000
"""Keys and values, each counted as often as aliases repeat it."""
MAX_DEPTH: Final = 32

ROOT_KEYS: Final = ("name", "project", "version", "python", "jobs")
JOB_KEYS: Final = (
    "id",
    "file",
    "command",
    "type",
    "args",
    "depends_on",
    "requirement",
    "priority",
    "delay",
    "affinity",
    "retries",
    "timeout",
    "env",
    "python",
    "driver",
)
# What other tools call it.
_SYNONYMS: Final = {
    "name": "id",
    "script": "file",
    "path": "file",
    "cmd": "command",
    "run": "command",
    "shell": "command",
    "arguments": "args",
    "parents": "depends_on",
    "needs": "depends_on",
    "after": "depends_on",
    "dependencies": "depends_on",
    "capability": "requirement",
    "requires": "requirement",
    "environment": "env",
    "time_limit": "timeout",
    "interpreter": "python",
    "venv": "python",
    "virtualenv": "python",
}
_ROOT_SYNONYMS: Final = {name: "python" for name, key in _SYNONYMS.items() if key == "python"}


def load_pipeline(path: str | os.PathLike[str]) -> DAG:
    """The DAG of a pipeline file, at most 5 MiB. Looks whether the jobs' files exist, and reads no other file.

    Raises InvalidPipeline, whose message is ``FILE:LINE: KEY: what is wrong and what to do``.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    ...     _ = file.write("name: hello\\njobs:\\n  - id: greet\\n    comand: echo hello\\n")
    ...     file.flush()
    ...     try:
    ...         load_pipeline(file.name)
    ...     except InvalidPipeline as error:
    ...         print(str(error).removeprefix(file.name))
    :4: comand: unknown key: did you mean 'command'?
    """
    source = Source(os.fspath(path))
    return _read_root(source, load_nodes(source))


class Source:
    """A pipeline file, and how its errors begin."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(os.path.abspath(name)).parent
        self.text = ""

    def fault(self, line: int, key: str, problem: str) -> InvalidPipeline:
        return InvalidPipeline(f"{self.name}:{line}: {key}: {problem}")

    def read(self) -> str:
        try:
            if not stat.S_ISREG(os.stat(self.name).st_mode):
                raise self.fault(1, "file", "is no regular file: give the path of a pipeline's YAML")
            with open(self.name, "rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise self.fault(1, "file", "there is no such file") from None
        except (OSError, ValueError) as error:
            raise self.fault(1, "file", f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if len(raw) > MAX_BYTES:
            raise self.fault(1, "file", f"exceeds {MAX_BYTES:,} bytes: submit that many jobs from Python, or split the pipeline")
        try:
            self.text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self.fault(line, "file", f"is not UTF-8 (byte 0x{raw[error.start]:02x}): save it as UTF-8") from None
        return self.text


# -- YAML --------------------------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Scalar:
    line: int
    text: str
    plain: bool
    """Not quoted, so it may be other than a string."""
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
    """Key -> its line, and its value."""
    size: int = 1


Node = Scalar | Items | Entries


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun and not ended."""

    node: Items | Entries
    anchor: str | None
    key: Scalar | None = None
    merged: list[Entries] = field(default_factory=list)


def load_nodes(source: Source) -> Entries:
    """The root mapping of the file's one document."""
    text = source.read()
    stack: list[_Open] = []
    anchors: dict[str, Node | None] = {}
    root: Node | None = None
    total = 0
    for event in _events(source, text):
        line = event.start_mark.line + 1
        if isinstance(event, events.DocumentStartEvent):
            if root is not None:
                raise source.fault(line, "---", "a second document begins: a pipeline is one document")
            continue
        ended: _Open | None = None
        node: Node
        if isinstance(event, events.ScalarEvent):
            plain = event.style is None or event.style == ""
            node = Scalar(line, event.value, _plain_tag(source, event, line, plain=plain))
        elif isinstance(event, (events.SequenceStartEvent, events.MappingStartEvent)):
            _plain_tag(source, event, line, plain=True)
            if len(stack) >= MAX_DEPTH:
                raise source.fault(line, "syntax", f"nested deeper than {MAX_DEPTH}: a pipeline is flat")
            opened = Items(line) if isinstance(event, events.SequenceStartEvent) else Entries(line)
            if event.anchor:
                anchors[event.anchor] = None  # until it ends
            stack.append(_Open(opened, event.anchor))
            continue
        elif isinstance(event, (events.SequenceEndEvent, events.MappingEndEvent)):
            ended = stack.pop()
            node = _closed(ended)
        elif isinstance(event, events.AliasEvent):
            target = anchors.get(event.anchor)
            if target is None:
                known = event.anchor in anchors
                raise source.fault(line, f"*{event.anchor}", "an alias inside of what it stands for" if known else "no such anchor")
            node = target
            total += target.size - 1
        else:
            continue  # begin and end of the stream, end of the document
        total += 1
        if total > MAX_NODES:
            raise source.fault(line, "syntax", f"more than {MAX_NODES:,} values, counting what aliases repeat: split the pipeline")
        anchor = ended.anchor if ended else getattr(event, "anchor", None)
        if anchor and not isinstance(event, events.AliasEvent):
            anchors[anchor] = node
        if stack:
            _put(source, stack[-1], node, line)
        else:
            root = node
    if root is None or (isinstance(root, Scalar) and root.plain and not root.text):
        raise source.fault(1, "file", "is empty: a pipeline has at least name and jobs")
    if not isinstance(root, Entries):
        raise source.fault(root.line, "file", f"must be a mapping with name and jobs, not {_kind(root)}")
    return root


def _put(source: Source, parent: _Open, node: Node, line: int) -> None:
    into = parent.node
    if isinstance(into, Items):
        into.items.append(node)
        into.size += node.size
    elif parent.key is None:
        if not isinstance(node, Scalar):
            raise source.fault(line, "syntax", f"a key must be a word, not {_kind(node)}")
        if node.text in into.entries:
            raise source.fault(line, node.text, f"duplicate key: it is in line {into.entries[node.text][0]} already")
        parent.key = Scalar(line, node.text, node.plain)
    else:
        key, parent.key = parent.key, None
        if key.text == "<<" and key.plain:
            parent.merged += _merged(source, node, line)
        else:
            into.entries[key.text] = (key.line, node)
        into.size += node.size + 1


def _merged(source: Source, node: Node, line: int) -> list[Entries]:
    """What `<<:` brings in: one mapping or a list of them, of which the first wins."""
    found = node.items if isinstance(node, Items) else [node]
    mappings = [item for item in found if isinstance(item, Entries)]
    if len(mappings) != len(found):
        raise source.fault(line, "<<", "must be an alias of a mapping, or a list of such")
    return mappings


def _closed(ended: _Open) -> Node:
    if isinstance(ended.node, Entries):
        for mapping in ended.merged:
            for key, entry in mapping.entries.items():
                ended.node.entries.setdefault(key, entry)
    return ended.node


def _plain_tag(source: Source, event: Any, line: int, *, plain: bool) -> bool:
    """Whether the scalar is open to interpretation. Of all tags only !!str means something here."""
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
        except Exception as error:  # for some bad texts it raises ValueError, IndexError and others than its own
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
            raise source.fault(number + 1, "indentation", "holds a tab: YAML wants spaces") from None
    problem = " ".join(filter(None, (error.context, error.problem))) or "not valid YAML"
    hint = ": quote the value, as it holds ': '" if error.problem and "mapping values are not allowed" in error.problem else ""
    raise source.fault(at + 1, "syntax", " ".join(problem.split())[:300] + hint) from None


# -- what a scalar is ---------------------------------------------------------------------------------------------------
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


def _value(node: Scalar) -> str | int | float | bool | None:
    text = node.text
    if not node.plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        if len(text) > 40:
            return float("-inf" if text[0] == "-" else "inf")  # over every limit; int() refuses thousands of digits
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _kind(node: Node) -> str:
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Entries):
        return "a mapping"
    value, text = _value(node), node.text if len(node.text) <= 60 else node.text[:57] + "..."
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {text}"
    return f"the string {text!r}" if isinstance(value, str) else f"the number {text}"


# -- pipelines ---------------------------------------------------------------------------------------------------------
def _read_root(source: Source, root: Entries) -> DAG:
    _check_keys(source, root, ROOT_KEYS, _ROOT_SYNONYMS)
    for key in ("name", "jobs"):
        if key not in root.entries:
            raise source.fault(root.line, key, "is missing: a pipeline needs it")
    texts = {}
    for key in ("name", "version"):
        if key in root.entries:
            line, node = root.entries[key]
            texts[key] = _as_text(source, key, line, node)
            if problem := dag_problem_of(key, texts[key]):
                raise source.fault(line, key, problem)
    project = True
    if "project" in root.entries:
        line, node = root.entries["project"]
        project = _as_bool(source, "project", line, node)
    python = None
    if "python" in root.entries:
        line, node = root.entries["python"]
        python = _as_text(source, "python", line, node)
        if problem := problem_of("python", python):
            raise source.fault(line, "python", problem)
    line, node = root.entries["jobs"]
    if not isinstance(node, Items):
        raise source.fault(line, "jobs", f"must be a list of jobs, each '- id: ...', not {_kind(node)}")
    if not node.items:
        raise source.fault(line, "jobs", "is empty: a pipeline has at least one job")
    jobs = _read_jobs(source, node, python, project=project)
    return DAG(texts["name"], jobs, version=texts.get("version", ""), project=source.folder if project else None)


def _read_jobs(source: Source, nodes: Items, python: str | None, *, project: bool) -> list[Job]:
    jobs: list[Job] = []
    position: dict[str, int] = {}
    lines: list[int] = []
    present: dict[str, str] = {}
    for node in nodes.items:
        if not isinstance(node, Entries):
            raise source.fault(node.line, "jobs", f"each job must be a mapping, '- id: ...', not {_kind(node)}")
        job = _read_job(source, node, present, python, project=project)
        if job.id in position:
            line = node.entries["id"][0]
            raise source.fault(line, "id", f"{job.id!r} is used twice, first in line {lines[position[job.id]]}: ids must be unique")
        position[job.id] = len(jobs)
        jobs.append(job)
        lines.append(node.entries["id"][0])
    parents: list[list[int]] = []
    for job, node in zip(jobs, nodes.items, strict=True):
        parents.append([])
        for i, parent in enumerate(job.parents):
            if parent not in position:
                near = difflib.get_close_matches(parent, position, 1) if len(position) <= 10_000 else []
                hint = f": did you mean {near[0]!r}?" if near else ": no job has that id"
                raise source.fault(_parent_line(node, i), "depends_on", f"unknown job {parent!r}{hint}")
            if parent == job.id:
                raise source.fault(_parent_line(node, i), "depends_on", f"job {job.id!r} depends on itself")
            parents[-1].append(position[parent])
    if cycle := find_cycle(parents):
        path = " -> ".join(jobs[i].id for i in [*cycle, cycle[0]])
        line = _parent_line(nodes.items[cycle[0]], 0)
        raise source.fault(line, "depends_on", f"the jobs depend on each other in a cycle: {path}")
    return jobs


def _parent_line(node: Node, index: int) -> int:
    assert isinstance(node, Entries)
    listed = node.entries["depends_on"][1]
    assert isinstance(listed, Items)
    return listed.items[index].line


def _read_job(source: Source, node: Entries, present: dict[str, str], python: str | None, *, project: bool) -> Job:
    """`present` remembers what the look at each file said: "" or the problem. `python` is the pipeline's."""
    _check_keys(source, node, JOB_KEYS, _SYNONYMS)
    entries = node.entries
    if "id" not in entries:
        raise source.fault(node.line, "id", "is missing: each job needs one")
    if ("file" in entries) is ("command" in entries):
        both = "file" in entries
        line = entries["command"][0] if both else node.line
        raise source.fault(line, "command", "give exactly one of file and command" + (", not both" if both else ""))
    fields: dict[str, Any] = {}
    for key, (line, value) in entries.items():
        if key == "type":
            _check_type(source, line, value)
            continue
        converted = _CONVERT[key](source, key, line, value)
        field_name = "parents" if key == "depends_on" else key
        if not (key == "args" and isinstance(converted, str)) and (problem := problem_of(field_name, converted)):
            raise source.fault(line, key, problem)
        fields[field_name] = converted
    if "file" in fields and not perm_name(fields["file"]):
        fields["file"] = _located(source, entries["file"][0], fields["file"], present, project=project)
    if python is not None and "python" not in fields and is_python_script(fields.get("file")):
        fields["python"] = python
    if "python" in fields and not project:
        fields["python"] = str(source.folder / fields["python"])
    try:
        return Job(**fields)
    except InvalidGraph as error:  # what only the whole job shows, such as args that cannot be split
        key, _, problem = str(error).removeprefix(f"job {fields['id']!r}: ").partition(": ")
        raise source.fault(entries[key][0] if key in entries else node.line, key, problem) from None


def _located(source: Source, line: int, file: str, present: dict[str, str], *, project: bool) -> str:
    """The path that `Job` gets: relative to the project, or absolute."""
    path = source.folder / file
    if file not in present:
        present[file] = _file_problem(source.folder, path, project=project)
    if present[file]:
        raise source.fault(line, "file", f"{file!r}: {present[file]}")
    return file if project else str(path)


def _file_problem(folder: Path, path: Path, *, project: bool) -> str:
    if project and not Path(os.path.normpath(path)).is_relative_to(folder):
        return f"lies outside the project, which is {folder}: move it in, or set project: false"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"there is no such file in {folder}"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return "is a folder: give the script in it"
    return "" if stat.S_ISREG(mode) else "is no regular file"


def _check_keys(source: Source, node: Entries, known: tuple[str, ...], synonyms: dict[str, str]) -> None:
    for key, (line, _) in node.entries.items():
        if key not in known:
            near = difflib.get_close_matches(key[:40], known, 1)
            meant = synonyms.get(key.lower()) or (near[0] if near else "")
            hint = f": did you mean {meant!r}?" if meant else f": the keys here are {', '.join(known)}"
            raise source.fault(line, key[:80] if key.isprintable() and key else repr(key[:80]), f"unknown key{hint}")


def _check_type(source: Source, line: int, node: Node) -> None:
    text = _as_text(source, "type", line, node)
    if text == "service":
        raise source.fault(line, "type", "service is not supported yet: this version has only run, which is the default")
    if text != "run":
        raise source.fault(line, "type", f"unknown type {text[:80]!r}: this version has only run, which is the default")


def _as_text(source: Source, key: str, line: int, node: Node) -> str:
    if not isinstance(node, Scalar):
        raise source.fault(line, key, f"must be a string, not {_kind(node)}")
    value = _value(node)
    if value is None:
        raise source.fault(line, key, "has no value: write a string, or leave the key out")
    if not isinstance(value, str):
        raise source.fault(line, key, f'must be a string, not {_kind(node)}: quote it, "{node.text[:60]}"')
    return value


def _as_bool(source: Source, key: str, line: int, node: Node) -> bool:
    value = _value(node) if isinstance(node, Scalar) else None
    if not isinstance(value, bool):
        raise source.fault(line, key, f"must be true or false, not {_kind(node)}")
    return value


def _as_integer(source: Source, key: str, line: int, node: Node) -> int:
    value = _value(node) if isinstance(node, Scalar) else None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return 10**9 if value > 0 else -(10**9)  # let the limit speak
    if not isinstance(value, int) or isinstance(value, bool):
        raise source.fault(line, key, f"must be an integer, not {_kind(node)}")
    return value


def _as_seconds(source: Source, key: str, line: int, node: Node) -> float | None:
    value = _value(node) if isinstance(node, Scalar) else None
    if value is None and isinstance(node, Scalar) and key == "timeout":
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise source.fault(line, key, f"must be a number of seconds, not {_kind(node)}")
    return float(value)


def _as_args(source: Source, key: str, line: int, node: Node) -> str | list[str]:
    if isinstance(node, Items):
        return [_as_written(source, key, item) for item in node.items]
    if isinstance(node, Entries):
        raise source.fault(line, key, "must be a string or a list, not a mapping")
    value = _value(node)
    if not isinstance(value, str):
        hint = "" if value is None else f": write [{node.text[:60]}]"
        raise source.fault(line, key, f"must be a string or a list, not {_kind(node)}{hint}")
    return value


def _as_ids(source: Source, key: str, line: int, node: Node) -> list[str]:
    if not isinstance(node, Items):
        hint = f": write [{node.text[:60]}]" if isinstance(node, Scalar) and _value(node) is not None else ""
        raise source.fault(line, key, f"must be a list of job ids, not {_kind(node)}{hint}")
    return [_as_text(source, key, item.line, item) for item in node.items]


def _as_env(source: Source, key: str, line: int, node: Node) -> dict[str, str]:
    if not isinstance(node, Entries):
        raise source.fault(line, key, f"must be a mapping of names to values, not {_kind(node)}")
    return {name: _as_written(source, f"{key}.{name[:80]}", value, at=at) for name, (at, value) in node.entries.items()}


def _as_written(source: Source, key: str, node: Node, at: int = 0) -> str:
    """The text of any scalar: `1.10` and `007` stay as they are."""
    if not isinstance(node, Scalar):
        raise source.fault(at or node.line, key, f"must be a string or a number, not {_kind(node)}")
    if node.plain and _value(node) is None:
        raise source.fault(at or node.line, key, "has no value: write '' for an empty one")
    return node.text


_CONVERT: dict[str, Callable[[Source, str, int, Node], Any]] = {
    "id": _as_text,
    "file": _as_text,
    "command": _as_text,
    "args": _as_args,
    "depends_on": _as_ids,
    "requirement": _as_text,
    "priority": _as_integer,
    "delay": _as_seconds,
    "affinity": _as_bool,
    "retries": _as_integer,
    "timeout": _as_seconds,
    "env": _as_env,
    "python": _as_text,
    "driver": _as_text,
}
