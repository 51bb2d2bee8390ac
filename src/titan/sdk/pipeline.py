"""Pipeline files: YAML to a `DAG`, with errors that name file, line and key.

    name: nightly                # required
    project: true                # default: the folder travels as one archive; false: single files
    version: "3"                 # optional text
    deadline: 7200               # optional: seconds until unfinished jobs are cancelled
    agent_run_id: agent-7        # optional: text that groups runs
    python: .venv                # optional: default of `python` for jobs with a .py file
    env: {LANG: C}               # optional: variables of all jobs
    defaults: {retries: 1}       # optional: keys of jobs, see `titan.sdk.defaults`
    params: {epochs: 4}          # optional: values that a run may change, see `titan.sdk.params`
    jobs:                        # required
      - id: fetch
        command: curl -sO "$1"
        args: [https://example.org/data.csv]
      - id: train
        file: train.py
        depends_on: [fetch]

The table `titan.sdk.job.Job` defines the keys of a job, and the docs are generated from it.
`_READERS` has a reader for each syntax of a field. The field itself checks its value.

A number in place of a text must be quoted, because YAML would change `1.10` and `007`. In `args`,
`env`, `foreach` and `matrix`, scalars keep their spelling. Keys at the root that begin with ``x-``
are ignored. A file with several documents, divided by ``---``, holds several pipelines.
`yaml_nodes` reads the YAML.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Mapping, Set
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from titan.errors import CallerError, InvalidGraph, InvalidPipeline
from titan.model.conditions import parse
from titan.model.durations import EXAMPLE, as_seconds
from titan.model.graph import find_cycle
from titan.sdk.arrays import EXCLUDE, INCLUDE, array_of
from titan.sdk.defaults import Defaults, defaults_of, with_defaults
from titan.sdk.failure_fields import Type, type_of
from titan.sdk.field_table import BadField, Form, Use
from titan.sdk.fields import perm_name, problem_of
from titan.sdk.job import DAG, NOT_FOR_A_GATE, ROW_OF_KEY, Job
from titan.sdk.params import Param, declared, filled
from titan.sdk.pipeline_keys import AS_DEFAULTS, IGNORED, JOB_KEYS, JOB_SYNONYMS, ROOT_KEYS, ROOT_ROWS, ROOT_SYNONYMS
from titan.sdk.placeholders import checked, checked_text
from titan.sdk.result_texts import is_left_to_shell, named_results
from titan.sdk.wiring import wired
from titan.sdk.yaml_nodes import Entries, Items, Node, Scalar, Source, kind_of, load_documents, load_nodes, value_of

_MAX_HINTS: Final = 20
"""Faults after which an unknown job is not compared with all ids any more."""
NO_PARAMS: Final[Mapping[str, object]] = MappingProxyType({})


def load_pipeline(path: str | os.PathLike[str], *, params: Mapping[str, object] = NO_PARAMS) -> DAG:
    r"""Return the DAG of a pipeline file of at most 5 MiB.

    `params` are values of parameters that the file declares, by name. They replace the defaults.
    Only the pipeline file is read. The scripts of jobs must exist, but are not opened. Raises
    InvalidPipeline, whose message is ``FILE:LINE: KEY: problem: remedy``.

    >>> import tempfile
    >>> from titan.errors import InvalidPipeline
    >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    ...     _ = file.write("name: hello\njobs:\n  - id: greet\n    comand: echo hello\n")
    ...     file.flush()
    ...     try:
    ...         load_pipeline(file.name)
    ...     except InvalidPipeline as error:
    ...         print(str(error).removeprefix(file.name))
    :4: comand: unknown key: did you mean 'command'?
    """
    source = Source(os.fspath(path))
    # a rerun does not know the values of `params`, so it cannot read the file again
    made_from = "" if source.name == "-" or params else source.name
    return _read_root(source, filled(source, load_nodes(source), params), made_from=made_from)


def load_pipelines(path: str | os.PathLike[str], *, params: Mapping[str, object] = NO_PARAMS) -> list[DAG]:
    """Return the DAGs of a file with one or several pipelines, which ``---`` divides.

    A document gets those values of `params` that it declares. Raises InvalidPipeline.
    """
    source = Source(os.fspath(path))
    roots = load_documents(source)
    if len(roots) == 1:
        return [load_pipeline(path, params=params)]
    return [pipeline_of(source, root, values) for root, values in with_params(source, roots, params)]


def with_params(source: Source, roots: list[Entries], params: Mapping[str, object]) -> list[tuple[Entries, Mapping[str, object]]]:
    """Return each pipeline with those values that it declares. Values that no pipeline declares are
    with the first, which will refuse them. Raises InvalidPipeline."""
    names = [set(declared(source, root)) for root in roots]
    unknown = params.keys() - set().union(*names)
    names[0] |= unknown
    return [(root, {name: params[name] for name in params if name in known}) for root, known in zip(roots, names, strict=True)]


def load_sample(path: str | os.PathLike[str], *, params: Mapping[str, object] = NO_PARAMS) -> DAG:
    """Return the DAG of a pipeline file, to look at. A required parameter without a value gets one
    of its type. Raises InvalidPipeline."""
    source = Source(os.fspath(path))
    return pipeline_of(source, load_nodes(source), params, sample=True)


def load_params(path: str | os.PathLike[str]) -> tuple[Param, ...]:
    """Return the parameters of a file's pipelines, in order. Raises InvalidPipeline."""
    source = Source(os.fspath(path))
    found: dict[str, Param] = {}
    for root in load_documents(source):
        found = {**declared(source, root), **found}
    return tuple(found.values())


