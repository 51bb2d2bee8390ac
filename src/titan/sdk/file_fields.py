"""Fields `outputs` and `inputs` of a job: conversion, and the search for an input's job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any, NamedTuple

from titan.model.files import MAX_FILES, name_problem, nested_problem, path_problem
from titan.model.job_inputs import INDEX
from titan.model.patterns import is_pattern, pattern_problem
from titan.sdk.field_table import BadField


class Output(NamedTuple):
    """Output of a job, for the `inputs` of another job.

    Job("use", ..., inputs={"in/model.bin": train.output("model")})
    """

    job: str
    name: str
    optional: bool = False
    """True: the job that gets the file runs without it if it is absent."""


class LeftPath(NamedTuple):
    """Output that a job declares. `path` may be a pattern, see `titan.model.patterns`."""

    name: str
    path: str
    optional: bool = False


class Input(NamedTuple):
    """Input of a job.

    `path` is "" for the path of the output. `job` is "" if `output` is JOB.OUTPUT, to be resolved
    among the jobs of the DAG.
    """

    path: str
    job: str
    output: str
    optional: bool = False


def outputs_of(value: object) -> tuple[LeftPath, ...]:
    """Return the outputs of a mapping, or of a list of paths. Raises BadField.

    >>> [(o.name, o.path) for o in outputs_of({"model": "out/model.bin"})]
    [('model', 'out/model.bin')]
    >>> outputs_of([{"path": "log.txt", "optional": True}])
    (LeftPath(name='log.txt', path='log.txt', optional=True),)
    """
    outputs = []
    for name, item in _pairs(value, "paths"):
        path, optional = _options(item, "path")
        text = _text(path)
        outputs.append(LeftPath(text if name is item else _text(name), text, optional))
    for output in outputs:
        if problem := name_problem(output.name) or path_problem(output.path):
            raise BadField(problem)
        if is_pattern(output.path) and (problem := pattern_problem(output.path)):
            raise BadField(problem)
    names = [output.name for output in outputs]
    if len(set(names)) < len(names):
        raise BadField(f"{next(n for i, n in enumerate(names) if n in names[:i])!r} is listed twice")
    return tuple(outputs)


def inputs_of(value: object) -> tuple[Input, ...]:
    """Convert a mapping of paths to outputs, or a list of outputs. Raises BadField.

    An output is JOB.NAME or `Job.output(...)`.
    """
    inputs = []
    for path, item in _pairs(value, "outputs", single=True):
        source, optional = _options(item, "from")
        target = _text(path) if path is not None else ""
        if path is not None and (problem := path_problem(target)):
            raise BadField(problem)
        if isinstance(source, Output):
            inputs.append(Input(target, source.job, source.name, optional or source.optional))
            continue
        name = _text(source)
        if "." not in name.strip("."):
            raise BadField(f"{name[:200]!r} must be JOB.OUTPUT, such as train.model")
        inputs.append(Input(target, "", name, optional))
    if problem := nested_problem([item.path for item in inputs if item.path]):
        raise BadField(problem)
    return tuple(inputs)


def _options(item: object, key: str) -> tuple[object, bool]:
    """Return the text of an item and whether it is optional. The item is the text itself, or a
    mapping with `key` and `optional`."""
    if not isinstance(item, Mapping):
        return item, False
    optional = item.get("optional", False)
    if key not in item or not isinstance(optional, bool) or not set(item) <= {key, "optional"}:
        raise BadField(f"{dict(item)!r}"[:200] + f" must have {key}, and may have optional: true or false")
    return item[key], optional


def resolve_input(declared: Input, outputs: Mapping[str, Mapping[str, str]]) -> Input:
    """Return the input with its job and output. Raises BadField.

    `outputs` maps each job or array to the paths of its outputs by name.
    """
    candidates = []
    if declared.job:
        candidates = [(declared.job, declared.output)] if declared.output in outputs.get(array_or_job(declared.job), ()) else []
    else:
        dots = [at for at, letter in enumerate(declared.output) if letter == "."]
        for at in dots:
            job, name = declared.output[:at], declared.output[at + 1 :]
            if name in outputs.get(array_or_job(job), ()):
                candidates.append((job, name))
    shown = f"{declared.job}.{declared.output}" if declared.job else declared.output
    if len(candidates) > 1:
        raise BadField(
            f"{shown!r} may mean {candidates[0][1]!r} of {candidates[0][0]!r}, or {candidates[1][1]!r} of {candidates[1][0]!r}: "
            "rename one of them"
        )
    if not candidates:
        raise BadField(f"{shown!r} is not an output of a job of this DAG{_hint(declared, outputs)}")
    return declared._replace(job=candidates[0][0], output=candidates[0][1])


def _hint(declared: Input, outputs: Mapping[str, Mapping[str, str]]) -> str:
    dots = [at for at, letter in enumerate(declared.output) if letter == "."]
    job = declared.job or next((name for at in dots if array_or_job(name := declared.output[:at]) in outputs), "")
    if not job or array_or_job(job) not in outputs:
        names = [f"{job}.{name}" for job, names in list(outputs.items())[:20] for name in names][:5]
        return f": there are {', '.join(names)}" if names else ": no job has outputs"
    known = ", ".join(list(outputs[array_or_job(job)])[:10])
    return f": job {job!r} has {known}" if known else f": job {job!r} has no outputs"


def array_or_job(job: str) -> str:
    """Return the array to which the job belongs, or the job itself."""
    return job.partition("[")[0] if job.endswith("]") else job


def _pairs(value: object, kind: str, *, single: bool = False) -> list[tuple[Any, Any]]:
    """Return the items of a mapping or list as pairs.

    An item of a list is paired with itself, or with None if `single`.
    """
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, Output, LeftPath)):
        pairs = [(None if single else item, item) for item in value]
    else:
        raise BadField(f"must be a mapping, or a list of {kind}, not {value!r}"[:200])
    if len(pairs) > MAX_FILES:
        raise BadField(f"has {len(pairs)} files; the limit is {MAX_FILES}: use a folder")
    return pairs


def _text(value: object) -> str:
    if isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str):
        raise BadField(f"{value!r} must be a string"[:200])
    if "\0" in value:
        raise BadField("contains a NUL character")
    if "${" in value.replace(INDEX, ""):
        raise BadField(f"{value[:200]!r}: the only placeholder allowed here is ${{index}}, in the name of the job")
    return value
