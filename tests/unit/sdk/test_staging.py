"""Staging: columns, shared templates, hashes, and invalid files."""

from __future__ import annotations

import doctest
import gc
import hashlib
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import titan.sdk.staging
from titan.content.archive import unpack_archive
from titan.errors import InvalidGraph
from titan.sdk.job import DAG, Job
from titan.sdk.staging import stage


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "steps").mkdir(parents=True)
    (folder / "steps" / "one.py").write_text("print(1)\n")
    (folder / "data.csv").write_text("1,2\n")
    return folder


def test_equal_jobs_share_a_template() -> None:
    jobs = [Job(f"j{i}", command="true", args=[i], parents=[f"j{i - 1}"] if i else []) for i in range(1000)]
    staged = stage(DAG("d", [*jobs, Job("other", command="true", retries=0)], version="7"))
    spec = staged.spec
    assert [t.retries for t in spec.templates] == [3, 0]
    assert spec.template_of == [0] * 1000 + [1]
    assert spec.args[999] == ("999",)
    assert spec.parents[999] == ("j998",)
    assert (spec.name, spec.version, staged.artifacts, staged.unresolved) == ("d", "7", {}, ())


def test_every_field_reaches_the_template() -> None:
    job = Job("a", None, ["x", "y"], (), (), "GPU", 7, 1.5, True, 9, 60, {"B": "2", "A": "1"})
    (t,) = stage(DAG("d", [job])).spec.templates
    assert (t.file, t.command, t.argv, t.requirement, t.priority, t.delay_s, t.affinity) == (
        "",
        "",
        ("x", "y"),
        "GPU",
        7,
        1.5,
        True,
    )
    assert (t.retries, t.timeout_s, t.env) == (9, 60.0, (("A", "1"), ("B", "2")))


def test_python_and_driver_reach_the_template(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.parent)
    script = project / "steps" / "one.py"
    jobs = [
        Job("plain", script),
        Job("same", script, driver="python"),
        Job("fresh", script, driver="process"),
        Job("there", script, python="/opt/../opt/venv/"),
        Job("beside", script, python="envs/a"),
    ]
    found = [(t.python, t.driver) for t in stage(DAG("d", jobs)).spec.templates]
    assert found == [("", ""), ("", "process"), ("/opt/venv", ""), (str(project.parent / "envs/a"), "")]
    (t,) = stage(DAG("d", [Job("a", "steps/one.py", python=".venv")], project=project)).spec.templates
    assert t.python == str(project / ".venv")


def test_single_files_travel_by_hash(tmp_path: Path) -> None:
    script = tmp_path / "run me.sh"
    script.write_text("echo hi\n")
    again = Path(os.path.relpath(script))
    staged = stage(DAG("d", [Job("a", file=script), Job("b", file=again), Job("c", file=script, args="x")]))
    digest = hashlib.sha256(b"echo hi\n").hexdigest()
    assert [(t.file, t.file_hash, t.archive) for t in staged.spec.templates] == [("run me.sh", digest, "")]
    assert staged.artifacts == {digest: script.resolve()}


def test_equal_content_is_one_artifact_under_two_names(tmp_path: Path) -> None:
    for name in ("a.sh", "b.py", ".hidden"):
        (tmp_path / name).write_text("same")
    staged = stage(DAG("d", [Job(f"j{i}", file=tmp_path / name) for i, name in enumerate((".hidden", "a.sh", "b.py"))]))
    assert [t.file for t in staged.spec.templates] == [".hidden", "a.sh", "b.py"]
    assert len(staged.artifacts) == 1


def test_a_project_is_staged_as_one_archive(project: Path, tmp_path: Path) -> None:
    jobs = [
        Job("a", file="steps/one.py"),
        Job("b", file="./steps/../steps/one.py"),
        Job("c", file=project / "steps" / "one.py"),
        Job("d", command="cat data.csv"),
    ]
    staged = stage(DAG("d", jobs, project=project))
    ((digest, archive),) = staged.artifacts.items()
    assert [(t.file, t.command, t.file_hash, t.archive) for t in staged.spec.templates] == [
        ("steps/one.py", "", "", digest),
        ("", "cat data.csv", "", digest),
    ]
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == digest
    unpack_archive(archive, tmp_path / "copy")
    assert (tmp_path / "copy" / "steps" / "one.py").read_text() == "print(1)\n"
    staged.close()
    staged.close()
    assert not archive.exists()


