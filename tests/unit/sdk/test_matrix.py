"""`include` and `exclude` of a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk.arrays import MAX_COMBINED
from titan.sdk.job import Job
from titan.sdk.pipeline import load_pipeline


def combinations(matrix: dict[str, Any]) -> list[tuple[str, ...]]:
    """The arguments of each job, which are its values."""
    return [args for _, args, _ in Job("a", command="x", matrix=matrix).rows()]


def test_exclude_drops_all_combinations_that_it_matches() -> None:
    axes = {"a": [1, 2], "b": ["x", "y"]}
    assert combinations({**axes, "exclude": [{"a": 1, "b": "y"}]}) == [("1", "x"), ("2", "x"), ("2", "y")]
    assert combinations({**axes, "exclude": [{"a": 1}]}) == [("2", "x"), ("2", "y")]
    assert combinations({**axes, "exclude": [{"a": 1}, {"b": "x"}]}) == [("2", "y")]


def test_include_adds_values_where_it_contradicts_nothing() -> None:
    axes = {"a": [1, 2], "b": ["x", "y"]}
    assert combinations({**axes, "include": [{"a": 1, "note": "n"}]}) == [
        ("1", "x", "n"), ("1", "y", "n"), ("2", "x", ""), ("2", "y", ""),
    ]  # fmt: skip
    assert combinations({"a": [1, 2], "include": [{"note": "all"}, {"a": 2, "note": "two"}]}) == [("1", "all"), ("2", "two")]


def test_include_makes_a_combination_if_it_fits_none() -> None:
    assert combinations({"a": [1], "b": [2], "include": [{"a": 3, "b": 4}, {"a": 5}]}) == [("1", "2"), ("3", "4"), ("5", "")]
    assert combinations({"a": [1, 2], "exclude": [{"a": 1}], "include": [{"a": 1, "c": 9}]}) == [("2", ""), ("1", "9")]


def test_an_included_combination_gets_nothing_of_later_entries() -> None:
    assert combinations({"a": [1], "include": [{"a": 2}, {"a": 2, "c": 3}]}) == [("1", ""), ("2", ""), ("2", "3")]


def test_a_matrix_may_consist_of_included_combinations() -> None:
    assert combinations({"include": [{"a": 1, "b": 2}, {"b": 3}]}) == [("1", "2"), ("", "3")]


def test_values_are_named_by_placeholders_and_members_are_parents() -> None:
    matrix: dict[str, Any] = {"a": [1, 2], "include": [{"a": 2, "note": "n"}]}
    job = Job("t", command="x", matrix=matrix, args=["${matrix.a}/${matrix.note}"], parents=["s[${index}]"])
    assert list(job.rows()) == [("t[0]", ("1/",), ("s[0]",)), ("t[1]", ("2/n",), ("s[1]",))]
    assert job.size == 2


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ({"a": [1], "exclude": [{"a": 1}]}, "exclude: leaves no job: the array has at least one"),
        ({"a": [1], "exclude": [{"b": 1}]}, "exclude: b: the matrix has no such axis: there is ${matrix.a}"),
        ({"a": [1], "exclude": [{"a": 2}]}, "exclude: a: '2' is not among its values"),
        ({"a": [1], "exclude": []}, "exclude: is empty: leave it out"),
        ({"a": [1], "include": {"a": 2}}, "include: must be a list of mappings of names to values"),
        ({"a": [1], "include": [2]}, "include: each entry must be a mapping of names to values"),
        ({"a": [1], "include": [{"a b": 2}]}, "'a b' is not a valid key"),
        ({"a": [1], "include": [{"b": [2]}]}, "b: each value must be a string, a number or a path"),
        ({"exclude": [{"a": 1}]}, "must have 1 to 64 axes"),
        ({"include": [{"a": 1}], "exclude": [{"a": 1}]}, "exclude: a: the matrix has no such axis: there is none"),
        ({"a": range(400), "b": range(300), "include": [{"a": 1}]}, f"at most {MAX_COMBINED:,} combinations"),
        ({"a": range(1000), "b": range(100), "exclude": [{"a": i} for i in range(101)]}, "exceed 10,000,000"),
        ({"a": [1], "include": [{f"k{i}": 1} for i in range(64)]}, "must have 1 to 64 axes"),
    ],
)
def test_a_wrong_matrix_is_refused(matrix: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job("a", command="x", matrix=matrix)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_pipeline_file_reads_both(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    entries = "{a: [1.10, 2], exclude: [{a: 2}], include: [{a: 007}]}"
    path.write_text(f"name: x\njobs:\n  - id: a\n    command: x\n    matrix: {entries}\n")
    assert [args for _, args, _ in load_pipeline(path).jobs[0].rows()] == [("1.10",), ("007",)]
    for wrong in ("{a: [1], include: {a: 2}}", "{a: [1], include: 3}"):
        path.write_text(f"name: x\njobs:\n  - id: a\n    command: x\n    matrix: {wrong}\n")
        with pytest.raises(InvalidPipeline, match=r":5: matrix: include: must be a list of mappings of names to values"):
            load_pipeline(path)
