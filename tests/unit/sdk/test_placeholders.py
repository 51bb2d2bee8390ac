"""Placeholders in the texts of pipelines: unknown ones are refused, escaped ones are literal."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan.errors import InvalidPipeline
from titan.sdk.job import Job
from titan.sdk.pipeline import load_pipeline


def job(tmp_path: Path, lines: str) -> Job:
    path = tmp_path / "p.yaml"
    path.write_text("name: x\njobs:\n  - id: a\n" + "".join(f"    {line}\n" for line in lines.split("\n")))
    return load_pipeline(path).jobs[0]


def fault(tmp_path: Path, lines: str) -> str:
    with pytest.raises(InvalidPipeline) as caught:
        job(tmp_path, lines)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{tmp_path / 'p.yaml'}:")


# -- what stays, and what is literal ---------------------------------------------------------------
@pytest.mark.parametrize("text", ["${service:db}", "$VAR", "$$", "${", "$ {x}", "x}", "$(date)"])
@pytest.mark.parametrize("key", ["args", "env"])
def test_texts_that_are_replaced_later_or_are_no_placeholder_stay(tmp_path: Path, key: str, text: str) -> None:
    found = job(tmp_path, f"command: x\n{key}: {{A: '{text}'}}" if key == "env" else f"command: x\nargs: ['{text}']")
    assert text in (found.args if key == "args" else dict(found.env).values())


@pytest.mark.parametrize(
    "command",
    [
        "echo ${HOME:-x} ${x%.py} $${pid} ${#x}",
        "for item in a b; do echo ${item}; done",
        "node -e '`${item.name} ${a.b}`'",
        "echo ${OUT:-a.result} ${OUT-no.result.txt}",
    ],
)
def test_the_shells_variables_stay_in_a_command(tmp_path: Path, command: str) -> None:
    text = "command: |\n  " + command
    assert (job(tmp_path, text).command or "")[:-1] == command


@pytest.mark.parametrize("sets", ["for item in a; do", "item=3;", "while read -r item; do", "read a item;"])
def test_a_variable_named_item_that_an_arrays_command_sets_is_its_own(tmp_path: Path, sets: str) -> None:
    assert "${item}" in str(job(tmp_path, f"command: '{sets} echo ${{item}}'\nforeach: 2").command)


def test_two_dollars_are_a_literal_placeholder(tmp_path: Path) -> None:
    work = "command: 'echo $${item} $${params.x} $${HOME}'\nargs: ['$${HOME}', '$${item}']\n"
    found = job(tmp_path, f"{work}env: {{A: '$${{x}} $${{service:db}}'}}\nforeach: ['$${{x}}']")
    assert found.command == "echo ${item} ${params.x} $${HOME}"
    assert [args for _, args, _ in found.rows()] == [("${HOME}", "${item}")]
    assert (found.foreach, dict(found.env)) == (("${x}",), {"A": "${x} $${service:db}"})
    assert job(tmp_path, "command: x\nargs: ['$${HOME}']").args == ("${HOME}",)
    path = tmp_path / "p.yaml"
    path.write_text("name: $${x}\njobs: [{id: a, command: x}]\n")
    assert load_pipeline(path).name == "${x}"


def test_commands_of_health_checks_are_for_a_shell(tmp_path: Path) -> None:
    health = "{type: command, command: 'curl localhost:${TITAN_PORT}'}"
    assert job(tmp_path, f"command: x\ntype: service\nhealth: {health}").service is not None


# -- refusals --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            "command: x\nargs: ['${HOME}']",
            "5: args: ${HOME} is not replaced here: no shell reads args: use $HOME in a command, or write $${HOME}",
        ),
        ("command: x\nenv: {P: '/x:${PATH}'}", "5: env: ${PATH} is not replaced here: no shell reads env"),
        ("command: x\nargs:\n  - a\n  - ${parms.x}", "7: args: ${parms.x} is not replaced here: did you mean ${params.x}?"),
        ("command: x\nforeach: 2\nargs: ['${itme}']", "6: args: ${itme} is not replaced here: did you mean ${item}?"),
        ("command: x\nargs: ['${item}']", "5: args: ${item}: the job is no array: add foreach or matrix"),
        ("command: x\nforeach: 2\nenv: {A: '${item}'}", "6: env: ${item} is replaced only in args and depends_on"),
        (
            "command: echo ${item}\nforeach: 2",
            "4: command: ${item} is not replaced in a command: add args: ['${item}'] and write \"$1\"",
        ),
        ("command: echo ${matrix.a}\nmatrix: {a: [1]}", "4: command: ${matrix.a} is not replaced in a command"),
        ("command: echo ${index}\nexpand: b\ndepends_on: [b]", "4: command: ${index} is not replaced in a command"),
        ("command: x\nforeach: 2\noutputs: ['out-${index}.txt']", "6: outputs: ${index} is replaced only in args and depends_on"),
        ("file: ${item}.py\nforeach: [a]", "4: file: ${item} is replaced only in args and depends_on"),
        ("command: x\ncwd: /data/${x-y}", "5: cwd: ${x-y} is not replaced here: use ${params.NAME}"),
        ("command: x\nargs: ['${}']", "5: args: ${} is not replaced here"),
    ],
)
def test_a_placeholder_that_nothing_replaces_is_refused(tmp_path: Path, lines: str, says: str) -> None:
    assert fault(tmp_path, lines).startswith(says)


def test_texts_of_the_root_and_defaults_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    for head, says in (
        ("name: x-${parms.n}", "1: name: ${parms.n} is not replaced here: did you mean ${params.n}?"),
        ("name: x\ndefaults: {args: ['${HOME}']}", "2: args: ${HOME} is not replaced here"),
        ("name: x\nenv: {A: '${HOME}'}", "2: env: ${HOME} is not replaced here"),
    ):
        path.write_text(f"{head}\njobs: [{{id: a, command: x}}]\n")
        with pytest.raises(InvalidPipeline) as caught:
            load_pipeline(path)
        assert str(caught.value).startswith(f"{path}:{says}")
