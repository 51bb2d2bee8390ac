"""Pipeline files of the Titan SDK: keys that they leave out, misspell or write differently."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from titan.compat import TitanJob, TitanYAMLParser, UnknownKey
from titan.compat.job import gate_id
from titan.compat.titan_yaml_parser import load_dag
from titan.errors import InvalidPipeline
from titan.sdk.job import DAG
from titan.sdk.staging import stage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "s.py").write_text("pass\n")
    return tmp_path


def write(folder: Path, text: str) -> str:
    path = folder / "agent.yaml"
    path.write_text(text)
    return str(path)


def load(folder: Path, text: str, *, shared_cwd: bool = False) -> DAG:
    return load_dag(write(folder, text), shared_cwd=shared_cwd)


def test_a_pipeline_file_of_the_titan_sdk_is_accepted(folder: Path) -> None:
    dag = load(
        folder,
        """
version: 1.0
project: yes
jobs:
  - id: 7
    type: RUN
    file: src/s.py
    args: --mode 'a b'
    priority: "10"
    requirement:
  - id: DAG-second
    type: TASK
    file: src/s.py
    args: 5
    delay: 2
    affinity: on
    port: 80
    depends_on: ["7"]
  - id: third
    file: src/s.py
    args:
    depends_on: DAG-second
  - {id: server, type: Service, file: src/s.py, port: "9000", depends_on: [DAG-third]}
