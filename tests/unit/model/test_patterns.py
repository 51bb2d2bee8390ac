"""Patterns of outputs: what they match, and the names of the files that matched."""

from __future__ import annotations

import fnmatch
import re

from hypothesis import given
from hypothesis import strategies as st

from titan.model.dag import JobTemplate
from titan.model.files import StoredFile, has_left_all
from titan.model.patterns import matches, matches_part, name_of_match, path_of_match, pattern_problem, rest_of_match, root_of


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_a_part_matches_as_in_the_shell(part: str, name: str) -> None:
    assert matches_part(part, name) == bool(re.fullmatch(fnmatch.translate(part), name))


def test_a_bracket_stands_for_itself_and_hidden_names_need_a_dot() -> None:
    assert matches("part[0].*", "part[0].csv") and not matches("part[0].*", "part0.csv")
    assert not matches("*", ".hidden") and matches(".h*", ".hidden") and not matches("*/a", ".d/a")


def test_two_stars_stand_for_any_folders() -> None:
    assert all(matches("out/**/*.csv", path) for path in ("out/a.csv", "out/x/a.csv", "out/x/y/a.csv"))
    assert not any(matches("out/**/*.csv", path) for path in ("a.csv", "out/.x/a.csv", "out/a.txt", "in/out/a.csv"))
    assert pattern_problem("a/**") and pattern_problem("a**/b") and pattern_problem("**/x/**/y") and not pattern_problem("**/x")


def test_a_slow_pattern_ends_soon() -> None:
    assert not matches_part("*a" * 60 + "b", "a" * 250)


def test_names_of_matches_lead_back_to_their_paths() -> None:
    for output, pattern, path, name, rest in (
        ("parts", "out/*.csv", "out/a.csv", "parts/a.csv", "a.csv"),
        ("out/*.csv", "out/*.csv", "out/a.csv", "out/a.csv", "a.csv"),
        ("*.csv", "*.csv", "a.csv", "a.csv", "a.csv"),
        ("all", "*/x?", "d/x1", "all/d/x1", "d/x1"),
    ):
        assert name_of_match(output, pattern, path) == name
        assert path_of_match(output, pattern, name) == path and rest_of_match(output, pattern, name) == rest
    assert root_of("a/b/*.c") == "a/b" and root_of("a*/b") == ""


def test_a_job_must_leave_each_declared_output_and_nothing_else() -> None:
    job = JobTemplate(command="x", outputs=(("log", "log"), ("parts", "p/*.csv")))
    log, part = StoredFile("log", "a" * 64, 1), StoredFile("parts/a.csv", "b" * 64, 1, of="parts")
    assert has_left_all(job, [log, part])
    assert not has_left_all(job, [log]) and not has_left_all(job, [part]) and not has_left_all(job, [log, log, part])
    assert not has_left_all(job, [log, part, StoredFile("other", "c" * 64, 1)])
    for name in ("../etc/passwd", "parts/../x", "a.csv", "parts"):
        assert not has_left_all(job, [log, StoredFile(name, "b" * 64, 1, of="parts")]), name
    loose = JobTemplate(command="x", outputs=job.outputs, optional_outputs=("log", "parts"))
    assert has_left_all(loose, []) and has_left_all(loose, [log]) and has_left_all(loose, [part])
