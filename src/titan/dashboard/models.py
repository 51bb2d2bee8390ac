"""Answers of the API that are not values of the SDK already. Names are those of `--json`.

Times are in seconds since the epoch. A page has at most 1,000 items; `next` is the cursor of the
next page, null if this is the last.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import msgspec

from titan.model.dag import JobTemplate
from titan.sdk.run_graph import Attempt, GraphPage
from titan.sdk.status import JobStatus, RunSummary


@dataclass(frozen=True, slots=True)
class Session:
    """The user or program that is signed in.

    - `csrf`: text that a page sends as X-CSRF-Token with each change; "" for a token.
    - `master`: address of the master.
    """

    actor: str
    role: str
    csrf: str
    master: str
    version: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run without its jobs. `tally`: number of jobs in each state."""

    run: str
    dag: str
    version: str
    state: str
    count: int
    tally: dict[str, int]
    submitted_at: float
    finished_at: float | None
    schedule: str | None
    scheduled_at: float | None
    deadline_at: float | None
    agent_run_id: str | None
    actor: str | None
    reused: int


@dataclass(frozen=True, slots=True)
class Runs:
    items: list[Run]
    next: str | None


@dataclass(frozen=True, slots=True)
class Jobs:
    """Page of a run's jobs, in the order of the DAG. `total`: number of its jobs."""

    items: list[JobStatus]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with its story and its attempts."""

    run: str
    job: JobStatus
    story: list[str]
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Attempts:
    items: list[Attempt]
    next: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """Job of a graph. `parents`: positions of its parents in the run. `template`: index in
    `templates` of the page."""

    id: str
    parents: list[int]
    template: int


@dataclass(frozen=True, slots=True)
class Template:
    """Program and options that jobs share.

    `kind`: job, gate, handler or service. `fields`: what is set, as in JobTemplate of
    docs/protocol.md; of `env` only the names.
    """

    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    items: list[Node]
    templates: list[Template]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """Number of jobs that a change affected."""

    jobs: int


_RENAMED = {"group": "agent_run_id"}
_RUN_FIELDS = [field.name for field in fields(RunSummary)]


def run_of(summary: RunSummary) -> Run:
    return Run(**{_RENAMED.get(name, name): getattr(summary, name) for name in _RUN_FIELDS})


def cursor(position: int | None) -> str | None:
    return None if position is None else str(position)


def graph_of(page: GraphPage) -> Graph:
    index: dict[int, int] = {}
    templates: list[Template] = []
    nodes = []
    for name, parents, template in zip(page.graph.jobs, page.graph.parents, page.graph.templates, strict=True):
        if id(template) not in index:
            index[id(template)] = len(templates)
            templates.append(template_of(template))
        nodes.append(Node(name, parents, index[id(template)]))
    return Graph(nodes, templates, cursor(page.next), page.total)


_DEFAULT = JobTemplate()
MOST_TEXT = 10_000
"""Characters of one text of a template that an answer shows."""


def template_of(template: JobTemplate) -> Template:
    """Return the fields of a template that differ from the default. Long texts are cut.

    Values of the environment are left out, because they may be secret; their names are there.
    """
    shown = _changed(template, _DEFAULT)
    if template.env:
        shown["env"] = [name for name, _ in template.env]
    return Template(template.kind or "job", shown)


def _changed(struct: msgspec.Struct, default: msgspec.Struct | None = None) -> dict[str, Any]:
    fields_ = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: _plain(value) for name, value in fields_ if default is None or value != getattr(default, name)}


def _plain(value: Any) -> Any:
    """Return a value as JSON data. A text that is cut says so."""
    if isinstance(value, msgspec.Struct):
        return _changed(value)
    if isinstance(value, str) and len(value) > MOST_TEXT:
        return f"{value[:MOST_TEXT]}... ({len(value) - MOST_TEXT:,} more characters)"
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
