"""The command line that runs a template."""

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
    ("name", "text", "mode", "wanted"),
    [
        ("x.sh", "#!/usr/bin/env bash\n", 0o755, ["./x.sh"]),
        ("x.sh", "echo hi\n", 0o644, ["/bin/sh", "x.sh"]),
        ("x.sh", "echo hi\n", 0o755, ["/bin/sh", "x.sh"]),
        ("x.sh", "", 0o644, ["/bin/sh", "x.sh"]),
        ("x.sh", "#! /usr/bin/env  -S bash -u \necho hi\n", 0o644, ["/usr/bin/env", "-S bash -u", "x.sh"]),
        ("x.sh", "#!\n", 0o644, ["./x.sh"]),
        ("tool", "#!/bin/sh\n", 0o644, ["/bin/sh", "tool"]),
        ("tool", "#!/bin/sh\n", 0o755, ["./tool"]),
        ("tool", "\x7fELF", 0o644, ["./tool"]),
    ],
)
def test_a_script_runs_by_its_first_line_whether_executable_or_not(
    name: str, text: str, mode: int, wanted: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(mode)
    assert run(JobTemplate(file=name, archive="0"), tmp_path) == wanted


def test_a_missing_script_is_still_started_so_that_the_system_reports_it(tmp_path: Path) -> None:
    assert run(JobTemplate(file="x.sh", archive="0"), tmp_path) == ["./x.sh"]
