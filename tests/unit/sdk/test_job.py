"""Job and DAG: valid values, and the errors for invalid ones."""

from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import titan.sdk.job
from titan.errors import InvalidGraph
from titan.model import graph
from titan.sdk.field_table import Row
from titan.sdk.fields import perm_name, problem_of
from titan.sdk.job import DAG, Job
from titan.sdk.staging import stage


def test_defaults_are_the_contract() -> None:
    job = Job("a", command="true")
    assert dataclasses.asdict(job) == {
        "id": "a",
        "file": None,
        "command": "true",
        "args": (),
        "parents": (),
        "requirement": "GENERAL",
        "priority": 1,
        "delay": 0.0,
        "affinity": False,
        "retries": 3,
        "timeout": None,
        "env": (),
        "python": None,
        "driver": None,
        "foreach": None,
        "matrix": None,
        "backoff": None,
        "backoff_max": None,
        "no_retry": (),
        "on_failure": "cancel",
        "always": False,
        "condition": "",
        "handler": "",
        "hitl_message": None,
        "max_wait_seconds": 172_800.0,
        "type": "run",
        "message": "",
        "max_wait": 172_800.0,
        "webhook": "",
        "run_at": None,
        "limits": None,
        "cpus": 0.0,
        "memory": 0,
        "gpus": 0,
        "service": None,
        "expand": None,
        "pipeline": None,
        "secrets": (),
        "outputs": (),
        "inputs": (),
        "cwd": None,
        "stdin": None,
        "log_limit": 0,
        "description": "",
        "cache": None,
        "max_parallel": None,
    }


def test_positional_order_is_the_contract() -> None:
    job = Job("a", "x.py", None, ("1",), ("p",), "GPU", 2, 3.0, True, 4, 5.0, {"K": "v"}, ".venv", "process")
    assert job == Job(
        id="a",
        file="x.py",
        command=None,
        args=["1"],
        parents=["p"],
        requirement="GPU",
        priority=2,
        delay=3,
        affinity=True,
        retries=4,
        timeout=5,
        env={"K": "v"},
        python=".venv",
        driver="process",
    )


def test_args_as_text_are_split_as_a_shell_does() -> None:
    assert Job("a", command="x", args="--name 'two words' $HOME").args == ("--name", "two words", "$HOME")


def test_args_as_sequence_are_taken_as_they_are() -> None:
    assert Job("a", command="x", args=["two words", 3, 1.5, Path("d/e")]).args == ("two words", "3", "1.5", "d/e")
    assert Job("a", command="x", args=range(3)).args == ("0", "1", "2")


def test_parents_are_ids_or_jobs() -> None:
    a = Job("a", command="true")
    assert Job("b", command="true", parents=[a, "c"]).parents == ("a", "c")


def test_env_is_sorted_and_stringified() -> None:
    assert Job("a", command="x", env={"Z": 1, "A": Path("p"), "M": 0.5}).env == (("A", "p"), ("M", "0.5"), ("Z", "1"))


def test_file_takes_a_path() -> None:
    assert Job("a", file=Path("d") / "x.py").file == "d/x.py"


def test_python_takes_a_path_and_driver_is_one_of_two() -> None:
    job = Job("a", "x.py", python=Path("/opt/venv"), driver="python")
    assert (job.python, job.driver) == ("/opt/venv", "python")
    assert Job("a", command="x", driver="process").driver == "process"
    assert Job("a", "perm:tools/x.py", python="/opt/venv").python == "/opt/venv"


def test_command_as_list_is_an_argv() -> None:
    assert Job("a", command=["echo", "hi"]).command == ("echo", "hi")


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Job("a", command="true").id = "b"  # type: ignore[misc]


