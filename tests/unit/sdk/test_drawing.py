"""Graphs of pipelines as text, DOT and Mermaid."""

from __future__ import annotations

import doctest
import json

import pytest

import titan.sdk.drawing
from titan.sdk.drawing import DRAWERS, as_dot, as_mermaid, as_text, graph_of
from titan.sdk.gate import Gate
from titan.sdk.job import DAG, Job

JOBS = [
    Job("fetch", command="x", outputs=["data"]),
    Job("train", command="x", foreach=3, inputs=["fetch.data"], hitl_message="deploy?"),
    Job("db", command="x", type="service"),
    Job("deploy", command="x", parents=["train", "db"], on_failure={"run": "alarm"}),
    Job("alarm", command="x"),
    Job("each", command="x", parents=["fetch"], expand="fetch"),
    Job("nightly", pipeline="nightly", parents=["each"]),
]


def test_the_text_shows_levels_kinds_and_parents() -> None:
    assert (
        as_text(graph_of(DAG("p", JOBS)))
        == """\
p: 10 jobs
fetch
db              service
  train         3 jobs                        after fetch
  each          a job for each item of fetch  after fetch
    train.gate  gate                          after train
    nightly     pipeline nightly              after each
      deploy                                  after train.gate, db
        alarm   handler                       if one fails: deploy
"""
    )


def test_descriptions_stand_below_their_names_and_fit_the_line() -> None:
    jobs = [Job("a", command="x", description="Fetches\n  the data."), Job("b", command="x", parents=["a"], description="y" * 200)]
    lines = as_text(graph_of(DAG("p", jobs, description="Trains a model."))).splitlines()
    assert lines[:4] == ["p: 2 jobs", "# Trains a model.", "a", "  # Fetches the data."]
    assert (lines[4], lines[5][:6], lines[5][-4:], len(lines[5])) == ("  b  after a", "    # ", "y...", 80)


def test_inputs_gates_and_handlers_are_edges() -> None:
    graph = graph_of(DAG("p", JOBS))
    names = [node.id for node in graph.nodes]
    edges = {(names[parent], node.id) for node in graph.nodes for parent in node.parents}
    assert edges == {
        ("fetch", "train"), ("train", "train.gate"), ("train.gate", "deploy"), ("db", "deploy"),
        ("deploy", "alarm"), ("fetch", "each"), ("each", "nightly"),
    }  # fmt: skip


def test_an_element_of_an_array_stands_for_the_array() -> None:
    jobs = [
        Job("a", command="x", foreach=3),
        Job("b", command="x", foreach=3, parents=["a[${index}]"]),
        Job("c", command="x", parents=["a[0]"]),
    ]
    assert [node.parents for node in graph_of(DAG("p", jobs)).nodes] == [(), (0,), (0,)]


def test_parents_that_do_not_fit_into_a_line_are_counted() -> None:
    jobs = [Job(f"a-long-name-{i}", command="x") for i in range(200)]
    text = as_text(graph_of(DAG("p", [*jobs, Job("join", command="x", parents=jobs)])))
    assert text.splitlines()[-1].endswith("and 197 more")
    assert max(map(len, text.splitlines())) <= 80


def test_a_chain_of_many_jobs_is_drawn_without_recursion() -> None:
    jobs = [Job(f"j{i}", command="x", parents=[f"j{i - 1}"] if i else []) for i in range(5000)]
    text = as_text(graph_of(DAG("p", jobs)))
    assert text.count("\n") == 5001 and max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("form", DRAWERS)
def test_hostile_names_stay_in_their_quotes(form: str) -> None:
    dag = DAG('x"]; evil \\ %', [Job("a@b=c,[d]", command="x"), Gate("g", "ok?", ["a@b=c,[d]"])])
    drawn = DRAWERS[form](graph_of(dag))
    assert "a@b=c,[d]" in drawn
    if form != "text":
        assert json.dumps(dag.name) in drawn and drawn.count("evil") == 1


def test_dot_and_mermaid_have_a_shape_for_each_type() -> None:
    graph = graph_of(DAG("p", JOBS))
    dot, mermaid = as_dot(graph), as_mermaid(graph)
    for line in ('n3 [label="db\\nservice", shape=cylinder];', 'n2 [label="train.gate\\ngate", shape=diamond];', "n0 -> n1;"):
        assert f"  {line}\n" in dot
    assert '  n4 -> n5 [style=dashed, label="if it fails"];\n' in dot
    for line in (
        'n1["train<br>3 jobs"]',
        'n2{{"train.gate<br>gate"}}',
        'n3[("db<br>service")]',
        "n0 --> n1",
        "n4 -. if it fails .-> n5",
    ):
        assert f"  {line}\n" in mermaid


def test_the_examples_of_docstrings_run() -> None:
    result = doctest.testmod(titan.sdk.drawing)
    assert result.attempted > 0 and result.failed == 0
