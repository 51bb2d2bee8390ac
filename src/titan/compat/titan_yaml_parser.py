"""Pipeline files of the Titan SDK: `TitanYAMLParser`, and `load_dag` for `TitanClient.submit_yaml`.

Such a file is a pipeline file of Titan with these freedoms:

- `name` defaults to ``titan_agent``. Ids have the prefix ``DAG-`` or not.
- `type` is written in any case. A type that is not known means run.
- `args` is any value, and a text is split at blanks. `requirement` and `depends_on` may be empty.
- Numbers may be quoted, and yes, no, on and off are booleans.
- An unknown key is ignored, with the warning `UnknownKey`.
- A service stays until it is stopped.

`load_dag` accepts all keys of Titan too. `TitanYAMLParser.build_jobs` accepts those of `TitanJob`.
"""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from typing import Any

from titan.compat.job import TitanJob, folder_of, plain_id, plain_parents, split_args
from titan.sdk.job import DAG
from titan.sdk.pipeline import pipeline_of
from titan.sdk.pipeline_keys import JOB_KEYS, ROOT_KEYS
from titan.sdk.yaml_nodes import Entries, Items, Node, Scalar, Source, load_nodes, value_of

NAME = "titan_agent"
_NUMBERS = ("priority", "delay", "port", "max_wait_seconds")
KEYS = (*_NUMBERS, "id", "type", "file", "args", "depends_on", "affinity", "requirement", "hitl_message")
"""Keys of a job that `TitanJob` has."""
_TYPES = ("run", "service", "gate")
_SWITCHES = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class UnknownKey(UserWarning):
    """A key or value of a pipeline file that is ignored."""


class TitanYAMLParser:
    """A pipeline file as jobs for `TitanClient.submit_dag`.

    - `config`: the content of the file.
    - `project_base`: the folder of the file. In project mode it must be uploaded before the jobs
      are submitted: `client.upload_project_folder(parser.project_base, parser.get_project_name())`.

    Raises FileNotFoundError, InvalidPipeline. `TitanClient.submit_yaml` does all of this, and
    accepts all keys of Titan.
    """

    def __init__(self, yaml_file: str) -> None:
        self._source, self._root = _read(yaml_file)
        self.config: dict[str, Any] = _content(self._root)
        self.project_base = str(self._source.folder)

    def get_project_name(self) -> str:
        return str(self.config.get("name") or NAME)

    def is_project_mode(self) -> bool:
        return _is_project(self._root)

    def build_jobs(self) -> list[TitanJob]:
        """Return the jobs. Raises InvalidPipeline, FileNotFoundError."""
        root = as_pipeline(self._source, self._root, shared_cwd=False)
        node = root.entries["jobs"][1] if "jobs" in root.entries else None
        nodes = node.items if isinstance(node, Items) else []
        return [self._job(item) for item in nodes if isinstance(item, Entries)]

    def _job(self, node: Entries) -> TitanJob:
        for key, (line, _) in node.entries.items():
            if key not in KEYS and key != "keep":
                _warn(f"{self._source.name}:{line}: {key}: ignored: submit_yaml and `titan run` accept it")
        found = _content(node)
        for key in ("id", "file"):
            if not found.get(key):
                raise self._source.fault(node.line, key, f"is missing: each job needs the key {key}")
        is_service = found.get("type") == "service"
        if is_service and not found.get("port"):
            raise self._source.fault(node.line, "port", "is missing: a service needs a port")
        file = str(found["file"])
        in_project = self.is_project_mode()
        return TitanJob(
            str(found["id"]),
            f"{self.get_project_name()}.zip/{file}" if in_project else os.path.join(self.project_base, file),
            "SERVICE" if is_service else "TASK",
            args=" ".join(map(str, found.get("args") or ())),
            parents=found.get("depends_on"),
            port=self._number(node, "port", 0),
            is_archive=in_project,
            priority=self._number(node, "priority", 1),
            delay=round(self._number(node, "delay", 0) * 1000),
            affinity=bool(found.get("affinity")),
            requirement=str(found.get("requirement") or "GENERAL"),
            hitl_message=found.get("hitl_message"),
            max_wait_seconds=self._number(node, "max_wait_seconds", 172_800),
        )

    def _number(self, node: Entries, key: str, default: int) -> Any:
        if key not in node.entries:
            return default
        line, value = node.entries[key]
        number = value_of(value) if isinstance(value, Scalar) else None
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise self._source.fault(line, key, "must be a number")
        return number


def load_dag(path: str | os.PathLike[str], *, shared_cwd: bool = False) -> DAG:
    """Return the DAG of a pipeline file of Titan or of the Titan SDK.

    With `shared_cwd`, jobs with a file run where those of the Titan SDK do: see `TitanClient`.
    Raises FileNotFoundError, InvalidPipeline.
    """
    source, root = _read(path)
    return pipeline_of(source, as_pipeline(source, root, shared_cwd=shared_cwd))


def _read(path: str | os.PathLike[str]) -> tuple[Source, Entries]:
    if not os.path.exists(path):
        raise FileNotFoundError(f"pipeline file {os.fspath(path)!r} does not exist: check the path")
    source = Source(os.fspath(path))
    return source, load_nodes(source)


