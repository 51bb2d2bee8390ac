"""Inputs of a job: the rows of `JobTemplate.inputs`, and the paths of the files of each row.

A row is (path, source, output). The source is one of these:

- the id of a job, in which `${index}` stands for the array position of the job that gets the file;
- `ARRAY[*]`: all jobs of an array or of an expansion. The files keep their names, as in
  `path/ARRAY[0]/out/a.csv`. The path may be "" for the job's folder;
- `ARRAY[#]`: the same jobs, numbered: `path/0`, `path/1` and so on.

If the output is a pattern, its files lie below the path, which may be "" for the job's folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from titan.errors import InvalidGraph
from titan.model.conditions import parse
from titan.model.dag import ALWAYS, JobTemplate
from titan.model.files import StoredFile, nested_problem
from titan.model.patterns import is_pattern, path_of_match, rest_of_match

INDEX = "${index}"
"""Placeholder in the name of an input's source job. In an array it stands for the array position of
the job that gets the input."""
NAMED, NUMBERED = "[*]", "[#]"
"""Ends of a source that stands for all jobs of an array."""

_INDEX_OF = re.compile(r"\[([0-9]+)\]$")


class Giver(NamedTuple):
    """Job that provides files: its id, its template, and the files that it has left."""

    name: str
    template: JobTemplate
    outputs: Sequence[StoredFile] = ()


def giver_of(job: str, source: str) -> str:
    """Return the source job of an input of `job`, with `INDEX` replaced by the job's array
    position."""
    if INDEX not in source:
        return source
    found = _INDEX_OF.search(job)
    return source.replace(INDEX, found[1]) if found is not None else source


def array_of_source(source: str) -> str:
    """Return the array whose jobs a source stands for; "" for the source of a single job."""
    return source[:-3] if source.endswith((NAMED, NUMBERED)) else ""


def is_member(job: str, array: str) -> bool:
    return job.startswith(f"{array}[") and job.endswith("]")


def check_inputs(job: str, template: JobTemplate, parents: Sequence[int], parent: Callable[[int], tuple[str, JobTemplate]]) -> None:
    """Raise InvalidGraph unless each input is an output of the job's parents.

    `parent(position)` returns the id and template of a parent.
    """
    known = dict(parent(p) for p in parents)
    single: list[str] = []
    """Paths of single files."""
    for position, (path, source, name) in enumerate(template.inputs):
        array = array_of_source(source)
        if array:
            givers = [giver for giver in known if is_member(giver, array)]
            if not givers and array in known:  # the jobs of an expansion are added later
                continue
        else:
            givers = [giver_of(job, source)]
        if not givers or givers[0] not in known:
            where = array or givers[0]
            raise InvalidGraph(f"job {job!r}: inputs: {path!r} comes from {where!r}, which the job does not depend on", job)
        may_be_absent = position in template.optional_inputs
        for giver in givers:
            _check_input(job, path or name, (giver, known[giver]), name, may_be_absent=may_be_absent)
            may_fail = template.when == ALWAYS or (template.condition and giver in parse(template.condition).jobs_by_state)
            if may_fail and not may_be_absent:
                fix = f"so {path or name!r} may be missing: write {{from: {giver}.{name}, optional: true}}"
                raise InvalidGraph(f"job {job!r}: inputs: the job runs even if {giver!r} fails, {fix}", job)
            if not array and not path and not is_pattern(dict(known[giver].outputs)[name]):
                raise InvalidGraph(f"job {job!r}: inputs: the output {name!r} of {giver!r} needs a path", job)
        if not array and not is_pattern(dict(known[givers[0]].outputs)[name]):
            single.append(path)
    if len(single) > 1 and (problem := nested_problem(single)):
        raise InvalidGraph(f"job {job!r}: inputs: {problem}", job)


def _check_input(job: str, path: str, giver: tuple[str, JobTemplate], name: str, *, may_be_absent: bool) -> None:
    source, template = giver
    if all(name != output for output, _ in template.outputs):
        there = ", ".join(output for output, _ in template.outputs[:10])
        hint = f"its outputs are {there}" if there else "it has no outputs: add it to the outputs of that job"
        raise InvalidGraph(f"job {job!r}: inputs: {path!r}: job {source!r} has no output {name!r}: {hint}", job)
    if may_be_absent:
        return
    fix = f"so {path!r} may be missing: write {{from: {source}.{name}, optional: true}}"
    if template.on_failure == "continue":
        raise InvalidGraph(f"job {job!r}: inputs: {source!r} has on_failure: continue, {fix}", job)
    if name in template.optional_outputs:
        raise InvalidGraph(f"job {job!r}: inputs: {name!r} is an optional output of {source!r}, {fix}", job)


def files_of(output: str, outputs: Sequence[StoredFile]) -> list[StoredFile]:
    """Return the files of one output of a job: one file, or those that matched its pattern."""
    return [file for file in outputs if (file.of or file.name) == output]


def placed_files(path: str, source: str, output: str, givers: Sequence[Giver]) -> list[StoredFile]:
    """Return the files of one input, by their paths in the job's folder. `givers` are the jobs that
    the source stands for, in order.

    >>> part = JobTemplate(command="x", outputs=(("data", "out/p.txt"),))
    >>> givers = [Giver(f"part[{i}]", part, [StoredFile("data", "0" * 64, 1)]) for i in range(2)]
    >>> [file.name for file in placed_files("", "part[*]", "data", givers)]
    ['part[0]/out/p.txt', 'part[1]/out/p.txt']
    >>> [file.name for file in placed_files("in", "part[#]", "data", givers)]
    ['in/0', 'in/1']
    """
    placed = []
    for number, giver in enumerate(givers):
        declared = dict(giver.template.outputs).get(output, "")
        below = f"{path}/" if path else ""
        for file in files_of(output, giver.outputs):
            if source.endswith(NAMED):
                name = f"{below}{giver.name}/{path_of_match(output, declared, file.name) if file.of else declared}"
            elif file.of:
                numbered = f"{number}/" if source.endswith(NUMBERED) else ""
                name = f"{below}{numbered}{rest_of_match(output, declared, file.name)}"
            else:
                name = f"{path}/{number}" if source.endswith(NUMBERED) else path
            placed.append(StoredFile(name, file.hash, file.size, file.kind))
    return placed