def test_the_archive_is_deleted_when_nothing_refers_to_it(project: Path) -> None:
    staged = stage(DAG("d", [Job("a", command="true")], project=project))
    archive = next(iter(staged.artifacts.values()))
    resolved = staged.resolve({})
    del staged
    gc.collect()
    assert archive.exists()
    del resolved
    gc.collect()
    assert not archive.exists()


def test_perm_files_are_resolved_by_the_client(project: Path) -> None:
    jobs = [Job("a", file="perm:tools/x.sh"), Job("b", file="perm:tools/x.sh", retries=0), Job("c", file="perm:y", priority=2)]
    staged = stage(DAG("d", jobs, project=project))
    assert staged.unresolved == ("tools/x.sh", "y")
    first = staged.spec.templates[0]
    assert (first.file, first.file_hash, first.archive) == ("x.sh", "perm:tools/x.sh", "")
    assert staged.artifacts == {}  # no job needs a file of the project, so the project is not sent
    done = staged.resolve({"tools/x.sh": "1" * 64, "y": "2" * 64})
    assert [t.file_hash for t in done.spec.templates] == ["1" * 64, "1" * 64, "2" * 64]
    assert done.unresolved == ()
    with pytest.raises(InvalidGraph, match="perm_files") as caught:
        staged.resolve({"tools/x.sh": "1" * 64})
    assert caught.value.job == "c"


def test_links_may_be_run_but_not_out_of_the_project(project: Path, tmp_path: Path) -> None:
    (project / "alias.py").symlink_to("steps/one.py")
    assert stage(DAG("d", [Job("a", file="alias.py")], project=project)).spec.templates[0].file == "alias.py"
    linked = tmp_path / "elsewhere"
    linked.symlink_to(project)
    staged = stage(DAG("d", [Job("a", file=linked / "steps" / "one.py")], project=linked))
    assert staged.spec.templates[0].file == "steps/one.py"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("none.py", "does not exist"),
        ("steps", "is a folder"),
        ("fifo", "is not a regular file"),
        ("steps/one.py/x", "cannot be read"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_bad_files_name_job_and_path(project: Path, file: str, says: str, inside: bool) -> None:
    if file == "fifo":
        os.mkfifo(project / file)
        (project / ".titanignore").write_text("fifo\n")
    job = Job("j", file=file if inside else project / file)
    with pytest.raises(InvalidGraph, match=says) as caught:
        stage(DAG("d", [Job("fine", command="true"), job], project=project if inside else None))
    assert caught.value.job == "j"
    assert file in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_is_refused(project: Path) -> None:
    (project / "data.csv").chmod(0)
    for dag in (DAG("d", [Job("j", command="x")], project=project), DAG("d", [Job("j", file=project / "data.csv")])):
        with pytest.raises(InvalidGraph, match="cannot be read") as caught:
            stage(dag)
        assert caught.value.job == "j"


def test_a_file_outside_or_left_out_of_the_project_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "out.py").write_text("")
    for file in ("../out.py", str(tmp_path / "out.py")):
        with pytest.raises(InvalidGraph, match="outside of the project"):
            stage(DAG("d", [Job("j", file=file)], project=project))
    (project / ".titanignore").write_text("steps/\n")
    with pytest.raises(InvalidGraph, match=r"excluded.*\.titanignore"):
        stage(DAG("d", [Job("j", file="steps/one.py")], project=project))


def test_graph_is_checked_at_once() -> None:
    a, b = Job("a", command="x", parents=["b"]), Job("b", command="x", parents=["a"])
    with pytest.raises(InvalidGraph, match=r"cycle: (a -> b -> a|b -> a -> b)"):
        stage(DAG("d", [a, b]))
    with pytest.raises(InvalidGraph, match="no job of this DAG"):
        stage(DAG("d", [a]))
    with pytest.raises(InvalidGraph, match="twice"):
        stage(DAG("d", [Job("a", command="x"), Job("a", command="y")]))
    with pytest.raises(InvalidGraph, match="no jobs"):
        stage(DAG("d", []))


