"""The graph of a pipeline, as text, DOT and Mermaid. An array is one node."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from titan.sdk.failure_fields import Type
from titan.sdk.job import DAG, Job
from titan.sdk.wiring import handlers_of, wired

WIDTH: Final = 80
_MAX_INDENT: Final = 12
"""Levels of the text that are indented; deeper ones stand below each other."""


class Node(NamedTuple):
    """A job or an array. `about` says what it is, "" for a plain job."""

    id: str
    type: str
    about: str
    parents: tuple[int, ...]
    """Positions of the nodes that it waits for."""
    handles: bool = False
    """It is a failure handler, which runs if a parent fails."""
    description: str = ""


class Graph(NamedTuple):
    name: str
    size: int
    """Number of jobs."""
    nodes: tuple[Node, ...]
    description: str = ""


def graph_of(dag: DAG) -> Graph:
    """Return the graph of a DAG of jobs, with the gates and edges that its fields imply. Raises
    InvalidGraph."""
    handlers = handlers_of(dag.jobs)
    jobs = wired(dag.jobs)
    position = {job.id: i for i, job in enumerate(jobs)}
    nodes = []
    for job in jobs:
        found = [position.get(parent, position.get(parent.partition("[")[0])) for parent in job.parents]
        parents = tuple(dict.fromkeys(i for i in found if i is not None))
        nodes.append(Node(job.id, job.type, _about(job, handles=job.id in handlers), parents, job.id in handlers, job.description))
    return Graph(dag.name, dag.size, tuple(nodes), dag.description)


def _about(job: Job, *, handles: bool) -> str:
    if job.is_array:
        return f"{job.size:,} job{'s' * (job.size != 1)}"
    if job.expand is not None:
        return f"a job for each item of {job.expand}"
    if job.pipeline is not None:
        return f"pipeline {job.pipeline}"
    return "handler" if handles else "" if job.type == Type.RUN else job.type


# -- text ------------------------------------------------------------------------------------------
def as_text(graph: Graph) -> str:
    """Return a line for each node, indented by the longest path to it, and the descriptions.

    >>> nodes = (Node("a", "run", "", ()), Node("b", "run", "3 jobs", (0,)))
    >>> print(as_text(Graph("p", 4, nodes)), end="")
    p: 4 jobs
    a
      b  3 jobs  after a
    """
    depths = _depths(graph.nodes)
    rows = [
        (
            "  " * min(depths[i], _MAX_INDENT) + node.id,
            node.about,
            ("if one fails: " if node.handles else "after ", [graph.nodes[parent].id for parent in node.parents]),
            node.description,
        )
        for i, node in sorted(enumerate(graph.nodes), key=lambda entry: depths[entry[0]])
    ]
    widths = [min(max((len(row[column]) for row in rows), default=0), WIDTH // 2) for column in (0, 1)]
    lines = [f"{graph.name}: {graph.size:,} job{'s' * (graph.size != 1)}"]
    lines += _described(graph.description, "")
    for name, about, (word, parents), description in rows:
        line = f"{name:{widths[0]}}  {about:{widths[1]}}  " if widths[1] else f"{name:{widths[0]}}  "
        lines.append((line + (word + _some(parents, WIDTH - len(line) - len(word)) if parents else "")).rstrip())
        lines += _described(description, " " * (len(name) - len(name.lstrip()) + 2))
    return "\n".join(lines) + "\n"


def _described(text: str, indent: str) -> list[str]:
    """Return the line of a description, cut at the width."""
    line = " ".join(text.split())
    room = WIDTH - len(indent) - 2
    return [f"{indent}# {line if len(line) <= room else line[: room - 3] + '...'}"] if line else []


def _some(names: Sequence[str], room: int) -> str:
    """Return the names, as many as fit into a line but at least one."""
    shown = 1
    while shown < len(names) and len(", ".join(names[: shown + 1])) + len(" and 1000 more") <= room:
        shown += 1
    more = len(names) - shown
    whole = ", ".join(names)
    return whole if len(whole) <= room or not more else f"{', '.join(names[:shown])} and {more:,} more"


def _depths(nodes: Sequence[Node]) -> list[int]:
    """Return the length of the longest path to each node."""
    depths = [0] * len(nodes)
    open_parents = [len(node.parents) for node in nodes]
    children: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for parent in node.parents:
            children[parent].append(i)
    ready = deque(i for i, count in enumerate(open_parents) if not count)
    while ready:
        i = ready.popleft()
        for child in children[i]:
            depths[child] = max(depths[child], depths[i] + 1)
            open_parents[child] -= 1
            if not open_parents[child]:
                ready.append(child)
    return depths


# -- languages of other programs -------------------------------------------------------------------
def as_dot(graph: Graph) -> str:
    """Return the graph in the language of Graphviz."""
    shapes = {Type.GATE: "diamond", Type.SERVICE: "cylinder"}
    lines = [f"digraph {_quoted(graph.name)} {{", "  rankdir=LR;", "  node [shape=box];"]
    for i, node in enumerate(graph.nodes):
        shape = f", shape={shapes[Type(node.type)]}" if node.type in shapes else ""
        lines.append(f"  n{i} [label={_quoted(_label(node, chr(10)))}{shape}];")
    for i, node in enumerate(graph.nodes):
        style = ' [style=dashed, label="if it fails"]' if node.handles else ""
        lines += [f"  n{parent} -> n{i}{style};" for parent in node.parents]
    return "\n".join(lines) + "\n}\n"


def as_mermaid(graph: Graph) -> str:
    """Return the graph in the language of Mermaid."""
    shapes = {Type.GATE: ("{{", "}}"), Type.SERVICE: ("[(", ")]")}
    lines = ["---", f"title: {_quoted(graph.name)}", "---", "flowchart LR"]
    for i, node in enumerate(graph.nodes):
        left, right = shapes.get(Type(node.type), ("[", "]"))
        lines.append(f'  n{i}{left}"{_label(node, "<br>")}"{right}')
    for i, node in enumerate(graph.nodes):
        arrow = "-. if it fails .->" if node.handles else "-->"
        lines += [f"  n{parent} {arrow} n{i}" for parent in node.parents]
    return "\n".join(lines) + "\n"


def _label(node: Node, newline: str) -> str:
    return f"{node.id}{newline}{node.about}" if node.about else node.id


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


DRAWERS: Final[Mapping[str, Callable[[Graph], str]]] = {"text": as_text, "dot": as_dot, "mermaid": as_mermaid}