def pipeline_of(source: Source, root: Entries, params: Mapping[str, object] = NO_PARAMS, *, sample: bool = False) -> DAG:
    """Return the DAG of a file whose YAML was already read. Raises InvalidPipeline.

    With `sample`, a required parameter without a value gets one of its type.
    """
    return _read_root(source, filled(source, root, params, sample=sample))


def fault_of(source: Source, root: Entries, error: CallerError) -> InvalidPipeline:
    """Return the refusal of a pipeline that was read as a fault, at the line of its job and key."""
    line, node = root.entries["jobs"]
    job = error.job if isinstance(error, InvalidGraph) else ""
    for item in node.items if job and isinstance(node, Items) else ():
        id_ = item.entries["id"][1] if isinstance(item, Entries) and "id" in item.entries else None
        if isinstance(item, Entries) and isinstance(id_, Scalar) and id_.text in (job, array_of(job)[0]):
            if isinstance(error, InvalidGraph) and error.field:
                return _at_its_key(source, item, error)
            line = item.line
    return source.fault(line, "jobs", str(error))


def load_addition(path: str | os.PathLike[str], *, project: bool = True, params: Mapping[str, object] = NO_PARAMS) -> DAG:
    """Return the DAG of a pipeline file whose jobs are added to a run; ``-`` is stdin.

    Its jobs may depend on jobs of the run. With `project=False` each file travels by itself, even
    if the pipeline says `project: true`.
    """
    source = Source(os.fspath(path))
    return _read_root(source, filled(source, load_nodes(source), params), addition=True, in_project=project)


# -- pipelines -------------------------------------------------------------------------------------
def _read_root(source: Source, root: Entries, *, addition: bool = False, in_project: bool = True, made_from: str = "") -> DAG:
    _check_keys(source, root, ROOT_KEYS, ROOT_SYNONYMS)
    for key in ("name", "jobs"):
        with source.part:
            if key not in root.entries:
                raise source.fault(root.line, key, f"is missing: a pipeline needs the key {key}")
    values: dict[str, Any] = {}
    for key, row in ROOT_ROWS.items():
        if key in root.entries and row.form is not None and key not in AS_DEFAULTS:
            with source.part:
                line, node = root.entries[key]
                values[key] = _READERS[row.form](source, key, line, checked_text(source, key, node))
                if row.make is not None and (problem := problem_of(row.make, values[key])):
                    raise source.fault(line, key, problem)
    project = values.pop("project", True) and in_project
    jobs: list[Job] = []
    with source.part:
        jobs = _read_jobs(source, _job_nodes(source, root), project=project, addition=addition)
    source.check()
    return DAG(jobs=jobs, project=source.folder if project else None, source=made_from, **values)


def _job_nodes(source: Source, root: Entries) -> list[Node]:
    """Return the jobs with their defaults."""
    line, node = root.entries["jobs"]
    if not isinstance(node, Items):
        raise source.fault(line, "jobs", f"must be a list of jobs, each '- id: ...', not {kind_of(node)}")
    if not node.items:
        raise source.fault(line, "jobs", "is empty: a pipeline needs at least one job")
    defaults = _checked_defaults(source, root)
    return [with_defaults(job, defaults) if isinstance(job, Entries) else job for job in node.items]


