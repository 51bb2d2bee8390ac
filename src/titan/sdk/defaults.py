"""Defaults of a pipeline file: `defaults`, `env` and `python` at its root, put into its jobs.

    env: {LANG: C}               # variables of all jobs
    defaults:                    # any key of a job but `id`
      retries: 1
      timeout: 10m

A job's own value wins, and variables of `env` are merged. A default is left out where the job can
not have the key: `timeout` of a service, `python` of a command. Works on the nodes of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from titan.model.drivers import DRIVERS
from titan.model.files import SCRIPT_FOLDER
from titan.sdk.failure_fields import Type
from titan.sdk.field_table import Use
from titan.sdk.fields import is_python_script
from titan.sdk.job import ROW_OF_KEY
from titan.sdk.yaml_nodes import MAX_NODES, Entries, Items, Node, Scalar, Source, kind_of

Defaults = Mapping[str, tuple[int, Node]]
"""Key of a job -> (line, value)."""
_WORK: Final = ("file", "command", "pipeline")
_MANY: Final = ("foreach", "matrix", "expand")
_OF_SERVICES: Final = ("port", "health", "restart", "keep")
_NOT_OF_SERVICES: Final = ("timeout", "hitl_message", "max_wait_seconds")
_OF_PROCESSES: Final = ("stdin", "log_limit")


def defaults_of(source: Source, root: Entries) -> Defaults:
    """Return the defaults of a pipeline. Raises InvalidPipeline."""
    found: dict[str, tuple[int, Node]] = {}
    if "defaults" in root.entries:
        line, node = root.entries["defaults"]
        if not isinstance(node, Entries):
            raise source.fault(line, "defaults", f"must be a mapping of keys of jobs, {{retries: 1}}, not {kind_of(node)}")
        found.update(node.entries)
    if "id" in found:
        raise source.fault(found["id"][0], "defaults.id", "is no default: each job needs an id of its own")
    if "python" in root.entries:
        found.setdefault("python", root.entries["python"])
    if "env" in root.entries:
        line, env = root.entries["env"]
        found["env"] = (line, _merged(env, found["env"][1])) if "env" in found else (line, env)
    jobs = root.entries["jobs"][1]
    size = sum(node.size + 1 for _, node in found.values())
    if isinstance(jobs, Items) and found and size * len(jobs.items) > MAX_NODES:
        line = root.entries["defaults" if "defaults" in root.entries else "env" if "env" in root.entries else "python"][0]
        raise source.fault(line, "defaults", f"would add more than {MAX_NODES:,} values to the jobs: split the pipeline")
    return found


def with_defaults(job: Entries, defaults: Defaults) -> Entries:
    """Return the job with the defaults that it can have."""
    if not defaults:
        return job
    entries = dict(job.entries)
    first = [key for key in ("type", *_WORK) if key in defaults]
    for key in [*first, *(key for key in defaults if key not in first)]:
        line, node = defaults[key]
        if key not in job.entries:
            if _applies(key, node, entries):
                entries[key] = (line, node)
        elif key == "env":
            at, own = job.entries["env"]
            entries["env"] = (at, _merged(node, own))
    return Entries(job.line, entries, job.size)


def _applies(key: str, node: Node, job: Mapping[str, tuple[int, Node]]) -> bool:
    """Return whether a job that lacks the key can have it."""
    type_, use = _text_of(job, "type"), ROW_OF_KEY[key].use
    if type_ == Type.GATE:
        return use is not Use.WORK
    if use is Use.GATE:
        return key == "webhook" and "hitl_message" in job
    for choices in (_WORK, _MANY):
        if key in choices:
            return not any(other in job for other in choices) and not _names(node, job)
    match key:
        case "python":
            return is_python_script(_text_of(job, "file"))
        case "driver":
            driver = DRIVERS.get(_text(node))
            return driver is None or not driver.suffix or _text_of(job, "file").endswith(driver.suffix)
        case "cwd":
            return not {"inputs", "outputs"} & job.keys() and (_text(node) != SCRIPT_FOLDER or "file" in job)
        case "inputs" | "outputs":
            return "cwd" not in job
        case "max_parallel":
            return any(other in job for other in _MANY) and type_ != Type.SERVICE
        case "args":
            return "pipeline" not in job
        case "depends_on" | "on_failure":
            return not _names(node, job)
    if key in _OF_PROCESSES:
        return "file" in job or "command" in job
    return key not in (_NOT_OF_SERVICES if type_ == Type.SERVICE else _OF_SERVICES)


def _names(node: Node, job: Mapping[str, tuple[int, Node]]) -> bool:
    """Return whether a value names the job itself, on which it cannot depend."""
    values = [node]
    if isinstance(node, Items):
        values = node.items
    elif isinstance(node, Entries):
        values = [value for _, value in node.entries.values()]
    return any(_text(value) == _text_of(job, "id") for value in values)


def _merged(first: Node, second: Node) -> Node:
    """Return a mapping with the entries of both, those of the second first. Another value of the
    second is returned as it is, for its reader to refuse."""
    if not isinstance(first, Entries) or not isinstance(second, Entries):
        return second
    return Entries(second.line, {**first.entries, **second.entries}, first.size + second.size)


def _text_of(job: Mapping[str, tuple[int, Node]], key: str) -> str:
    return _text(job[key][1]) if key in job else ""


def _text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) else ""
