"""Validation of pipeline files: all problems at once, each at its line."""

from __future__ import annotations

import doctest
import time
from pathlib import Path

import pytest

import titan.sdk.validation
from titan.errors import InvalidPipeline
from titan.sdk.validation import Problem, validate

WRONG = """\
name: 5
zz: 1
params:
  n: 3
  bad: [1]
defaults: {retry: 1, retries: x}
jobs:
  - id: a
    command: x ${params.bad} ${params.m}
    retries: many
    timeout: ${params.q}
    foo: 1
  - id: b
    depends_on: [a, c]
    command: x
  - command: y
  - {id: b, command: z}
  - five
"""
OK = "name: ok\njobs:\n  - {id: a, command: x}\n"


def problems(tmp_path: Path, text: str, **params: object) -> list[tuple[int, str]]:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return [(p.line, p.key) for p in validate(path, params=params).problems]


def test_all_problems_are_reported_in_the_order_of_their_lines(tmp_path: Path) -> None:
    assert problems(tmp_path, WRONG) == [
        (1, "name"),
        (2, "zz"),
        (5, "params.bad"),
        (6, "retry"),
        (6, "defaults.retries"),
        (9, "command"),
        (10, "retries"),
        (11, "timeout"),
        (12, "foo"),
        (14, "depends_on"),
        (16, "id"),
        (17, "id"),
        (18, "jobs"),
    ]


def test_a_single_problem_is_that_of_the_other_commands(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: x\njobs:\n  - id: a\n    comand: x\n    command: y\n")
    (found,) = validate(path).problems
    assert found == Problem(4, "comand", "unknown key: did you mean 'command'?")
    with pytest.raises(InvalidPipeline) as refused:
        titan.sdk.pipeline.load_pipeline(path)
    assert str(refused.value) == str(validate(path))


def test_a_valid_file_names_its_pipelines(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"{OK}---\nname: two\njobs: [{{id: b, command: x, foreach: 3}}]\n")
    found = validate(path)
    assert (found.ok, [(dag.name, dag.size) for dag in found.pipelines]) == (True, [("ok", 1), ("two", 3)])
    assert str(found) == f"{path}: ok is valid, 1 job\n{path}: two is valid, 3 jobs"


def test_each_document_is_checked(tmp_path: Path) -> None:
    assert problems(tmp_path, f"name: one\njobs: []\n---\n{OK}---\nname: three\njobs: [{{id: a}}]\n") == [
        (2, "jobs"),
        (9, "command"),
    ]


def test_a_required_parameter_needs_no_value_but_a_given_one_is_checked(tmp_path: Path) -> None:
    text = "name: x\nparams:\n  n: {type: integer, required: true}\njobs: [{id: a, command: x, retries: '${params.n}'}]\n"
    assert problems(tmp_path, text) == []
    assert problems(tmp_path, text, n=5) == []
    assert problems(tmp_path, text, n="many") == [(3, "params.n")]
    assert problems(tmp_path, text, m=1) == [(2, "params")]


@pytest.mark.parametrize(
    ("jobs", "line", "key", "says"),
    [
        ("  - {id: a, command: x}\n  - id: b\n    file: out/s.sh", 5, "file", "is excluded from the project's archive"),
        ("  - id: a\n    command: 'echo ${service:db}'\n    type: service", 3, "jobs", "does not name a service"),
        (
            "  - {id: a, command: x, foreach: 2}\n  - {id: b, command: x, depends_on: ['a[5]']}",
            4,
            "depends_on",
            "unknown job 'a[5]'",
        ),
        ("  - {id: a, command: x}\n  - {id: b, command: x, inputs: [a.o]}", 4, "inputs", ""),
    ],
)
def test_staging_finds_what_keys_do_not_show(tmp_path: Path, jobs: str, line: int, key: str, says: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/s.sh").touch()
    (tmp_path / ".titanignore").write_text("out\n")
    path = tmp_path / "p.yaml"
    path.write_text(f"name: x\njobs:\n{jobs}\n")
    (found,) = validate(path).problems
    assert (found.line, found.key) == (line, key), found
    assert says in found.problem


@pytest.mark.parametrize("text", ["", "a: [", "name: x\n\tjobs: []\n", "- a\n", "a: b\n---\n- c\n", "\0", "name: !x y\n"])
def test_a_file_without_a_pipeline_has_a_problem(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidPipeline):
            validate(path)


def test_a_fault_of_a_job_does_not_show_again_in_its_dependents(tmp_path: Path) -> None:
    text = "name: x\njobs:\n  - {id: a, command: x, foreach: []}\n  - {id: b, command: x, depends_on: ['a[0]', a]}\n"
    assert problems(tmp_path, text) == [(3, "foreach")]


def test_many_problems_take_little_time(tmp_path: Path) -> None:
    jobs = "".join(f"  - {{id: job-number-{n}, command: x, depends_on: [jbo-number-{n}]}}\n" for n in range(9000))
    path = tmp_path / "p.yaml"
    path.write_text(f"name: x\njobs:\n{jobs}")
    started = time.process_time()
    found = validate(path)
    assert len(found.problems) == 1000
    assert time.process_time() - started < 30
    assert found.problems[0].problem.endswith("did you mean 'job-number-0'?")


def test_nothing_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert problems(tmp_path, OK) == []
    assert list(scratch.glob("*/*")) == []


def test_the_examples_of_docstrings_run() -> None:
    result = doctest.testmod(titan.sdk.validation)
    assert result.attempted > 0 and result.failed == 0
