"""Durations as text, wherever seconds are accepted: pipelines, Python, options."""

from __future__ import annotations

import doctest
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import titan.model.durations
from titan import DAG, Job
from titan.cli.seconds import SECONDS
from titan.errors import InvalidGraph
from titan.model.durations import parse_duration
from titan.sdk.pipeline import load_pipeline


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(titan.model.durations).failed == 0


@pytest.mark.parametrize(("text", "seconds"), [("2d", 172_800.0), ("1w1d", 691_200.0), ("1h 30m", 5400.0), ("0.5s", 0.5)])
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1", "-1s", "1h-30m", "1h30", "30m 1h", "1s ", " 1s", "1e3s", "1H", "٣s"])
def test_other_text_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


def test_durations_in_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\ndeadline: 2d\njobs:\n"
        "  - {id: a, command: x, timeout: 1h30m, delay: 90s, backoff: 250ms, backoff_max: 2m}\n"
        "  - {id: g, type: gate, message: ok?, max_wait: 3d}\n"
        "  - {id: s, type: service, command: x, health: {interval: 1m, start: 2m30s}, restart: {backoff: 1s}}\n"
    )
    dag = load_pipeline(path)
    a, gate, service = dag.jobs
    assert (dag.deadline, a.timeout, a.delay, a.backoff, a.backoff_max) == (172_800, 5400, 90, 0.25, 120)
    assert gate.max_wait == 259_200
    assert service.service is not None
    assert (service.service.interval_s, service.service.start_s, service.service.backoff_s) == (60, 150, 1)


def test_durations_from_python() -> None:
    job = Job("a", command="x", timeout="1h30m", delay="90s")
    assert (job.timeout, job.delay, DAG("d", [job], deadline="2d").deadline) == (5400, 90, 172_800)
    with pytest.raises(InvalidGraph, match="timeout: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not the"):
        Job("a", command="x", timeout="90")


@pytest.mark.parametrize(("text", "shown"), [("90", "90.0"), ("1h30m", "5400.0"), ("1.5", "1.5")])
def test_durations_of_options(text: str, shown: str) -> None:
    assert CliRunner().invoke(command, ["--timeout", text]).output == f"{shown}\n"


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_an_option_that_is_no_duration_is_refused(text: str) -> None:
    done = CliRunner().invoke(command, ["--timeout", text])
    assert done.exit_code == 2 and "Invalid value for '--timeout'" in done.output and "90s, 1h30m" in done.output


@click.command()
@click.option("--timeout", type=SECONDS)
def command(timeout: float) -> None:
    click.echo(timeout)
