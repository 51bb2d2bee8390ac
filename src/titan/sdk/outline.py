"""A DAG in the form in which it would be submitted, for code that needs only its jobs and
dependencies. No file is read or packed."""

from __future__ import annotations

import posixpath
from pathlib import Path

from titan.model import graph
from titan.model.dag import DagSpec
from titan.sdk.job import DAG, Job
from titan.sdk.staging import _Staging
from titan.sdk.submission import in_order

_NO_HASH = "0" * 64


def outline(dag: DAG) -> tuple[DagSpec, list[tuple[int, ...]]]:
    """Return (spec, parents as positions), every parent before its children. Raises InvalidGraph.

    >>> from titan import DAG, Job
    >>> dag = DAG("two", [Job("b", file="x.py", parents=["a"]), Job("a", file="x.py")])
    >>> spec, parents = outline(dag)
    >>> spec.ids, parents
    (['a', 'b'], [(), (0,)])
    """
    spec = _Outline(dag).spec()
    ordered, parents = in_order(spec, graph.resolve(spec))
    return ordered, list(parents)


class _Outline(_Staging):
    def _hashed(self, job: Job, file: str, field: str = "file") -> str:
        return _NO_HASH

    def _packed(self, project: Path, job: Job) -> str:
        return _NO_HASH

    def _inside(self, project: Path, job: Job, file: str) -> str:
        return posixpath.basename(file)
