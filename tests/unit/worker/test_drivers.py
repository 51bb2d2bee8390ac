"""From a template to the command line that runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from titan.model.dag import JobTemplate
from titan.worker.drivers.process import command_line
from titan.worker.state_machine.machine import Assignment


def run(template: JobTemplate, cwd: Path, *args: str) -> list[str]:
    return command_line(Assignment(1, "r", "job", 1, template, args), str(cwd))


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (JobTemplate(file="a/x.py", archive="0"), [sys.executable, "a/x.py", "1", "-2"]),
        (JobTemplate(file="x.jar", file_hash="0"), ["java", "-jar", "x.jar", "1", "-2"]),
        (JobTemplate(file="tool", file_hash="0"), ["./tool", "1", "-2"]),
        (JobTemplate(file="a/tool.bin", archive="0"), ["./a/tool.bin", "1", "-2"]),
        (JobTemplate(command='echo "$1"'), ["/bin/sh", "-c", 'echo "$1"', "job", "1", "-2"]),
        (JobTemplate(argv=("grep", "-v")), ["grep", "-v", "1", "-2"]),
    ],
)
def test_each_kind_of_job_is_started_by_its_driver(template: JobTemplate, wanted: list[str], tmp_path: Path) -> None:
    assert run(template, tmp_path, "1", "-2") == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("#!/usr/bin/env bash\n", ["./x.sh"]), ("echo hi\n", ["/bin/sh", "x.sh"]), ("", ["/bin/sh", "x.sh"])]
)
def test_a_shell_script_runs_by_its_first_line_or_by_sh(text: str, wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.sh").write_text(text)
    assert run(JobTemplate(file="x.sh", file_hash="0"), tmp_path) == wanted


def test_a_script_that_is_not_there_is_started_so_that_the_system_says_so(tmp_path: Path) -> None:
    assert run(JobTemplate(file="x.sh", archive="0"), tmp_path) == ["./x.sh"]