def test_a_project_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidGraph, match="no such folder"):
        stage(DAG("d", [Job("j", command="x")], project=tmp_path / "none"))


def test_the_examples_of_docstrings_run() -> None:
    result = doctest.testmod(titan.sdk.staging)
    assert result.attempted > 1
    assert result.failed == 0


# -- two jobs that differ in one field -------------------------------------------------------------
DIFFERENT: dict[str, dict[str, Any]] = {
    "cache": {"cache": True},
    "file": {"command": None, "file": "perm:other.py"},
    "command": {"command": "false"},
    "requirement": {"requirement": "GPU"},
    "priority": {"priority": 2},
    "delay": {"delay": 1.0},
    "affinity": {"affinity": True},
    "retries": {"retries": 1},
    "timeout": {"timeout": 9.0},
    "env": {"env": {"A": "b"}},
    "python": {"command": None, "file": "perm:it.py", "python": "python3.11"},
    "driver": {"command": None, "file": "perm:it.py", "driver": "process"},
    "backoff": {"backoff": 2.0},
    "backoff_max": {"backoff": 2.0, "backoff_max": 9.0},
    "no_retry": {"no_retry": [3]},
    "on_failure": {"on_failure": "continue"},
    "always": {"always": True},
    "condition": {"condition": "first.state == COMPLETED"},
    "type": {"type": "gate", "command": None},
    "message": {"type": "gate", "command": None, "message": "may it?"},
    "max_wait": {"type": "gate", "command": None, "max_wait": 60.0},
    "webhook": {"type": "gate", "command": None, "webhook": "http://example.org/x"},
    "run_at": {"run_at": 4_000_000_000.0},
    "limits": {"limits": {"memory": "1GB"}},
    "cpus": {"cpus": 1.0},
    "memory": {"memory": "1GB"},
    "gpus": {"gpus": 1},
    "service": {"type": "service", "port": 0},
    "secrets": {"secrets": ["TOKEN"]},
    "outputs": {"outputs": {"it": "it.txt"}},
    "inputs": {"inputs": {"it.txt": "first.it"}, "parents": ["first"]},
    "cwd": {"cwd": "/srv"},
    "stdin": {"stdin": __file__},
    "log_limit": {"log_limit": "1MiB"},
    "max_parallel": {"foreach": 2, "max_parallel": 1},
}
"""Field of a job that goes into its template -> values of a job that differs from `Job(id,
command="true")` in this field. A new field must be added here. If it does not go into templates,
its row has `own=True` instead."""
BESIDE = {"python": "file", "driver": "file", "backoff_max": "backoff", "message": "type", "max_wait": "type", "webhook": "type"}
"""Field -> another field that it needs. The job is compared with a job that differs only in the
other field."""


def test_each_field_of_a_job_is_of_that_job_alone_or_makes_its_template() -> None:
    derived = {"handler"}
    assert {it.name for it in fields(Job)} == {*derived, *DIFFERENT, *(row.name for row in Job.ROWS.values() if row.own)}


@pytest.mark.parametrize("field", DIFFERENT)
def test_a_job_never_has_the_template_of_one_that_differs_in_a_field(field: str) -> None:
    first = Job("first", command="touch it.txt", outputs={"it": "it.txt"})
    base = DIFFERENT[BESIDE[field]] if field in BESIDE else {}
    if BESIDE.get(field) == "file":
        base = {"command": None, "file": "perm:it.py"}
    plain, other = Job("a", **{"command": "true", **base}), Job("b", **{"command": "true", **base, **DIFFERENT[field]})
    assert getattr(plain, field) != getattr(other, field)
    spec = stage(DAG("d", [first, plain, other])).spec
    assert spec.templates[spec.template_of[1]] != spec.templates[spec.template_of[2]]