def test_a_permanent_file_is_recognised_by_its_prefix() -> None:
    assert perm_name("perm:tools/x.sh") == "tools/x.sh"
    assert perm_name("x.sh") == ""


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "file", "exactly one of file and command"),
    ({"file": "a", "command": "b"}, "file", "not both"),
    ({"file": ""}, "file", "empty"),
    ({"file": 3}, "file", "the number 3"),
    ({"file": "perm:../x"}, "file", "perm_files/"),
    ({"file": "perm:"}, "file", "perm_files/"),
    ({"file": "perm:/etc/passwd"}, "file", "perm_files/"),
    ({"command": " "}, "command", "empty"),
    ({"command": []}, "command", "empty"),
    ({"command": b"x"}, "command", "must be a string or a list"),
    ({"command": "a\0b"}, "command", "NUL"),
    ({"command": "x" * 200_000}, "command", "put it into a script"),
    ({"command": ["a", None]}, "command", "each item"),
    ({"command": "x", "args": "'open"}, "args", "give a list"),
    ({"command": "x", "args": [None]}, "args", "each item"),
    ({"command": "x", "args": [True]}, "args", "boolean true"),
    ({"command": "x", "args": {"a": 1}}, "args", "a mapping"),
    ({"command": "x", "args": {"a"}}, "args", "must be"),
    ({"command": "x", "args": 5}, "args", "the number 5"),
    ({"command": "x", "args": ["x" * 200_000]}, "args", "pass a file"),
    ({"command": "x", "args": ["\ud800"]}, "args", "Unicode"),
    ({"command": "x", "parents": "a b"}, "parents", "'a b' is not a job id"),
    ({"command": "x", "parents": [1]}, "parents", "must be a string"),
    ({"command": "x", "parents": ["a b"]}, "parents", "malformed"),
    ({"command": "x", "parents": 7}, "parents", "must be a list"),
    ({"command": "x", "requirement": "a b"}, "requirement", "malformed"),
    ({"command": "x", "requirement": None}, "requirement", "must be a capability or a list of them, not nothing"),
    ({"command": "x", "requirement": ["GPU", "a b"]}, "requirement", "'a b' is malformed"),
    ({"command": "x", "requirement": []}, "requirement", "must not be empty"),
    ({"command": "x", "requirement": ["GPU", 3]}, "requirement", "each capability must be a string, not the number 3"),
    ({"command": "x", "requirement": [f"c{i}" for i in range(17)]}, "requirement", "has 17 capabilities; the limit is 16"),
    ({"command": "x", "cpus": "two"}, "cpus", "must be a number of CPUs"),
    ({"command": "x", "cpus": -1}, "cpus", "must be 0 to 65,536"),
    ({"command": "x", "cpus": 0.0001}, "cpus", "must be 0 or at least 0.001"),
    ({"command": "x", "memory": "4 apples"}, "memory", "'4 apples' is not a size"),
    ({"command": "x", "memory": 1.5}, "memory", "must be a number of bytes or a size"),
    ({"command": "x", "memory": -1}, "memory", "must be 0 to 1024 TiB"),
    ({"command": "x", "gpus": 0.5}, "gpus", "must be a whole number of GPUs"),
    ({"command": "x", "gpus": 2000}, "gpus", "must be 0 to 1,024"),
    ({"command": "x", "priority": "high"}, "priority", "integer"),
    ({"command": "x", "priority": True}, "priority", "integer"),
    ({"command": "x", "priority": 1.0}, "priority", "integer"),
    ({"command": "x", "priority": 10**7}, "priority", "within"),
    ({"command": "x", "delay": -1}, "delay", "must be 0 to"),
    ({"command": "x", "delay": float("nan")}, "delay", "must be 0 to"),
    ({"command": "x", "delay": "1"}, "delay", "seconds"),
    ({"command": "x", "affinity": 1}, "affinity", "true or false"),
    ({"command": "x", "retries": -1}, "retries", "0 to 1,000"),
    ({"command": "x", "retries": None}, "retries", "integer"),
    ({"command": "x", "timeout": 0}, "timeout", "more than 0"),
    ({"command": "x", "timeout": float("inf")}, "timeout", "must be 0 to"),
    ({"command": "x", "env": ["A=1"]}, "env", "mapping"),
    ({"command": "x", "env": {"A=": "1"}}, "env", "'='"),
    ({"command": "x", "env": {"": "1"}}, "env", "empty"),
    ({"command": "x", "env": {"A": None}}, "env", "'A'"),
    ({"command": "x", "env": {"A": "x" * 200_000}}, "env", "pass a file"),
    ({"command": "x", "env": {3: "x"}}, "env", "must be a string"),
    ({"file": "x.py", "python": 3.11}, "python", "must be a string"),
    ({"file": "x.py", "python": ""}, "python", "leave it out"),
    ({"file": "x.py", "python": "x" * 5000}, "python", "exceeds 4,096"),
    ({"file": "x.sh", "python": "/v"}, "python", "applies only to a .py file"),
    ({"command": "x", "python": "/v"}, "python", "a command names its own interpreter"),
    ({"file": "x.py", "driver": "warm"}, "driver", "must be python or process, not 'warm'"),
    ({"file": "x.py", "driver": True}, "driver", "must be a string"),
    ({"command": "x", "driver": "python"}, "driver", "applies only to a .py file"),
]