def _checked_defaults(source: Source, root: Entries) -> Defaults:
    """Return the defaults of the jobs, if they are values that a job can have."""
    before = source.faults
    found: list[tuple[str, str, tuple[int, Node]]] = []
    found += [(key, key, root.entries[key]) for key in AS_DEFAULTS if key in root.entries]
    if "defaults" in root.entries and isinstance(node := root.entries["defaults"][1], Entries):
        _check_keys(source, node, JOB_KEYS, JOB_SYNONYMS)
        found += [(key, f"defaults.{key}", entry) for key, entry in node.entries.items() if key in ROW_OF_KEY]
    for key, shown, (line, node) in found:
        with source.part:
            row = ROW_OF_KEY[key]
            assert row.form is not None
            value = _READERS[row.form](source, shown, line, node)
            if row.make is not None and (problem := problem_of(row.make, value)):
                raise source.fault(line, shown, problem)
    with source.part:
        defaults = defaults_of(source, root)
    return {} if source.faults > before else defaults


def _read_jobs(source: Source, nodes: list[Node], *, project: bool, addition: bool) -> list[Job]:
    jobs: list[Job] = []
    read: list[Entries] = []
    """The node of each job."""
    position: dict[str, int] = {}
    faulty: set[str] = set()
    present: dict[str, str] = {}
    for node in nodes:
        with source.part:
            if not isinstance(node, Entries):
                raise source.fault(node.line, "jobs", f"each job must be a mapping, '- id: ...', not {kind_of(node)}")
            id_ = node.entries["id"][1] if "id" in node.entries else None
            faulty.add(id_.text if isinstance(id_, Scalar) else "")
            job = _read_job(source, checked(source, node), present, project=project)
            if job.id in position:
                line, other = node.entries["id"][0], read[position[job.id]].entries["id"][0]
                raise source.fault(line, "id", f"{job.id!r} is already used in line {other}: ids must be unique")
            faulty.discard(job.id)
            position[job.id] = len(jobs)
            jobs.append(job)
            read.append(node)
    parents: list[list[int]] = []
    for job, node in zip(jobs, read, strict=True):
        parents.append([])
        for i, parent in enumerate(job.parents):
            with source.part:
                at = _position_of(parent, position, jobs)
                if at is not None and jobs[at].id == job.id:
                    raise source.fault(_parent_line(node, i), "depends_on", f"job {job.id!r} depends on itself")
                if at is not None:
                    parents[-1].append(at)
                elif not addition and parent.partition("[")[0] not in faulty:
                    raise source.fault(_parent_line(node, i), "depends_on", _unknown(source, parent, position))
        for name in parse(job.condition).jobs if job.condition else ():
            with source.part:
                at = _position_of(name, position, jobs)
                if at is not None:
                    parents[-1] += [at] if jobs[at].id != job.id else []
                elif not addition and name.partition("[")[0] not in faulty:
                    raise source.fault(node.entries["if"][0], "if", _unknown(source, name, position))
        parents[-1] += _result_parents(source, job, node, position, jobs, addition=addition, faulty=faulty)
    if not source.faults:
        _check_wiring(source, jobs, read, position)
    if cycle := find_cycle(parents):
        path = " -> ".join(jobs[i].id for i in [*cycle, cycle[0]])
        line = _parent_line(read[cycle[0]], 0)
        raise source.fault(line, "depends_on", f"the jobs depend on each other in a cycle: {path}")
    return jobs


def _result_parents(
    source: Source, job: Job, node: Entries, position: dict[str, int], jobs: list[Job], *, addition: bool, faulty: Set[str]
) -> list[int]:
    """Return the positions of the jobs whose results the texts of a job name."""
    found = []
    for field, name, placeholder in named_results(job):
        with source.part:
            at = _position_of(name, position, jobs)
            if at is not None and jobs[at].id != job.id:
                found.append(at)
            if at is None and not (addition or name.partition("[")[0] in faulty or is_left_to_shell(job, field, placeholder)):
                line, key = node.entries[field][0] if field in node.entries else node.line, Job.ROWS[field].key or field
                raise source.fault(line, key, f"{placeholder}: {_unknown(source, name, position)}")
    return found


