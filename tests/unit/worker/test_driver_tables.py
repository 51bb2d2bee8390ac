"""The names of drivers and their classes: which driver starts which job, and that no other module
names a driver."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import titan.worker.launch
import titan.worker.shell
from titan.errors import Bug
from titan.model.dag import JobTemplate, Service
from titan.model.drivers import DRIVERS, DriverRow, choices, driver_of, driver_problem, named_in_template
from titan.sdk.job import DAG, Job
from titan.sdk.staging import stage
from titan.worker.drivers.protocol import AttemptDriver
from titan.worker.drivers.table import CLASSES, Drivers

SOURCE = Path(titan.__file__).parent
SERVICE = Service()


def test_each_name_has_a_class_and_each_class_a_name() -> None:
    assert list(CLASSES) == list(DRIVERS)


def test_a_job_can_ask_for_each_driver_that_has_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").touch()
    assert choices() == ("python", "process")
    for name in choices():
        (template,) = stage(DAG("d", [Job("a", "x.py", driver=name)])).spec.templates
        assert "file" in DRIVERS[name].runs and driver_of(template) == name and driver_problem(template) == ""


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (JobTemplate(function="f"), "function"),
        (JobTemplate(file="x.py"), "python"),
        (JobTemplate(file="x.py", python="/usr/bin/python3"), "python"),
        (JobTemplate(file="x.py", driver="process"), "process"),
        (JobTemplate(file="x.sh"), "process"),
        (JobTemplate(command="x"), "process"),
        (JobTemplate(command="x", driver="process"), "process"),
        (JobTemplate(argv=("x.py",)), "process"),
        (JobTemplate(command="x", service=SERVICE), "service"),
        (JobTemplate(file="x.py", driver="process", service=SERVICE), "service"),
        (JobTemplate(file="x.py", driver="later"), ""),
        (JobTemplate(command="x", driver="later"), ""),
        (JobTemplate(command="x", driver="function"), ""),
    ],
)
def test_each_template_has_its_driver(template: JobTemplate, name: str) -> None:
    assert driver_of(template) == name


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (JobTemplate(command="x", driver="process"), ""),
        (JobTemplate(command="x", driver="python"), "driver 'python' is unknown: leave it out, or use process or lua"),
        (JobTemplate(command="x", driver="service"), "driver 'service' is unknown: leave it out, or use process or lua"),
        (JobTemplate(function="f", driver="process"), "driver process runs no function: give it file or command or argv"),
        (JobTemplate(file="x.lua", driver="lua"), ""),
        (JobTemplate(file="x.py", driver="lua"), "driver lua goes with a .lua file only"),
        (JobTemplate(command="x", driver="lua"), "driver lua runs no command: give it file"),
    ],
)
def test_a_template_can_name_only_a_driver_that_runs_it(
    template: JobTemplate, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DRIVERS, "lua", DriverRow("of this test", runs=("file",), suffix=".lua"))
    assert driver_problem(template) == problem
    assert named_in_template("lua") == "lua" and named_in_template("python") == named_in_template(None) == ""


class Follower:
    """Driver that accepts the instructions of these types and has no attempts."""

    def __init__(self, *kinds: type) -> None:
        self.orders = dict.fromkeys(kinds, lambda order: None)


def test_no_two_drivers_follow_one_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    host: Any = None
    for name in CLASSES:
        monkeypatch.setitem(CLASSES, name, lambda host: Follower())
    monkeypatch.setitem(CLASSES, "process", lambda host: Follower(int))
    assert list(Drivers(host).orders) == [int]
    monkeypatch.setitem(CLASSES, "service", lambda host: Follower(int, str))
    with pytest.raises(Bug, match="two drivers follow one instruction"):
        Drivers(host)


def test_a_driver_without_attempts_is_no_attempt_driver() -> None:
    assert not isinstance(Follower(), AttemptDriver)


def test_the_launcher_and_the_shell_know_no_driver() -> None:
    for module in (titan.worker.launch, titan.worker.shell):
        imported = {
            node.module
            for node in ast.walk(ast.parse(inspect.getsource(module)))
            if isinstance(node, ast.ImportFrom) and node.module is not None and ".drivers" in node.module
        }
        drivers = {f"titan.worker.drivers.{name}" for name in DRIVERS}
        assert not imported & drivers, module


def named(node: ast.AST) -> bool:
    """Return whether this code compares a driver with the text of a name."""
    if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Attribute) or node.left.attr != "driver":
        return False
    return any(isinstance(one, ast.Constant) and isinstance(one.value, str) for at in node.comparators for one in ast.walk(at))


def test_the_names_are_written_in_the_two_tables_alone() -> None:
    """No other module compares the driver of a job or of a template with a name."""
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if any(map(named, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == {"model/drivers.py"}