@pytest.mark.parametrize(("fields", "key", "says"), BAD_FIELDS)
def test_bad_field_names_job_and_field(fields: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job("the-job", **fields)
    assert str(caught.value).startswith(f"job 'the-job': {key}: ")
    assert says in str(caught.value)
    assert caught.value.job == "the-job"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("bad", ["", "a b", "a/b", ".a", "-a", "x" * 129, "é", "a\n", 5, None])
def test_a_bad_job_id_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidGraph, match="job id"):
        Job(bad, command="true")


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (("", []), "name"),
        (("a\nb", []), "name"),
        ((3, []), "name"),
        (("d", "jobs"), "jobs"),
        (("d", [1]), "item 0 must be a Job"),
        (("d", 3), "jobs"),
        (("d", [], 1.0), "version"),
        (("d", [], "", 3), "project"),
    ],
)
def test_a_bad_dag_is_refused(given_: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidGraph, match=says):
        DAG(*given_)


def test_dag_takes_an_iterator() -> None:
    dag = DAG("d", (Job(f"j{i}", command="true") for i in range(3)), version="2", project=".")
    assert (len(dag.jobs), dag.version, dag.project) == (3, "2", Path())


def test_jobs_and_dags_have_short_reprs() -> None:
    a = Job("a", command="true")
    assert repr(Job("b", file="x.py", parents=[a])) == "Job('b', file='x.py', parents=['a'])"
    assert repr(DAG("d", [a])) == "DAG('d', 1 job)"


# The first text that hypothesis generates in a fresh checkout builds its table of Unicode, which
# takes a second.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.lists(st.text(max_size=3))
)


@_patient
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(["file", "command", "args", "requirement", "delay", "timeout"], _ANYTHING)))
def test_any_value_is_taken_or_refused(fields: dict[str, Any]) -> None:
    """The model's own check accepts every value that Job accepts. So no error comes later, without
    the name of the job."""
    try:
        job = Job("j", **fields)
    except InvalidGraph as error:
        assert error.job == "j"
        return
    if job.file is None:
        graph.resolve(stage(DAG("d", [job])).spec)


@_patient
@given(st.sampled_from([row for row in Job.ROWS.values() if row.make is not None]), _ANYTHING)
def test_each_field_accepts_a_value_or_returns_its_problem(row: Row, value: object) -> None:
    assert row.make is not None
    assert isinstance(problem_of(row.make, value), str)


def test_the_examples_of_docstrings_run() -> None:
    result = doctest.testmod(titan.sdk.job)
    assert result.attempted > 4
    assert result.failed == 0


def test_a_working_directory_is_a_path_or_a_folder_that_the_worker_finds() -> None:
    assert [Job("a", "x.py", cwd=folder).cwd for folder in ("/srv", "shared", "script")] == ["/srv", "shared", "script"]
    with pytest.raises(InvalidGraph, match="job 'a': cwd: must be an absolute path, shared or script, not 'srv'"):
        Job("a", "x.py", cwd="srv")
    with pytest.raises(InvalidGraph, match="job 'a': cwd: a command has no script: give the path of a folder"):
        Job("a", command="true", cwd="script")
    assert Job("a", command="true", cwd="shared").cwd == "shared"
