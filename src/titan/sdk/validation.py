"""Validation of pipeline files: all faults at once, each with its line. Submits nothing.

A file without a fault is staged too. Staging finds what single keys do not show, such as a script
that `.titanignore` excludes from the project.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from titan.errors import CallerError, InvalidPipeline
from titan.sdk.job import DAG
from titan.sdk.pipeline import NO_PARAMS, fault_of, pipeline_of, with_params
from titan.sdk.staging import stage
from titan.sdk.yaml_nodes import Entries, Source, load_documents


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of a pipeline file. `line` counts from 1."""

    line: int
    key: str
    problem: str


@dataclass(frozen=True, slots=True)
class Validation:
    """The result for one file. `pipelines` are those without a fault."""

    file: str
    pipelines: tuple[DAG, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        """Return a line for each problem, or for each pipeline if there is none.

        >>> dag = DAG("nightly", [])
        >>> print(Validation("p.yaml", (dag,), (Problem(3, "jobs", "is empty"),)))
        p.yaml:3: jobs: is empty
        >>> print(Validation("p.yaml", (dag,), ()))
        p.yaml: nightly is valid, 0 jobs
        """
        lines = [f"{self.file}:{p.line}: {p.key}: {p.problem}" for p in self.problems]
        if not lines:
            lines = [f"{self.file}: {dag.name} is valid, {dag.size:,} job{'s' * (dag.size != 1)}" for dag in self.pipelines]
        return "\n".join(lines)


def validate(path: str | os.PathLike[str], *, params: Mapping[str, object] = NO_PARAMS) -> Validation:
    """Return all problems of a pipeline file, at most 1,000, by their line.

    A parameter without a value gets one of its type. Raises InvalidPipeline only if the file can
    not be read.
    """
    source = Source(os.fspath(path), collect=True)
    source.read()
    dags = []
    with contextlib.suppress(InvalidPipeline), source.part:  # at the limit a fault is not recorded
        for root, values in with_params(source, load_documents(source), params):
            with source.part:
                dags.append(_checked(source, root, values))
    faults = sorted(source.found.values(), key=lambda fault: fault.line)
    return Validation(source.name, tuple(dags), tuple([Problem(fault.line, fault.key, fault.problem) for fault in faults]))


def _checked(source: Source, root: Entries, params: Mapping[str, object]) -> DAG:
    before = source.faults
    dag = pipeline_of(source, root, params, sample=True)
    source.check(before)
    try:
        stage(dag).close()
    except InvalidPipeline:
        raise
    except CallerError as error:
        raise fault_of(source, root, error) from None
    return dag
