"""Job arrays: one specification, many jobs."""

from __future__ import annotations

import doctest
import time
from pathlib import Path

import pytest

import titan.sdk.arrays
from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk import staging
from titan.sdk.arrays import array_of, foreach_of, rows
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def table(*jobs: Job) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return id -> (args, parents)."""
    spec = stage(DAG("d", jobs)).spec
    return {name: (args, parents) for name, args, parents in zip(spec.ids, spec.args, spec.parents, strict=True)}


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(titan.sdk.arrays).failed == 0


def test_an_array_has_one_job_for_each_item_and_its_dependents_wait_for_all() -> None:
    found = table(
        Job("start", command="true"),
        Job("part", command="true", foreach=["a b", 7, Path("x/y")], args=["--in", "${item}", "${index}"], parents=["start"]),
        Job("tidy", command="true", foreach=3, parents=["part[${index}]"]),
        Job("join", command="true", parents=["part", "start"]),
    )
    assert found == {
        "start": ((), ()),
        "part[0]": (("--in", "a b", "0"), ("start",)),
        "part[1]": (("--in", "7", "1"), ("start",)),
        "part[2]": (("--in", "x/y", "2"), ("start",)),
        "tidy[0]": (("0",), ("part[0]",)),
        "tidy[1]": (("1",), ("part[1]",)),
        "tidy[2]": (("2",), ("part[2]",)),
        "join": ((), ("part[0]", "part[1]", "part[2]", "start")),
    }


def test_all_jobs_of_an_array_are_one_template() -> None:
    spec = stage(DAG("d", [Job("part", command='echo "$1"', foreach=100_000)])).spec
    assert len(spec.ids) == 100_000 and len(spec.templates) == 1


def test_a_matrix_and_items_that_are_mappings() -> None:
    found = table(
        Job("train", command="true", matrix={"lr": [0.1, 0.01], "depth": [3]}),
        Job("test", command="true", matrix={"lr": [0.1, 0.01], "depth": [3]}, args="--lr=${matrix.lr} ${matrix.depth}"),
        Job("send", command="true", foreach=[{"to": "a", "n": 1}, {"n": 2, "to": "b"}], args=["${item.to}x${item.n}"]),
    )
    assert [args for args, _ in found.values()] == [
        ("0.1", "3"), ("0.01", "3"), ("--lr=0.1", "3"), ("--lr=0.01", "3"), ("ax1",), ("bx2",),
    ]  # fmt: skip


def test_text_that_is_no_placeholder_stays() -> None:
    assert table(Job("a", command="true", args=["${item}", "$HOME"]))["a"][0] == ("${item}", "$HOME"), "no array, no places"
    found = table(Job("a", command="true", foreach=1, args=["$${item}", "${HOME}", "$$", "${item"]))
    assert found["a[0]"][0] == ("${item}", "${HOME}", "$$", "${item")


def test_a_member_can_be_a_parent_by_its_id() -> None:
    assert table(Job("a", command="true", foreach=2), Job("b", command="true", parents=["a[1]"]))["b"][1] == ("a[1]",)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        ({"foreach": []}, "foreach: is empty: an array has at least one job"),
        ({"foreach": 0}, "foreach: must be 1 to 1,000,000 jobs, not 0"),
        ({"foreach": 1_000_001}, "foreach: must be 1 to 1,000,000 jobs"),
        ({"foreach": "abc"}, "foreach: must be a list of items, or the number of jobs"),
        ({"foreach": True}, "foreach: must be a list of items"),
        ({"foreach": [None]}, "foreach: each item must be a string, a number or a path, not NoneType"),
        ({"foreach": [True]}, "foreach: each item must be a string, a number or a path, not bool"),
        ({"foreach": ["a\0"]}, "foreach: each item: contains a NUL character"),
        ({"foreach": [{}]}, "foreach: an item that is a mapping has 1 to 64 values"),
        ({"foreach": [{"a b": 1}]}, "foreach: 'a b' is not a valid key"),
        ({"foreach": 2, "matrix": {"a": [1]}}, "matrix: give one of foreach and matrix, not both"),
        ({"matrix": {}}, "matrix: must have 1 to 64 axes"),
        ({"matrix": {"a": []}}, "matrix: a: is empty: an axis has at least one value"),
        ({"matrix": {"a": "b"}}, "matrix: a: must be a list of values"),
        ({"matrix": {"a": range(1001), "b": range(1000)}}, "matrix: makes more than 1,000,000 jobs"),
        ({"matrix": [1]}, "matrix: must be a mapping of axes to lists of values"),
        ({"foreach": ["x"], "args": ["${item.a}"]}, "args: ${item.a}: item 0 has no value of that name"),
        ({"foreach": [{"b": 1}], "args": ["${item}"]}, "args: ${item}: item 0 is a mapping: write ${item.b}"),
        ({"foreach": [{"b": 1}, {"c": 1}], "args": ["${item.b}"]}, "args: ${item.b}: item 1 has no value of that name"),
        ({"foreach": 3, "args": ["${item.b}"]}, "args: ${item.b}: the items are numbers: write ${item}"),
        ({"foreach": 3, "args": ["${matrix.b}"]}, "args: ${matrix.b}: the job has no matrix: write ${item}"),
        ({"foreach": 3, "args": ["${index.b}"]}, "args: ${index.b}: the index has no keys: write ${index}"),
        ({"matrix": {"a": [1]}, "args": ["${item}"]}, "args: ${item}: the job has a matrix: write ${matrix.a}"),
        ({"matrix": {"a": [1], "c": [1]}, "args": ["${matrix.b}"]}, "no such axis: there are ${matrix.a}, ${matrix.c}"),
        ({"foreach": ["a/b"], "parents": ["x${item}"]}, "parents: 'xa/b' is not a job id"),
        ({"foreach": [Path("x")], "args": ["${item}\0"]}, "args: contains a NUL character"),
        ({"id": "i" * 126, "foreach": 1}, "the last job of the array, is malformed"),
    ],
)
def test_an_invalid_array_is_refused_with_its_problem(job: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job(**{"id": "a", "command": "true", **job})  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_faults_that_only_the_whole_graph_shows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    array = Job("a", command="true", foreach=2)
    for jobs, says in (
        ([array, Job("a", command="true")], "job id 'a' is used twice: for an array, and for a job"),
        ([array, Job("a[1]", command="true")], "job id 'a[1]' is used twice"),
        ([array, Job("b", command="true", foreach=3, parents=["a[${index}]"])], "depends on 'a[2]', which is no job"),
        ([Job("a", command="true", foreach=2, parents=["a"])], "depends on itself"),
    ):
        with pytest.raises(InvalidGraph) as caught:
            stage(DAG("d", jobs))
        assert says in str(caught.value)
    monkeypatch.setattr(staging, "MAX_EDGES", 5)
    with pytest.raises(InvalidGraph, match="more than 5 dependencies: add a job between the two arrays"):
        stage(DAG("d", [array, Job("b", command="true", foreach=3, parents=["a"])]))


def test_members_of_arrays_are_recognised_by_their_names() -> None:
    for name in ("a[]", "a[-1]", "a[01]", "a[1", "a1]", "a[1]x", "a[" + "9" * 30 + "]", "a[\u0661]"):
        assert array_of(name) == ("", 0)
    assert array_of("a[0][12]") == ("a[0]", 12)


def test_a_hundred_thousand_rows_take_no_time() -> None:
    items = foreach_of([f"item-{i}" for i in range(100_000)])
    began = time.perf_counter()
    assert sum(1 for _ in rows(items, None, ("--in=${item}",), ())) == 100_000
    assert time.perf_counter() - began < 5.0


# -- in YAML ---------------------------------------------------------------------------------------
def loaded(tmp_path: Path, text: str) -> DAG:
    path = tmp_path / "p.yaml"
    path.write_text(f"name: x\nproject: false\njobs:\n{text}")
    return load_pipeline(path)


def test_arrays_are_written_in_pipeline_files(tmp_path: Path) -> None:
    dag = loaded(
        tmp_path,
        "  - {id: get, command: 'true', foreach: [1.10, no, {url: u, to: 007}], args: ['${index}']}\n"
        "  - {id: many, command: 'true', foreach: 3, args: '--n ${item}', depends_on: ['get[${index}]']}\n"
        "  - {id: grid, command: 'true', matrix: {a: [x, 1], b: [2.0]}, depends_on: ['many[2]']}\n"
        "  - {id: end, command: 'true', depends_on: [grid]}\n",
    )
    assert dag.jobs[0].foreach == ("1.10", "no", (("url", "u"), ("to", "007")))
    assert dag.jobs[2].matrix == (("a", ("x", "1")), ("b", ("2.0",)))
    assert dag.size == 3 + 3 + 2 + 1
    spec = stage(dag).spec
    assert spec.ids == ["get[0]", "get[1]", "get[2]", "many[0]", "many[1]", "many[2]", "grid[0]", "grid[1]", "end"]
    assert spec.args[3:8] == [("--n", "0"), ("--n", "1"), ("--n", "2"), ("x", "2.0"), ("1", "2.0")]
    assert spec.parents[3:] == [("get[0]",), ("get[1]",), ("get[2]",), ("many[2]",), ("many[2]",), ("grid[0]", "grid[1]")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "  - id: a\n    command: x\n    foreach: abc\n",
            "6: foreach: must be a list of items, or the number of jobs, not the",
        ),
        ("  - id: a\n    command: x\n    foreach: 1.5\n", "6: foreach: must be a list of items"),
        ("  - id: a\n    command: x\n    foreach: [1]\n    matrix: {a: [1]}\n", "7: matrix: give one of foreach and matrix"),
        ("  - id: a\n    command: x\n    foreach: [[1]]\n", "6: foreach: must be a string or a number, not a list"),
        ("  - id: a\n    command: x\n    foreach: [~]\n", "6: foreach: has no value"),
        ("  - id: a\n    command: x\n    matrix: [1]\n", "6: matrix: must be a mapping of axes to lists"),
        ("  - id: a\n    command: x\n    matrix:\n      b: 1\n", "7: matrix.b: must be a list of values, not the number 1"),
        ("  - id: a\n    command: x\n    foreach: 2\n    args: ['${item.x}']\n", "7: args: ${item.x}: the items are numbers"),
        ("  - id: a\n    command: x\n    foreach: 2\n    depends_on: ['a[0]']\n", "7: depends_on: job 'a' depends on itself"),
        (
            "  - {id: a, command: x, foreach: 2}\n  - id: b\n    command: x\n    depends_on: ['a[2]']\n",
            "7: depends_on: unknown job 'a[2]'",
        ),
        (
            "  - {id: a, command: x}\n  - id: b\n    command: x\n    depends_on: ['a[0]']\n",
            "7: depends_on: unknown job 'a[0]': did you mean 'a'?",
        ),
        (
            "  - {id: a, command: x, foreach: 2, depends_on: [b]}\n  - {id: b, command: x, depends_on: [a]}\n",
            "in a cycle",
        ),
    ],
)
def test_faults_of_arrays_in_pipeline_files_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        loaded(tmp_path, text)
    assert says in str(caught.value)
