"""The table of a job's fields. All code that needs the list of fields reads this table, so a new
field needs only a row and the code that uses it."""

from __future__ import annotations

import doctest
import inspect
import os
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import titan
import titan.sdk.failure_fields
import titan.sdk.field_table
import titan.sdk.fields
from titan import Gate, Job
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model.dag import JobTemplate
from titan.sdk.field_table import Form, Use
from titan.sdk.job import DAG
from titan.sdk.pipeline import _READERS, load_pipeline
from titan.sdk.staging import stage

SOURCE = Path(titan.__file__).parent
DOCS = Path(__file__).parents[3] / "docs"
ROW = """\
    nice: int = row(
        "How nice its processes are.",
        fields.Integer(0, 19), default=0, form=Form.INTEGER, aliases=("niceness",), template="nice",
    )
"""
USE = "    nice: int = 0\n"
SHOW = """
import inspect, sys
sys.path.insert(0, DOCS)
import make_job_table
from titan import DAG, Job
from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage

assert inspect.signature(Job).parameters["nice"].annotation == "int"
assert inspect.signature(Job).parameters["nice"].default == 0
assert "- `nice`: How nice its processes are." in Job.__doc__
jobs = [Job("a", command="true", nice=5), Job("b", command="true"), Job("c", command="true", nice=5)]
spec = stage(DAG("d", jobs)).spec
assert spec.template_of == [0, 1, 0]
assert [t.nice for t in spec.templates] == [5, 0]
for text in ("nice: 7", "nice: 20", "nice: high", "niceness: 7"):
    open("p.yaml", "w").write(f"name: p\\njobs:\\n  - id: a\\n    command: x\\n    {text}\\n")
    try:
        print(load_pipeline("p.yaml").jobs[0].nice)
    except InvalidPipeline as error:
        print(error)
for kind, value in (("run", -1), ("gate", 3)):
    try:
        Job("a", command="true" if kind == "run" else None, type=kind, nice=value)
    except InvalidGraph as error:
        print(error)
print(make_job_table.job_table().splitlines()[-1])
"""


def test_a_new_scalar_field_needs_only_one_row_and_its_use(tmp_path: Path) -> None:
    """The test adds the field to a copy of the package. The code that uses it is the field of the
    template, which carries the value to the worker."""
    shutil.copytree(SOURCE, tmp_path / "titan", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, more in (("sdk/job.py", "    # fmt: on\n", ROW), ("model/dag.py", "\n    def __hash__", USE)):
        file = tmp_path / "titan" / name
        text = file.read_text()
        assert text.count(before) == 1
        file.write_text(text.replace(before, more + before))
    show = SHOW.replace("DOCS", repr(str(DOCS)))
    where = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", show], cwd=tmp_path, env=where, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "7",
        "p.yaml:5: nice: must be 0 to 19",
        "p.yaml:5: nice: must be an integer, not the string 'high'",
        "p.yaml:5: niceness: unknown key: did you mean 'nice'?",
        "job 'a': nice: must be 0 to 19",
        "job 'a': nice: does not apply to a gate, which runs nothing: leave it out",
        "| `nice` | How nice its processes are. |",
    ]


def test_the_constructor_has_a_signature() -> None:
    found = inspect.signature(Job).parameters
    assert list(found)[:5] == ["id", "file", "command", "args", "parents"]
    assert (found["id"].default, found["retries"].default) == (inspect.Parameter.empty, 3)
    assert found["args"].annotation == "str | Iterable[str | float | os.PathLike[str]]"
    with pytest.raises(TypeError, match="unexpected keyword argument 'comand'"):
        Job("a", comand="x")  # type: ignore[call-arg]
    assert typing.get_type_hints(Job.__init__)["retries"] is int


def test_a_job_has_no_attributes_for_the_fields_of_its_service() -> None:
    job = Job("a", command="x", type="service", port=80)
    assert not any(hasattr(job, name) for name in ("port", "health", "restart", "keep"))
    assert job.service is not None and job.service.port == 80


def test_every_row_is_whole() -> None:
    keys = [row.key or name for name, row in Job.ROWS.items()]
    aliases = [alias for row in Job.ROWS.values() for alias in row.aliases]
    assert len(set(keys)) == len(keys) and len(set(aliases)) == len(aliases)
    assert set(keys) & set(aliases) == set()
    for name, row in Job.ROWS.items():
        assert row.name == name and row.doc.endswith((".", ").")) and "|" not in row.doc and "\n" not in row.doc
        assert row.form in _READERS
        assert row.template in ("", *JobTemplate.__struct_fields__)
        assert row.instead in ("", *Job.ROWS)
    assert set(_READERS) == set(Form)


@pytest.mark.parametrize("name", [name for name, row in Job.ROWS.items() if row.use is Use.WORK and row.default is not ...])
def test_a_field_that_a_gate_would_ignore_is_refused(name: str, tmp_path: Path) -> None:
    """In a pipeline the key alone is refused. In Python every value except the default is
    refused."""
    path = tmp_path / "p.yaml"
    key = Job.ROWS[name].key or name
    path.write_text(f"name: p\njobs:\n  - id: a\n    type: gate\n    {key}: 1\n")
    with pytest.raises(InvalidPipeline, match=f":5: {key}: does not apply to a gate"):
        load_pipeline(path)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"priority": 5}, "priority"),
        ({"requirement": "GPU"}, "requirement"),
        ({"affinity": True}, "affinity"),
        ({"retries": 0}, "retries"),
        ({"limits": {"cpus": 1}}, "limits"),
        ({"cpus": 1}, "cpus"),
        ({"memory": "1GiB"}, "memory"),
        ({"gpus": 1}, "gpus"),
        ({"max_wait_seconds": 60}, "max_wait_seconds"),
    ],
)
def test_a_gate_refuses_fields_of_other_types(fields: dict[str, typing.Any], field: str) -> None:
    with pytest.raises(InvalidGraph, match=f"job 'a': {field}: does not apply to a gate"):
        Job("a", type="gate", **fields)


def test_a_gate_opens_at_its_time() -> None:
    gate = Job("g", type="gate", message="now?", run_at=4_000_000_000.0, delay=5.0)
    (template,) = stage(DAG("d", [gate])).spec.templates
    assert (template.run_at, template.delay_s) == (4_000_000_000.0, 5.0)
    assert stage(DAG("d", [Gate("g", "now?")])).spec.templates[0].run_at == 0.0


def test_the_gate_behind_a_job_with_a_long_id(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"name: p\njobs:\n  - id: {'a' * 124}\n    command: x\n    hitl_message: go?\n")
    with pytest.raises(InvalidPipeline, match=r":5: hitl_message: the gate after the job is 'a+\.gate', which is malformed"):
        load_pipeline(path)


def test_the_examples_of_docstrings_run() -> None:
    for module in (titan.sdk.field_table, titan.sdk.fields, titan.sdk.failure_fields):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0
