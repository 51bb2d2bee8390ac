"""`defaults`, `env` and ignored keys at the root of a pipeline, and files of several pipelines."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan.errors import InvalidPipeline
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_params, load_pipeline, load_pipelines
from titan.sdk.staging import stage

JOBS = "jobs:\n  - {id: a, command: x}\n"


def load(tmp_path: Path, text: str) -> DAG:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return load_pipeline(path)


def jobs(tmp_path: Path, text: str) -> dict[str, Job]:
    return {job.id: job for job in load(tmp_path, f"name: x\n{text}").jobs}


def fault(tmp_path: Path, text: str) -> str:
    with pytest.raises(InvalidPipeline) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{tmp_path / 'p.yaml'}:")


# -- values ----------------------------------------------------------------------------------------
def test_jobs_have_the_defaults_and_their_own_values_win(tmp_path: Path) -> None:
    given = "  - {id: a, command: x}\n  - {id: b, command: x, retries: 5, timeout: null}\n"
    text = f"defaults: {{retries: 1, timeout: 10m, requirement: GPU}}\njobs:\n{given}"
    found = jobs(tmp_path, text)
    assert [(j.retries, j.timeout, j.requirement) for j in found.values()] == [(1, 600.0, "GPU"), (5, None, "GPU")]


def test_variables_of_the_root_the_defaults_and_the_job_are_merged(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        "env: {A: root, B: root, C: root}\ndefaults: {env: {B: default, C: default}}\n"
        "jobs:\n  - {id: a, command: x, env: {C: job, D: 1.10}}\n  - {id: b, command: x}\n",
    )
    assert dict(found["a"].env) == {"A": "root", "B": "default", "C": "job", "D": "1.10"}
    assert dict(found["b"].env) == {"A": "root", "B": "default", "C": "default"}


def test_a_default_command_is_that_of_jobs_without_work(tmp_path: Path) -> None:
    (tmp_path / "s.py").touch()
    found = jobs(
        tmp_path, "defaults: {command: echo}\njobs:\n  - {id: a, args: [1]}\n  - {id: b, file: s.py}\n  - {id: c, pipeline: p}\n"
    )
    assert [(job.command, job.file, job.pipeline) for job in found.values()] == [
        ("echo", None, None),
        (None, "s.py", None),
        (None, None, "p"),
    ]


@pytest.mark.parametrize(
    ("key", "default", "without", "other"),
    [
        ("timeout", "60", "type: service, command: x", "command: x"),
        ("port", "80", "command: x", "type: service, command: x"),
        ("python", ".venv", "command: x", "file: s.py"),
        ("driver", "python", "command: x", "file: s.py"),
        ("cwd", "/tmp", "command: x, outputs: [o]", "command: x"),
        ("cwd", "script", "command: x", "file: s.py"),
        ("outputs", "[o]", "command: x, cwd: /tmp", "command: x"),
        ("args", "[1]", "pipeline: p", "command: x"),
        ("log_limit", "1MiB", "pipeline: p", "command: x"),
        ("foreach", "2", "command: x, matrix: {k: [1, 2, 3]}", "command: x"),
        ("max_parallel", "1", "command: x", "command: x, foreach: 2"),
        ("retries", "7", "type: gate", "command: x"),
        ("message", "go", "command: x", "type: gate"),
        ("webhook", "'https://h/'", "command: x", "command: x, hitl_message: go"),
        ("hitl_message", "go", "type: service, command: x", "command: x"),
    ],
)  # fmt: skip
def test_a_default_is_left_out_where_a_job_cannot_have_it(tmp_path: Path, key: str, default: str, without: str, other: str) -> None:
    (tmp_path / "s.py").touch()
    first, second = f"jobs:\n  - {{id: a, {without}}}\n", f"  - {{id: b, {other}}}\n"
    found = jobs(tmp_path, f"defaults: {{{key}: {default}}}\n{first}{second}")
    assert values(found["a"]) == values(jobs(tmp_path, first)["a"])
    assert values(found["b"]) != values(jobs(tmp_path, f"jobs:\n{second}")["b"])


def values(job: Job) -> object:
    """All values of a job."""
    return Job.values_of(job), job.service, job.matrix


def test_a_default_does_not_make_a_job_depend_on_itself(tmp_path: Path) -> None:
    text = "defaults: {depends_on: first, on_failure: {run: alarm}}\njobs:\n  - {id: first, command: x}\n  - {id: b, command: x}\n"
    found = jobs(tmp_path, f"{text}  - {{id: alarm, command: x, depends_on: []}}\n")
    assert (found["first"].parents, found["b"].parents, found["alarm"].parents) == ((), ("first",), ())
    assert (found["first"].handler, found["b"].handler, found["alarm"].handler) == ("alarm", "alarm", "")


def test_a_type_may_be_a_default(tmp_path: Path) -> None:
    found = jobs(
        tmp_path, "defaults: {type: service, timeout: 60}\njobs:\n  - {id: a, command: x}\n  - {id: b, command: x, type: task}\n"
    )
    assert [(job.type, job.timeout) for job in found.values()] == [("service", None), ("run", 60.0)]


def test_parameters_stand_in_defaults_but_not_in_ignored_keys(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        "params: {n: 4, d: a b}\nx-note: ${params.unknown}\nenv: {N: '${params.n}'}\n"
        "defaults: {retries: '${params.n}', args: '--in ${params.d}'}\njobs: [{id: a, command: x}]\n",
    )
    assert (found["a"].retries, found["a"].env, found["a"].args) == (4, (("N", "4"),), ("--in", "a b"))


def test_anchors_live_under_ignored_keys(tmp_path: Path) -> None:
    found = jobs(tmp_path, "x-gpu: &gpu {requirement: GPU, gpus: 1}\njobs:\n  - {id: a, command: x, <<: *gpu, gpus: 2}\n")
    assert (found["a"].requirement, found["a"].gpus) == ("GPU", 2)


def test_a_task_is_a_run_and_a_single_parent_is_a_text(tmp_path: Path) -> None:
    found = jobs(tmp_path, "jobs:\n  - {id: a, type: task, command: x}\n  - {id: b, command: x, depends_on: a}\n")
    assert (found["a"].type, found["b"].parents) == ("run", ("a",))
    assert Job("b", command="x", parents=found["a"], type="task") is not None
    assert Job("b", command="x", parents="a").parents == Job("b", command="x", parents=found["a"]).parents == ("a",)


# -- refusals --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("defaults: [1]", "2: defaults: must be a mapping of keys of jobs, {retries: 1}, not a list"),
        ("defaults:", "2: defaults: must be a mapping of keys of jobs, {retries: 1}, not nothing"),
        ("defaults: {retry: 1}", "2: retry: unknown key: did you mean 'retries'?"),
        ("defaults:\n  id: a", "3: defaults.id: is no default: each job needs an id of its own"),
        ("defaults:\n  retries: many", "3: defaults.retries: must be an integer, not the string 'many'"),
        ("defaults:\n  retries: 1001", "3: defaults.retries: must be 0 to 1,000"),
        ("defaults:\n  message: [1]", "3: defaults.message: must be a string, not a list"),
        ("defaults: {env: {TITAN_RUN: x}}", "2: defaults.env: "),
        ("defaults: {file: none.py}", "2: file: 'none.py': does not exist in"),
        ("env: [A=1]", "2: env: must be a mapping of names to values, not a list"),
        ("env: {A: [1]}", "2: env.A: must be a string or a number, not a list"),
        ("env: {TITAN_RUN: x}", "2: env: "),
        ("python: 3.11", "2: python: must be a string"),
        ("x: 1", "2: x: unknown key"),
        ("X-a: 1", "2: X-a: unknown key"),
    ],
)
def test_bad_defaults_are_refused_with_their_line(tmp_path: Path, head: str, says: str) -> None:
    work = "jobs: [{id: a}]\n" if "file" in head else JOBS
    assert fault(tmp_path, f"name: x\n{head}\n{work}").startswith(says)


def test_an_ignored_key_of_a_job_is_refused(tmp_path: Path) -> None:
    assert fault(tmp_path, "name: x\njobs:\n  - id: a\n    x-note: 1\n").startswith("4: x-note: unknown key")


def test_defaults_are_counted_for_every_job(tmp_path: Path) -> None:
    variables = ", ".join(f"V{n}: x" for n in range(1000))
    many = "".join(f"  - {{id: a{n}, command: x}}\n" for n in range(500))
    says = fault(tmp_path, f"name: x\nenv: {{{variables}}}\njobs:\n{many}")
    assert says == "2: defaults: would add more than 500,000 values to the jobs: split the pipeline"


# -- several pipelines -----------------------------------------------------------------------------
def test_each_document_is_a_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"---\nname: one\n{JOBS}---\n# nothing\n---\nname: two\nproject: false\n{JOBS}---\n")
    dags = load_pipelines(path)
    assert [(dag.name, dag.size, dag.source) for dag in dags] == [("one", 1, ""), ("two", 1, "")]
    assert [stage(dag).spec.ids for dag in dags] == [["a"], ["a"]]
    path.write_text(f"name: one\n{JOBS}")
    assert [dag.source for dag in load_pipelines(path)] == [str(path)]


def test_a_pipeline_gets_the_parameters_that_it_declares(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        f"name: 'one-${{params.n}}'\nparams: {{n: 1}}\n{JOBS}---\n"
        f"name: 'two-${{params.n}}-${{params.m}}'\nparams: {{n: 2, m: 3}}\n{JOBS}"
    )
    assert [dag.name for dag in load_pipelines(path, params={"m": 8})] == ["one-1", "two-2-8"]
    assert [dag.name for dag in load_pipelines(path, params={"n": 9})] == ["one-9", "two-9-3"]
    with pytest.raises(InvalidPipeline, match="'k' is not declared"):
        load_pipelines(path, params={"k": 1})
    assert [param.name for param in load_params(path)] == ["n", "m"]


def test_an_anchor_ends_with_its_document(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"name: one\nx-a: &a 1\n{JOBS}---\nname: two\nx-a: *a\n{JOBS}")
    with pytest.raises(InvalidPipeline, match=r":7: \*a: no such anchor"):
        load_pipelines(path)
