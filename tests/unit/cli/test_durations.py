"""Sources of the durations for a prediction, and which of them has precedence."""

from __future__ import annotations

import doctest
from pathlib import Path

import titan.cli.fleet
import titan.sdk.outline
from titan.cli.durations import durations_of, read_durations
from titan.cli.fleet import Capacity, fleets
from titan.model.dag import DagSpec, Gate, JobTemplate
from titan.predict.plan import Group, JobDuration

TEMPLATES = [JobTemplate(command="a"), JobTemplate(command="b"), JobTemplate(kind="gate", gate=Gate(), retries=0)]


def spec(**template_of: int) -> DagSpec:
    count = len(template_of)
    return DagSpec("d", "", TEMPLATES, list(template_of), list(template_of.values()), [()] * count, [()] * count)


def test_the_file_then_the_recording_then_the_template_then_the_default() -> None:
    dag = spec(exact=0, wild_1=0, both=0, seen=0, new=0, alone=1, ship=2)
    given = {"exact": JobDuration((1.0,)), "wild_*": JobDuration((2.0,)), "both": JobDuration((3.0,))}
    recorded = {"both": JobDuration((9.0,)), "seen": JobDuration((4.0,), 1.0)}
    found = durations_of(dag, recorded, given, 7.0)
    assert [t.attempts[0] for t in found.jobs] == [1.0, 2.0, 3.0, 4.0, 2.5, 7.0, 0.0]
    assert (found.from_file, found.recorded, found.alike, found.assumed) == (3, 1, 1, ["alone"])


def test_an_id_goes_before_a_pattern_and_the_first_pattern_before_the_next() -> None:
    given = {"*": JobDuration((1.0,)), "j?": JobDuration((2.0,)), "j1": JobDuration((3.0,))}
    assert [t.attempts[0] for t in durations_of(spec(j1=0, j2=0), {}, given, 7.0).jobs] == [3.0, 1.0]


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("a: 2\n'part[*]': [1, 1, 2.5]\nbusy: {seconds: 3, cpu: 2.5}\n")
    assert read_durations(path) == {
        "a": JobDuration((2.0,)),
        "part[*]": JobDuration((1.0, 1.0, 2.5)),
        "busy": JobDuration((3.0,), 2.5),
    }
    brackets = durations_of(spec(), {}, read_durations(path), 1.0)
    assert brackets.jobs == []


def test_groups_of_workers_are_parsed_into_fleets() -> None:
    assert fleets(["2", "1:8:GPU+HIGH_MEM"], 3, Capacity(4.0, 1 << 30, 2)) == [
        [Group(2, 3, ("GENERAL",), 4.0, 1 << 30, 2), Group(1, 8, ("GPU", "HIGH_MEM"), 4.0, 1 << 30, 2)]
    ]
    assert [fleet[0].count for fleet in fleets(["1..3:2"], 1, Capacity())] == [1, 2, 3]


def test_the_examples_are_true() -> None:
    assert doctest.testmod(titan.cli.fleet).failed == 0
    assert doctest.testmod(titan.sdk.outline).failed == 0
