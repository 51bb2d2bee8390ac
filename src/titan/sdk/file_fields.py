"""`outputs` and `inputs` of a job: what may be given, what is kept of it, and whose output an input
is once all jobs are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any, NamedTuple

from titan.model.files import INDEX, MAX_FILES, name_problem, nested_problem, path_problem
from titan.sdk.field_table import BadField


class Output(NamedTuple):
    """An output of a job, as another takes it: `Job("use", ..., inputs={"in/model.bin":
    train.output("model")})`."""

    job: str
    name: str


class Input(NamedTuple):
    """`path` "": that of the output. `job` "": `output` is JOB.OUTPUT, to be looked up among the
    jobs of the DAG."""

    path: str
    job: str
    output: str


def outputs_of(value: object) -> tuple[tuple[str, str], ...]:
    """(name, path) of a mapping, or of a list of paths. Raises BadField.

    >>> outputs_of({"model": "out/model.bin"}), outputs_of(["log.txt"])
    ((('model', 'out/model.bin'),), (('log.txt', 'log.txt'),))
    """
    pairs = [(_text(name), _text(path)) for name, path in _pairs(value, "paths")]
    for name, path in pairs:
        if problem := name_problem(name) or path_problem(path):
            raise BadField(problem)
    if len({name for name, _ in pairs}) < len(pairs):
        raise BadField(f"{next(n for i, (n, _) in enumerate(pairs) if n in [m for m, _ in pairs[:i]])!r} is there twice")
    return tuple(pairs)


def inputs_of(value: object) -> tuple[Input, ...]:
    """Of a mapping of paths to outputs, or of a list of outputs. An output is JOB.NAME or
    `Job.output(...)`. Raises BadField."""
    found = []
    for path, source in _pairs(value, "outputs", single=True):
        where = _text(path) if path is not None else ""
        if path is not None and (problem := path_problem(where)):
            raise BadField(problem)
        if isinstance(source, Output):
            found.append(Input(where, source.job, source.name))
            continue
        name = _text(source)
        if "." not in name.strip("."):
            raise BadField(f"{name[:200]!r} must be JOB.OUTPUT, as train.model")
        found.append(Input(where, "", name))
    if problem := nested_problem([one.path for one in found if one.path]):
        raise BadField(problem)
    return tuple(found)


def resolve_input(received: Input, outputs: Mapping[str, Mapping[str, str]]) -> Input:
    """With path, job and output. `outputs`: of each job, or array, path by name. Raises BadField."""
    fits = []
    if received.job:
        fits = [(received.job, received.output)] if received.output in outputs.get(_base(received.job), ()) else []
    else:
        dots = [at for at, letter in enumerate(received.output) if letter == "."]
        for at in dots:
            job, name = received.output[:at], received.output[at + 1 :]
            if name in outputs.get(_base(job), ()):
                fits.append((job, name))
    shown = f"{received.job}.{received.output}" if received.job else received.output
    if len(fits) > 1:
        raise BadField(f"{shown!r} may be {fits[0][1]!r} of {fits[0][0]!r}, or {fits[1][1]!r} of {fits[1][0]!r}: rename one")
    if not fits:
        raise BadField(f"{shown!r} is no output of a job here{_hint(received, outputs)}")
    job, name = fits[0]
    return Input(received.path or outputs[_base(job)][name], job, name)


def _hint(received: Input, outputs: Mapping[str, Mapping[str, str]]) -> str:
    job = received.job or next(
        (received.output[:at] for at, c in enumerate(received.output) if c == "." and _base(received.output[:at]) in outputs), ""
    )
    if not job or _base(job) not in outputs:
        names = [f"{job}.{name}" for job, names in list(outputs.items())[:20] for name in names][:5]
        return f": there is {', '.join(names)}" if names else ": no job has outputs"
    there = ", ".join(list(outputs[_base(job)])[:10])
    return f": job {job!r} has {there}" if there else f": job {job!r} has none"


def _base(job: str) -> str:
    """The array that it is of, or the job itself."""
    return job.partition("[")[0] if job.endswith("]") else job


def _pairs(value: object, what: str, *, single: bool = False) -> list[tuple[Any, Any]]:
    """Of a mapping; of a list each item with itself, or with None if `single`."""
    if isinstance(value, Mapping):
        pairs = list(value.items())
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes, Output)):
        pairs = [(None if single else item, item) for item in value]
    else:
        raise BadField(f"must be a mapping, or a list of {what}, not {value!r}"[:200])
    if len(pairs) > MAX_FILES:
        raise BadField(f"{len(pairs)} of them; the limit is {MAX_FILES}: use a folder")
    return pairs


def _text(value: object) -> str:
    if isinstance(value, PathLike):
        value = fspath(value)
    if not isinstance(value, str):
        raise BadField(f"{value!r} must be a string"[:200])
    if "\0" in value:
        raise BadField("holds a NUL character")
    if "${" in value.replace(INDEX, ""):
        raise BadField(f"{value[:200]!r}: of what differs between the jobs of an array only ${{index}} may stand here, in the job")
    return value
