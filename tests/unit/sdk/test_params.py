"""Parameters of pipeline files: declarations, values, and the places where values are inserted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from titan.errors import InvalidPipeline
from titan.sdk import params
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_params, load_pipeline

PARAMS = """\
params:
  epochs: 4
  lr: {type: number, default: 0.10, help: Learning rate}
  mode: {choices: [fast, full], default: fast}
  data: {required: true}
  quiet: false
  note: ''
"""
NEEDED = {"data": "d"}


def load(folder: Path, job: str, given: Mapping[str, object] | None = None, head: str = "name: x\n") -> DAG:
    path = folder / "p.yaml"
    lines = "".join(f"    {line}\n" for line in job.split("\n"))
    path.write_text(f"{head}{PARAMS}jobs:\n  - id: a\n{lines}")
    return load_pipeline(path, params=NEEDED if given is None else given)


def only_job(folder: Path, job: str, given: Mapping[str, object] | None = None) -> Job:
    return load(folder, job, given).jobs[0]


def fault(folder: Path, text: str, given: Mapping[str, object] | None = None) -> str:
    path = folder / "p.yaml"
    path.write_text(text)
    with pytest.raises(InvalidPipeline) as caught:
        load_pipeline(path, params=given or {})
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:")


# -- values in texts -------------------------------------------------------------------------------
def test_a_value_has_the_type_of_its_parameter_where_it_stands_alone(folder: Path) -> None:
    job = only_job(folder, "command: x\nretries: ${params.epochs}\naffinity: ${params.quiet}\ndelay: '${params.lr}'")
    assert (job.retries, job.affinity, job.delay) == (4, False, 0.1)


def test_a_value_in_a_text_is_inserted_as_it_was_written(folder: Path) -> None:
    job = only_job(folder, "command: run ${params.lr}/${params.mode} ${params.note}!\nenv: {N: 'e${params.epochs}'}")
    assert (job.command, job.env) == ("run 0.10/fast !", (("N", "e4"),))


def test_a_value_never_becomes_several_arguments(folder: Path) -> None:
    given = {"data": "a b; 'c", "mode": "full"}
    job = only_job(folder, "command: x\nargs: --in ${params.data} --mode=${params.mode} 'two words'", given)
    assert job.args == ("--in", "a b; 'c", "--mode=full", "two words")
    assert only_job(folder, "command: x\nargs: ['${params.data}']", given).args == ("a b; 'c",)


def test_values_stand_in_every_key_of_the_pipeline_and_its_jobs(folder: Path) -> None:
    dag = load(
        folder,
        "command: x\nforeach: ${params.epochs}\nmatrix: null\n".replace(
            "matrix: null\n", "limits: {processes: '${params.epochs}'}"
        ),
        head="name: x-${params.mode}\nversion: v${params.epochs}\ndeadline: ${params.epochs}h\n",
    )
    assert (dag.name, dag.version, dag.deadline, dag.jobs[0].size) == ("x-fast", "v4", 4 * 3600, 4)
    assert dag.jobs[0].limits is not None
    assert dag.jobs[0].limits.processes == 4


def test_given_values_replace_defaults_and_are_texts_or_values(folder: Path) -> None:
    for epochs in (7, "7"):
        job = only_job(
            folder, "command: x\nretries: ${params.epochs}\naffinity: ${params.quiet}", {**NEEDED, "epochs": epochs, "quiet": True}
        )
        assert (job.retries, job.affinity) == (7, True)


def test_text_like_a_number_stays_a_text_for_a_string(folder: Path) -> None:
    assert load(folder, "command: x", {"data": "007"}, head="name: ${params.data}\n").name == "007"


def test_two_dollars_are_no_placeholder(folder: Path) -> None:
    assert "params.lr" in str(only_job(folder, "command: x\nargs: ['$${params.lr}']").args)


def test_the_text_that_all_values_make_is_limited(folder: Path) -> None:
    items = ", ".join(['"${params.a}"'] * 200)
    text = f"name: x\nparams: {{a: {'v' * 100_000}}}\njobs:\n  - id: a\n    command: x\n    foreach: [{items}]\n"
    assert "the values of parameters exceed 16,777,216 characters: pass a file" in fault(folder, text)


# -- declarations ----------------------------------------------------------------------------------
def test_the_declared_parameters_of_a_file(folder: Path) -> None:
    load(folder, "command: x")
    found = {p.name: (p.type, p.default, p.help, p.choices, p.required) for p in load_params(folder / "p.yaml")}
    assert found == {
        "epochs": ("integer", "4", "", (), False),
        "lr": ("number", "0.10", "Learning rate", (), False),
        "mode": ("string", "fast", "", ("fast", "full"), False),
        "data": ("string", None, "", (), True),
        "quiet": ("boolean", "false", "", (), False),
        "note": ("string", "", "", (), False),
    }


WRONG = [
    ("params: [a]", "1: params: must be a mapping of names to defaults, {epochs: 4}, not a list"),
    ("params: {a b: 1}", "1: params: 'a b' is not a name: "),
    ("params: {a: [1]}", "1: params.a: must be a default, or a mapping such as {type: number, default: 0.1}, not a list"),
    ("params: {a: }", "1: params.a: has no value: write one, '' for an empty text, or {required: true}"),
    ("params: {a: {defualt: 1}}", "1: params.a.defualt: unknown key: did you mean 'default'?"),
    ("params: {a: {type: int, default: 1}}", "1: params.a.type: unknown type 'int': did you mean 'integer'?"),
    ("params: {a: {type: integer, default: 1.5}}", "1: params.a: default: must be an integer, not '1.5'"),
    ("params: {a: {choices: [1, x]}}", "1: params.a: choices: must be an integer, not 'x'"),
    (
        "params: {a: {choices: [fast], default: fats}}",
        "1: params.a: default: 'fats' is not among its choices: did you mean 'fast'?",
    ),
    ("params: {a: {choices: []}}", "1: params.a.choices: must be a list of at least one value, such as [fast, full]"),
    ("params: {a: {required: 3}}", "1: params.a.required: must be true or false, not the number 3"),
    ("params: {a: {required: true, default: 1}}", "1: params.a: is required, so its default is never used"),
    ("params: {a: {required: false}}", "1: params.a: is not required, so it needs a default"),
    ("params: {a: {help: 4}}", "1: params.a.help: must be a string, not the number 4"),
    ("params: {a: {}}", "1: params.a: is required: pass --param a=VALUE"),
]


@pytest.mark.parametrize(("declaration", "message"), WRONG)
def test_a_wrong_declaration_is_one_line_that_names_the_fix(folder: Path, declaration: str, message: str) -> None:
    assert fault(folder, f"{declaration}\nname: x\njobs: [{{id: a, command: x}}]\n").startswith(message)


def test_the_number_of_parameters_is_limited(folder: Path) -> None:
    many = ", ".join(f"p{i}: 1" for i in range(params.MAX_PARAMS + 1))
    assert fault(folder, f"params: {{{many}}}\nname: x\njobs: []\n").startswith("1: params: has 257 parameters; the limit is 256")


# -- wrong values ----------------------------------------------------------------------------------
BODY = "name: x\nparams: {lr: 0.1, mode: {choices: [a, b]}, n: 3}\njobs:\n  - id: a\n    command: x\n    args: [V]\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "a", "lrr": 1}, "2: params: 'lrr' is not declared: did you mean 'lr'?"),
        ({"mode": "a", "zzz": 1}, "2: params: 'zzz' is not declared: there is lr, mode, n"),
        ({"mode": "a", "lr": "fast"}, "2: params.lr: must be a number, not 'fast'"),
        ({"mode": "a", "n": 1.5}, "2: params.n: must be an integer, not '1.5'"),
        ({"mode": "a", "n": None}, "2: params.n: must be an integer"),
        ({"mode": "a", "n": [1]}, "2: params.n: must be an integer"),
        ({"mode": "c"}, "2: params.mode: 'c' is not among its choices: use one of a, b"),
        ({"mode": "a\0"}, "2: params.mode: contains a NUL character"),
        ({}, "2: params.mode: is required: pass --param mode=VALUE"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_fix(folder: Path, given: dict[str, object], message: str) -> None:
    assert fault(folder, BODY, given).startswith(message)


def test_an_unknown_parameter_in_a_text_names_the_nearest(folder: Path) -> None:
    given: dict[str, object] = {"mode": "a"}
    assert (
        fault(folder, BODY.replace("V", '"${params.mod}"'), given) == "6: args: ${params.mod} is not declared: did you mean 'mode'?"
    )
    text = "name: x\njobs: [{id: a, command: 'echo ${params.lr}'}]\n"
    assert (
        fault(folder, text) == "2: command: ${params.lr} is not declared: the pipeline has no parameters: add params: {lr: DEFAULT}"
    )
    assert fault(folder, "name: x\njobs: [{id: a, command: 'echo ${params}'}]\n").startswith(
        "2: command: ${params} is not declared"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