def _unknown(source: Source, job: str, position: Mapping[str, int]) -> str:
    base = job.partition("[")[0]
    near = [base] if base in position else []
    if not near and len(position) <= 10_000 and source.faults < _MAX_HINTS:
        near = difflib.get_close_matches(job, position, 1)
    return f"unknown job {job!r}" + (f": did you mean {near[0]!r}?" if near else ": no job has that id")


def _check_wiring(source: Source, jobs: list[Job], nodes: list[Entries], position: dict[str, int]) -> None:
    """Check the failure handlers, gates and other references between jobs like staging does. An
    error gets the line of the key that caused it."""
    try:
        wired(jobs)
    except InvalidGraph as error:
        raise _at_its_key(source, nodes[position[error.job]], error) from None


def _at_its_key(source: Source, node: Entries, error: InvalidGraph) -> InvalidPipeline:
    """Return the problem of a job as an error at the line of the key that caused it."""
    assert error.field, error
    key = Job.ROWS[error.field].key or error.field
    return source.fault(node.entries[key][0] if key in node.entries else node.line, key, error.problem)


def _position_of(parent: str, position: dict[str, int], jobs: list[Job]) -> int | None:
    """Return the position of the job `parent`, or of the array that it belongs to. None if there is
    neither."""
    if parent in position:
        return position[parent]
    array, _, index = parent.partition("[")
    at = position.get(array)
    if at is None or not jobs[at].is_array:
        return None
    # The index has a placeholder: each job of an array depends on one job of the array `parent`.
    # Staging checks that this job exists.
    if "${" in index:
        return at
    name, number = array_of(parent)
    return at if name == array and number < jobs[at].size else None


def _parent_line(node: Node, index: int) -> int:
    assert isinstance(node, Entries)
    line, parents = node.entries.get("depends_on", (node.line, None))
    if isinstance(parents, Items) and index < len(parents.items):
        return parents.items[index].line
    if isinstance(parents, Scalar) and not index:
        return line
    return next((node.entries[key][0] for key in ("expand", "if") if key in node.entries), node.line)


def _read_job(source: Source, node: Entries, present: dict[str, str], *, project: bool) -> Job:
    """Return a job. `present` caches the problem of each file; "" for none."""
    before = source.faults
    _check_keys(source, node, JOB_KEYS, JOB_SYNONYMS)
    entries = node.entries
    with source.part:
        if "id" not in entries:
            raise source.fault(node.line, "id", "is missing: each job needs an id")
    with source.part:
        is_gate = _check_gate(source, node)
        if not is_gate and "pipeline" not in entries and ("file" in entries) is ("command" in entries):
            both = "file" in entries
            line = entries["command"][0] if both else node.line
            raise source.fault(line, "command", "give exactly one of file and command" + (", not both" if both else ""))
    fields: dict[str, Any] = {}
    for key, (line, value) in entries.items():
        if key not in ROW_OF_KEY:
            continue
        with source.part:
            row = ROW_OF_KEY[key]
            assert row.form is not None
            fields[row.name] = _READERS[row.form](source, key, line, value)
            if row.form is Form.PATH and row.make and (problem := problem_of(row.make, fields[row.name])):
                raise source.fault(line, key, problem)  # before the search for the file beside the pipeline
    with source.part:
        if "file" in fields and not perm_name(fields["file"]):
            fields["file"] = _located(source, entries["file"][0], fields["file"], present, project=project)
    source.check(before)
    if "python" in fields and not project:
        fields["python"] = str(source.folder / fields["python"])
    try:
        return Job(**fields)
    except InvalidGraph as error:
        raise _at_its_key(source, node, error) from None


def _located(source: Source, line: int, file: str, present: dict[str, str], *, project: bool) -> str:
    """Return the path for `Job`: relative to the project, or absolute."""
    path = source.folder / file
    if file not in present:
        present[file] = _file_problem(source.folder, path, project=project)
    if present[file]:
        raise source.fault(line, "file", f"{file!r}: {present[file]}")
    return file if project else str(path)


def _file_problem(folder: Path, path: Path, *, project: bool) -> str:
    if project and not Path(os.path.normpath(path)).is_relative_to(folder):
        return f"is outside of the project {folder}: move the file into it, or set project: false"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"does not exist in {folder}: check the path"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return "is a folder: give the path of a script in it"
    return "" if stat.S_ISREG(mode) else "is not a regular file"


