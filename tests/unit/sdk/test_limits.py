"""`limits` of a job: valid values, their meaning, and the errors for all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan import DAG, Job
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model import graph
from titan.model.dag import DagSpec, JobTemplate, Limits
from titan.model.sizes import format_size, parse_size
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"memory": "512MiB"}, Limits(memory=512 << 20)),
        ({"memory": "1.5 GB", "cpus": 2}, Limits(memory=1_500_000_000, cpus=2.0)),
        ({"memory": 8 << 20, "cpus": "0.5", "processes": "64"}, Limits(8 << 20, 0.5, 64)),
        (Limits(processes=3), Limits(processes=3)),
    ],
)
def test_limits_are_normalised_to_bytes_and_numbers(given: object, meant: Limits) -> None:
    assert Job("a", command="true", limits=given).limits == meant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "is empty: give memory, cpus or processes, or leave it out"),
        ("512MiB", "must be a mapping of memory, cpus and processes"),
        ({"memroy": "1GiB"}, "'memroy' is not a limit: did you mean 'memory'?"),
        ({"disk": 1}, "'disk' is not a limit: use memory, cpus and processes"),
        ({"memory": "512M"}, "memory: '512M' is not an amount of memory: give bytes, or a number with KiB"),
        ({"memory": True}, "memory: 'True' is not an amount of memory"),
        ({"memory": "1MiB"}, "memory: must be 4 MiB to 1024 TiB, not 1 MiB"),
        ({"cpus": 0}, "cpus: must be 0.01 to 65,536"),
        ({"cpus": float("nan")}, "cpus: must be 0.01 to 65,536"),
        ({"cpus": "two"}, "cpus: must be a number such as 1.5, not 'two'"),
        ({"processes": 0}, "processes: must be 1 to 4,194,304"),
        ({"processes": 1.5}, "processes: must be an integer, not '1.5'"),
    ],
)
def test_invalid_limits_are_refused_with_their_problem(given: object, problem: str) -> None:
    with pytest.raises(InvalidGraph) as said:
        Job("a", command="true", limits=given)  # type: ignore[arg-type]
    assert str(said.value).startswith(f"job 'a': limits: {problem}")


def test_limits_are_in_the_template() -> None:
    jobs = [Job("a", command="true", limits={"cpus": 1}), Job("b", command="true"), Job("c", command="true", limits={"cpus": 1.0})]
    with_limits, without = stage(DAG("d", jobs)).spec.templates
    assert (with_limits.limits, without.limits) == (Limits(cpus=1.0), None)


def pipeline(folder: Path, limits: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(f"name: p\njobs:\n  - id: a\n    command: 'true'\n    limits: {limits}\n")
    return path


def test_limits_are_read_from_a_pipeline_file(tmp_path: Path) -> None:
    (job,) = load_pipeline(pipeline(tmp_path, "{memory: 512MiB, cpus: 1.5, processes: 64}")).jobs
    assert job.limits == Limits(512 << 20, 1.5, 64)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("512MiB", "limits: must be a mapping, {memory: 512MiB, cpus: 1.5, processes: 64}, not the string '512MiB'"),
        ("{memory: 5 apples}", "limits: memory: '5 apples' is not an amount of memory"),
        ("{cpu: 1}", "limits: 'cpu' is not a limit: did you mean 'cpus'?"),
    ],
)
def test_invalid_limits_in_a_pipeline_file_are_refused_with_their_line(tmp_path: Path, written: str, problem: str) -> None:
    path = pipeline(tmp_path, written)
    with pytest.raises(InvalidPipeline) as said:
        load_pipeline(path)
    assert str(said.value).startswith(f"{path}:5: {problem}")


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (JobTemplate(command="true", limits=Limits(memory=1)), "memory must be 4 MiB to 1024 TiB"),
        (JobTemplate(command="true", limits=Limits(cpus=-1.0)), "cpus must be 0.01 to 65,536"),
        (JobTemplate(command="true", limits=Limits(processes=-1)), "processes must be 1 to 4,194,304"),
        (JobTemplate(function="f" * 64, limits=Limits(processes=1)), "a call shares its process with others"),
    ],
)
def test_the_master_checks_limits_itself(template: JobTemplate, problem: str) -> None:
    with pytest.raises(InvalidGraph, match=problem):
        graph.resolve(DagSpec("d", "", [template], ["a"], [0], [()], [()]))


@pytest.mark.parametrize("size", [1, 1500, 1 << 20, 3 << 29, 5 << 40, 12345678])
def test_sizes_are_read_as_they_are_shown(size: int) -> None:
    shown = format_size(size)
    assert parse_size(shown.removesuffix(" bytes")) == size