# -- translation -----------------------------------------------------------------------------------
def as_pipeline(source: Source, root: Entries, *, shared_cwd: bool) -> Entries:
    """Return the nodes of the same pipeline as Titan reads them."""
    entries = _known(source, root, ROOT_KEYS)
    for key in ("name", "version", "agent_run_id"):
        if _is_set(entries, key):
            entries[key] = _as_text(*entries[key])
        else:
            entries.pop(key, None)
    if "name" not in entries:
        entries["name"] = (root.line, Scalar(root.line, NAME, plain=False))
    if "project" in entries:
        entries["project"] = _as_switch(*entries["project"])
    line, jobs = entries.get("jobs", (root.line, None))
    if isinstance(jobs, Items):
        in_project = _is_project(root)
        items = [_as_job(source, job, in_project, shared_cwd) if isinstance(job, Entries) else job for job in jobs.items]
        gated = {_id(item) for item in items if isinstance(item, Entries) and "hitl_message" in item.entries}
        for item in items:
            if isinstance(item, Entries) and "depends_on" in item.entries:
                item.entries["depends_on"] = _as_parents(*item.entries["depends_on"], gated)
        entries["jobs"] = (line, Items(jobs.line, items, jobs.size))
    return Entries(root.line, entries, root.size)


def _as_job(source: Source, job: Entries, in_project: bool, shared_cwd: bool) -> Entries:
    entries = _known(source, job, JOB_KEYS)
    for key in ("requirement", "depends_on", "args", "hitl_message", "port", "type"):
        if key in entries and not _is_set(entries, key):
            del entries[key]
    if "id" in entries:
        line, node = _as_text(*entries["id"])
        entries["id"] = (line, Scalar(node.line, plain_id(node.text), plain=False) if isinstance(node, Scalar) else node)
    if "type" in entries:
        entries["type"] = _as_type(source, *entries["type"])
    is_service = "type" in entries and _text(entries["type"][1]) == "service"
    if "port" in entries and not is_service:
        del entries["port"]
    if is_service and "keep" not in entries:
        entries["keep"] = (job.line, Scalar(job.line, "true", plain=True))
    for key in _NUMBERS:
        if key in entries:
            entries[key] = _as_number(*entries[key])
    if "affinity" in entries:
        entries["affinity"] = _as_switch(*entries["affinity"])
    if "args" in entries:
        entries["args"] = _as_args(*entries["args"])
    if shared_cwd and "file" in entries and not {"cwd", "inputs", "outputs"} & entries.keys():
        entries["cwd"] = (job.line, Scalar(job.line, folder_of(in_project=in_project), plain=False))
    return Entries(job.line, entries, job.size)


def _known(source: Source, node: Entries, known: tuple[str, ...]) -> dict[str, tuple[int, Node]]:
    """Return a copy of the entries without unknown keys, with a warning for each of those."""
    for key, (line, _) in node.entries.items():
        if key not in known:
            near = difflib.get_close_matches(key[:40], known, 1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            _warn(f"{source.name}:{line}: {key[:80]}: unknown key, ignored{hint}")
    return {key: entry for key, entry in node.entries.items() if key in known}


def _as_type(source: Source, line: int, node: Node) -> tuple[int, Node]:
    text = _text(node).lower()
    if text not in (*_TYPES, "task"):
        _warn(f"{source.name}:{line}: type: {_text(node)[:80]!r} is not known and means run: use run, service or gate")
    return line, Scalar(line, text if text in _TYPES else "run", plain=False)


def _as_parents(line: int, node: Node, gated: set[str]) -> tuple[int, Node]:
    items = node.items if isinstance(node, Items) else [node]
    if not all(isinstance(item, Scalar) for item in items):
        return line, node
    lines = [item.line for item in items]
    parents = [plain_parents([_text(item)], gated)[0] for item in items]
    return line, Items(line, [Scalar(at, parent, plain=False) for at, parent in zip(lines, parents, strict=True)])


def _as_args(line: int, node: Node) -> tuple[int, Node]:
    if not isinstance(node, Scalar):
        return line, node
    return line, Items(line, [Scalar(line, word, plain=False) for word in split_args(node.text)])


def _as_text(line: int, node: Node) -> tuple[int, Node]:
    return line, Scalar(node.line, node.text, plain=node.plain and value_of(node) is None) if isinstance(node, Scalar) else node


def _as_number(line: int, node: Node) -> tuple[int, Node]:
    return line, Scalar(node.line, node.text.strip(), plain=True) if isinstance(node, Scalar) else node


def _as_switch(line: int, node: Node) -> tuple[int, Node]:
    word = _SWITCHES.get(_text(node).lower())
    return line, Scalar(line, word, plain=True) if word else node


# -- nodes -----------------------------------------------------------------------------------------
def _is_project(root: Entries) -> bool:
    if "project" not in root.entries:
        return True
    node = _as_switch(*root.entries["project"])[1]
    return not (isinstance(node, Scalar) and value_of(node) is False)


def _is_set(entries: dict[str, tuple[int, Node]], key: str) -> bool:
    node = entries[key][1] if key in entries else None
    return node is not None and not (isinstance(node, Scalar) and value_of(node) is None)


def _id(job: Entries) -> str:
    return _text(job.entries["id"][1]) if "id" in job.entries else ""


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _content(node: Node) -> Any:
    """Return the plain value of a node."""
    match node:
        case Entries():
            return {key: _content(value) for key, (_, value) in node.entries.items()}
        case Items():
            return [_content(item) for item in node.items]
        case Scalar():
            return value_of(node)


def _warn(text: str) -> None:
    """Warn at the line of the program that called this package."""
    package, level, frame = os.path.dirname(__file__), 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UnknownKey, stacklevel=level)