def _check_keys(source: Source, node: Entries, known: tuple[str, ...], synonyms: dict[str, str]) -> None:
    for key, (line, _) in node.entries.items():
        if key in known or (known is ROOT_KEYS and key.startswith(IGNORED)):
            continue
        near = difflib.get_close_matches(key[:40], known, 1)
        suggestion = synonyms.get(key.lower()) or (near[0] if near else "")
        hint = f": did you mean {suggestion!r}?" if suggestion else f": use one of {', '.join(known)}"
        with source.part:
            raise source.fault(line, key[:80] if key.isprintable() and key else repr(key[:80]), f"unknown key{hint}")


def _type_of(source: Source, line: int, node: Node) -> str:
    try:
        return type_of(_as_text(source, "type", line, node))
    except BadField as bad:
        raise source.fault(line, "type", str(bad)) from None


def _check_gate(source: Source, node: Entries) -> bool:
    """Return True for a gate. Check that a gate has no keys that only apply to work, and that other
    jobs have no keys that only apply to gates.

    A job with `hitl_message` may have `webhook` and `max_wait_seconds`, because staging adds a gate
    after the job.
    """
    entries = node.entries
    is_gate = "type" in entries and _type_of(source, *entries["type"]) == Type.GATE
    for key, (line, _) in entries.items():
        row = ROW_OF_KEY.get(key)
        if row is None:
            continue
        with source.part:
            if is_gate and row.use is Use.WORK:
                raise source.fault(line, key, NOT_FOR_A_GATE)
            if not is_gate and row.use is Use.GATE and not (key == "webhook" and "hitl_message" in entries):
                hint = f": use {row.instead}" if row.instead else ""
                raise source.fault(line, key, f"applies only to type: gate{hint}")
    if "max_wait_seconds" in entries and "hitl_message" not in entries:
        raise source.fault(
            entries["max_wait_seconds"][0],
            "max_wait_seconds",
            "applies only with hitl_message: add hitl_message with the question to decide",
        )
    return is_gate


def _as_value(source: Source, key: str, line: int, node: Node) -> object:
    """Return a text, a number or a mapping of them. `Job` checks it."""
    if isinstance(node, Entries):
        return {name: _as_value(source, key, at, value) for name, (at, value) in node.entries.items()}
    if isinstance(node, Items):
        raise source.fault(line, key, "must be a single value or a mapping, not a list")
    value = value_of(node)
    if value is None:
        raise source.fault(line, key, "has no value: write one, or leave the key out")
    return value


def _as_cache(source: Source, key: str, line: int, node: Node) -> object:
    """Return a boolean, or a mapping whose values are texts, numbers or lists. `Job` checks it."""
    if not isinstance(node, Entries):
        return _as_value(source, key, line, node)
    return {
        name: [_as_written(source, key, item) for item in value.items]
        if isinstance(value, Items)
        else _as_written(source, key, value)
        if name == "version"
        else _as_value(source, key, at, value)
        for name, (at, value) in node.entries.items()
    }


def _as_text(source: Source, key: str, line: int, node: Node) -> str:
    if not isinstance(node, Scalar):
        raise source.fault(line, key, f"must be a string, not {kind_of(node)}")
    value = value_of(node)
    if value is None:
        raise source.fault(line, key, "has no value: write a string, or leave the key out")
    if not isinstance(value, str):
        raise source.fault(line, key, f'must be a string, not {kind_of(node)}: quote it, "{node.text[:60]}"')
    return value


def _as_bool(source: Source, key: str, line: int, node: Node) -> bool:
    value = value_of(node) if isinstance(node, Scalar) else None
    if not isinstance(value, bool):
        raise source.fault(line, key, f"must be true or false, not {kind_of(node)}")
    return value


def _as_integer(source: Source, key: str, line: int, node: Node) -> int:
    value = value_of(node) if isinstance(node, Scalar) else None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return 10**9 if value > 0 else -(10**9)  # the check of the limit then reports the error
    if not isinstance(value, int) or isinstance(value, bool):
        raise source.fault(line, key, f"must be an integer, not {kind_of(node)}")
    return value


def _as_seconds_or_null(source: Source, key: str, line: int, node: Node) -> float | None:
    return None if isinstance(node, Scalar) and value_of(node) is None else _as_seconds(source, key, line, node)