""",
    )
    first, second, third, server = dag.jobs
    assert (dag.name, dag.version, dag.project) == ("titan_agent", "1.0", folder)
    assert (first.id, first.args, first.priority, first.requirement) == ("7", ("--mode", "'a", "b'"), 10, "GENERAL")
    assert (second.id, second.args, second.delay, second.affinity, second.parents) == ("second", ("5",), 2.0, True, ("7",))
    assert (third.args, third.parents) == ((), ("second",))
    assert server.service is not None
    assert (server.service.port, server.service.keep, server.parents) == (9000, True, ("third",))


def test_unknown_keys_are_ignored_with_a_warning_that_names_the_line(folder: Path) -> None:
    text = "name: n\nowner: me\njobs:\n- {id: a, file: src/s.py, priorty: 3,\n   type: SPARK}\n"
    with pytest.warns(UnknownKey) as caught:
        dag = load(folder, text)
    where = f"{folder}/agent.yaml"
    assert [str(warning.message) for warning in caught] == [
        f"{where}:2: owner: unknown key, ignored",
        f"{where}:4: priorty: unknown key, ignored: did you mean 'priority'?",
        f"{where}:5: type: 'SPARK' is not known and means run: use run, service or gate",
    ]
    assert {warning.filename for warning in caught} == {__file__}, "at the line of the caller"
    assert (dag.jobs[0].priority, dag.jobs[0].type) == (1, "run")


def test_keys_of_titan_are_accepted_too(folder: Path) -> None:
    dag = load(
        folder,
        "jobs:\n- {id: a, command: 'echo $1', args: [a b], retries: 0, outputs: [x]}\n"
        "- {id: b, file: src/s.py, inputs: {x: a.x}}\n- {id: c, type: gate, message: 'Go on?', depends_on: [b]}\n",
        shared_cwd=True,
    )
    assert [(job.args, job.retries, job.type, job.cwd) for job in dag.jobs] == [
        (("a b",), 0, "run", None),
        ((), 3, "run", None),
        ((), 3, "gate", None),
    ]


def test_a_gate_is_found_by_its_name_there(folder: Path) -> None:
    dag = load(
        folder,
        "jobs:\n- {id: DAG-a, file: src/s.py, hitl_message: 'Go on?', max_wait_seconds: '60'}\n"
        "- {id: b, file: src/s.py, depends_on: [hitl-gate-a]}\n- {id: c, file: src/s.py, depends_on: [a]}\n",
    )
    spec = stage(dag, gate_id=gate_id).spec
    assert spec.ids == ["a", "hitl-gate-a", "b", "c"]
    assert list(spec.parents) == [(), ("a",), ("hitl-gate-a",), ("hitl-gate-a",)]


@pytest.mark.parametrize(("project", "cwd"), [("true", "script"), ("false", "shared"), ("no", "shared")])
def test_files_run_in_the_same_folder_as_with_the_titan_sdk(folder: Path, project: str, cwd: str) -> None:
    text = f"project: {project}\njobs:\n- {{id: a, file: src/s.py}}\n"
    text += "- {id: b, file: src/s.py, cwd: /srv}\n- {id: c, command: 'true'}\n"
    assert [job.cwd for job in load(folder, text, shared_cwd=True).jobs] == [cwd, "/srv", None]
    assert [job.cwd for job in load(folder, text).jobs] == [None, "/srv", None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: n\n", "1: jobs: is missing"),
        ("jobs: 3\n", "1: jobs: must be a list of jobs"),
        ("jobs:\n- {file: src/s.py}\n", "2: id: is missing"),
        ("jobs:\n- {id: a}\n", "2: command: give exactly one of file and command"),
        ("jobs:\n- {id: a, file: no.py}\n", "2: file: 'no.py': does not exist"),
        ("jobs:\n- {id: a, file: src/s.py, priority: high}\n", "2: priority: must be an integer, not the string 'high'"),
        ("jobs:\n- {id: a, file: src/s.py}\n- {id: DAG-a, file: src/s.py}\n", "3: id: 'a' is already used in line 2"),
        ("jobs:\n- {id: a, file: src/s.py, depends_on: [DAG-b]}\n", "2: depends_on: unknown job 'b'"),
        ("jobs:\n- {id: a, file: src/s.py, depends_on: [{b: c}]}\n", "2: depends_on: must be a string, not a mapping"),
        ("jobs:\n- 3\n", "2: jobs: each job must be a mapping"),
    ],
)
def test_an_invalid_pipeline_file_is_an_error_of_one_line(folder: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        load(folder, text)
    assert str(caught.value).startswith(f"{folder}/agent.yaml:{problem}")


def test_a_missing_pipeline_file_is_refused(folder: Path) -> None:
    for read in (TitanYAMLParser, load_dag):
        with pytest.raises(FileNotFoundError, match="check the path"):
            read(str(folder / "no.yaml"))


# -- TitanYAMLParser -------------------------------------------------------------------------------
def described(job: TitanJob) -> tuple[object, ...]:
    return (job.id, job.filename, job.job_type, job.args, job.parents, job.port, job.is_archive, job.priority, job.delay)


def test_the_parser_makes_jobs_of_a_project(folder: Path) -> None:
    parser = TitanYAMLParser(
        write(
            folder,
            "name: agent\njobs:\n- {id: a, file: src/s.py, args: GO now, delay: 2, priority: 5}\n"
            "- {id: b, type: service, file: src/s.py, port: 9000, depends_on: [a], requirement: GPU, affinity: true}\n",
        )
    )
    assert (parser.get_project_name(), parser.is_project_mode(), parser.project_base) == ("agent", True, str(folder))
    assert parser.config["jobs"][0]["args"] == "GO now"
    first, second = parser.build_jobs()
    assert described(first) == ("a", "agent.zip/src/s.py", "TASK", "GO now", [], 0, True, 5, 2000)
    assert described(second) == ("b", "agent.zip/src/s.py", "SERVICE", "", ["a"], 9000, True, 1, 0)
    assert (second.requirement, second.affinity) == ("GPU", True)


def test_the_parser_makes_jobs_of_single_files(folder: Path) -> None:
    text = "project: false\njobs:\n- {id: a, file: src/s.py, hitl_message: 'Go on?', max_wait_seconds: 60}\n"
    parser = TitanYAMLParser(write(folder, text))
    assert (parser.get_project_name(), parser.is_project_mode()) == ("titan_agent", False)
    (job,) = parser.build_jobs()
    assert (job.filename, job.is_archive, job.hitl_message, job.max_wait_seconds) == (f"{folder}/src/s.py", False, "Go on?", 60)


def test_the_parser_says_which_keys_its_jobs_do_not_have(folder: Path) -> None:
    parser = TitanYAMLParser(write(folder, "jobs:\n- {id: a, file: src/s.py, retries: 0, nonsense: 1}\n"))
    with pytest.warns(UnknownKey) as caught:
        parser.build_jobs()
    assert [str(warning.message).partition("agent.yaml:")[2] for warning in caught] == [
        "2: nonsense: unknown key, ignored",
        "2: retries: ignored: submit_yaml and `titan run` accept it",
    ]


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ("{id: a}", "file: is missing"),
        ("{file: src/s.py}", "id: is missing"),
        ("{id: a, type: service, file: src/s.py}", "port: is missing"),
        ("{id: a, file: src/s.py, delay: soon}", "delay: must be a number"),
    ],
)
def test_the_parser_refuses_invalid_jobs(folder: Path, job: str, problem: str) -> None:
    parser = TitanYAMLParser(write(folder, f"jobs:\n- {job}\n"))
    with pytest.raises(InvalidPipeline) as caught:
        parser.build_jobs()
    assert f":2: {problem}" in str(caught.value)


def test_a_file_of_titan_causes_no_warning(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder, "name: n\njobs:\n- {id: a, command: 'true', retries: 2, timeout: 5}\n").jobs[0].timeout == 5