def _as_seconds(source: Source, key: str, line: int, node: Node) -> float:
    value = as_seconds(value_of(node)) if isinstance(node, Scalar) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise source.fault(line, key, f"must be {EXAMPLE}, not {kind_of(node)}")
    return float(value)


def _as_moment(source: Source, key: str, line: int, node: Node) -> float:
    """Return seconds since the epoch. A time without a zone is local."""
    value = value_of(node) if isinstance(node, Scalar) else None
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        kind = kind_of(node)
        raise source.fault(line, key, f"must be a time such as 2026-01-31T12:00 or 2026-01-31T12:00+01:00, not {kind}") from None


def _as_capabilities(source: Source, key: str, line: int, node: Node) -> str | list[str]:
    if isinstance(node, Items):
        return [_as_text(source, key, item.line, item) for item in node.items]
    if isinstance(node, Entries):
        raise source.fault(line, key, "must be a capability or a list of them, not a mapping")
    return _as_text(source, key, line, node)


def _as_number(source: Source, key: str, line: int, node: Node) -> float:
    value = value_of(node) if isinstance(node, Scalar) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise source.fault(line, key, f"must be a number, not {kind_of(node)}")
    return float(value)


def _as_size(source: Source, key: str, line: int, node: Node) -> str:
    if not isinstance(node, Scalar) or isinstance(value_of(node), bool) or value_of(node) is None:
        raise source.fault(line, key, f"must be a size in bytes or such as 4GiB, not {kind_of(node)}")
    return node.text


def _as_args(source: Source, key: str, line: int, node: Node) -> str | list[str]:
    if isinstance(node, Items):
        return [_as_written(source, key, item) for item in node.items]
    if isinstance(node, Entries):
        raise source.fault(line, key, "must be a string or a list, not a mapping")
    value = value_of(node)
    if not isinstance(value, str):
        hint = "" if value is None else f": write [{node.text[:60]}]"
        raise source.fault(line, key, f"must be a string or a list, not {kind_of(node)}{hint}")
    return value


def _as_ids(source: Source, key: str, line: int, node: Node) -> list[str]:
    if isinstance(node, Entries) or (isinstance(node, Scalar) and value_of(node) is None):
        raise source.fault(line, key, f"must be a job id or a list of job ids, not {kind_of(node)}")
    if isinstance(node, Items):
        return [_as_text(source, key, item.line, item) for item in node.items]
    text = _as_text(source, key, line, node)
    if any(letter.isspace() for letter in text):
        raise source.fault(
            line, key, f"must be a job id or a list of job ids: write [{', '.join(text.replace(',', ' ').split())[:80]}]"
        )
    return [text]


def _as_secrets(source: Source, key: str, line: int, node: Node) -> list[str]:
    if not isinstance(node, Items):
        raise source.fault(line, key, f"must be a list of names of secrets, [API_TOKEN], not {kind_of(node)}")
    return [_as_text(source, key, item.line, item) for item in node.items]


def _as_env(source: Source, key: str, line: int, node: Node) -> dict[str, str]:
    if not isinstance(node, Entries):
        raise source.fault(line, key, f"must be a mapping of names to values, not {kind_of(node)}")
    return {name: _as_written(source, f"{key}.{name[:80]}", value, at=at) for name, (at, value) in node.entries.items()}


def _as_items(source: Source, key: str, line: int, node: Node) -> int | list[str | dict[str, str]]:
    if isinstance(node, Scalar) and isinstance(value_of(node), int):
        return _as_integer(source, key, line, node)
    if not isinstance(node, Items):
        raise source.fault(line, key, f"must be a list of items, or the number of jobs, not {kind_of(node)}")
    return [
        {name: _as_written(source, f"{key}.{name[:80]}", value, at=at) for name, (at, value) in item.entries.items()}
        if isinstance(item, Entries)
        else _as_written(source, key, item)
        for item in node.items
    ]


def _as_matrix(source: Source, key: str, line: int, node: Node) -> dict[str, Any]:
    if not isinstance(node, Entries):
        raise source.fault(line, key, f"must be a mapping of axes to lists of values, not {kind_of(node)}")
    axes: dict[str, Any] = {}
    for name, (at, values) in node.entries.items():
        if name in (INCLUDE, EXCLUDE):
            axes[name] = _as_items(source, f"{key}.{name}", at, values) if isinstance(values, Items) else None
            continue
        if not isinstance(values, Items):
            raise source.fault(at, f"{key}.{name[:80]}", f"must be a list of values, not {kind_of(values)}")
        axes[name] = [_as_written(source, f"{key}.{name[:80]}", value) for value in values.items]
    return axes


def _as_codes(source: Source, key: str, line: int, node: Node) -> list[int]:
    if not isinstance(node, Items):
        raise source.fault(line, key, f"must be a list of exit codes, [2, 64], not {kind_of(node)}")
    return [_as_integer(source, key, item.line, item) for item in node.items]


def _as_on_failure(source: Source, key: str, line: int, node: Node) -> str | dict[str, str]:
    if isinstance(node, Entries):
        return {name: _as_text(source, f"{key}.{name[:80]}", at, value) for name, (at, value) in node.entries.items()}
    return _as_text(source, key, line, node)


def _as_condition(source: Source, key: str, line: int, node: Node) -> str | bool:
    value = value_of(node) if isinstance(node, Scalar) else None
    if isinstance(value, bool):
        return value
    if not isinstance(node, Scalar) or value is None:
        raise source.fault(line, key, f"must be an expression such as JOB.state == COMPLETED, not {kind_of(node)}")
    return node.text


def _as_limits(source: Source, key: str, line: int, node: Node) -> dict[str, str]:
    if not isinstance(node, Entries):
        raise source.fault(line, key, f"must be a mapping, {{memory: 512MiB, cpus: 1.5, processes: 64}}, not {kind_of(node)}")
    return {name: _as_written(source, f"{key}.{name[:80]}", value, at=at) for name, (at, value) in node.entries.items()}


def _as_files(example: str, source: Source, key: str, line: int, node: Node) -> list[Any] | dict[str, Any]:
    if isinstance(node, Entries):
        return {name: _as_file(source, f"{key}.{name[:80]}", at, value) for name, (at, value) in node.entries.items()}
    if isinstance(node, Items):
        return [_as_file(source, key, item.line, item) for item in node.items]
    raise source.fault(line, key, f"must be a mapping, {example}, or a list, not {kind_of(node)}")


def _as_file(source: Source, key: str, line: int, node: Node) -> str | dict[str, str | bool]:
    """Return a text, or the mapping of a file with options, such as `{path: a, optional: true}`."""
    if not isinstance(node, Entries):
        return _as_text(source, key, line, node)
    return {
        name: (_as_bool if name == "optional" else _as_text)(source, f"{key}.{name[:80]}", at, value)
        for name, (at, value) in node.entries.items()
    }


def _as_written(source: Source, key: str, node: Node, at: int = 0) -> str:
    """Return the text of a scalar with its spelling, such as `1.10` or `007`."""
    if not isinstance(node, Scalar):
        raise source.fault(at or node.line, key, f"must be a string or a number, not {kind_of(node)}")
    if node.plain and value_of(node) is None:
        raise source.fault(at or node.line, key, "has no value: write '' for an empty text")
    return node.text


_READERS: Final[Mapping[Form, Callable[[Source, str, int, Node], Any]]] = {
    Form.TEXT: _as_text,
    Form.PATH: _as_text,
    Form.BOOLEAN: _as_bool,
    Form.INTEGER: _as_integer,
    Form.NUMBER: _as_number,
    Form.SECONDS: _as_seconds,
    Form.SECONDS_OR_NULL: _as_seconds_or_null,
    Form.MOMENT: _as_moment,
    Form.SIZE: _as_size,
    Form.ANY: _as_value,
    Form.TEXTS: _as_capabilities,
    Form.ARGS: _as_args,
    Form.IDS: _as_ids,
    Form.SECRETS: _as_secrets,
    Form.ENV: _as_env,
    Form.ITEMS: _as_items,
    Form.MATRIX: _as_matrix,
    Form.CODES: _as_codes,
    Form.ON_FAILURE: _as_on_failure,
    Form.LIMITS: _as_limits,
    Form.OUTPUTS: partial(_as_files, "{model: out/model.bin}"),
    Form.CONDITION: _as_condition,
    Form.INPUTS: partial(_as_files, "{data/model.bin: train.model}"),
    Form.CACHE: _as_cache,
}
