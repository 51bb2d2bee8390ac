"""Placeholders of results: which texts have one, and what is put in."""

from __future__ import annotations

import pytest

from titan.errors import InvalidGraph
from titan.model.conditions import BadCondition, Reference, reference_in
from titan.model.dag import DagSpec, JobTemplate, Service
from titan.model.graph import resolve
from titan.model.job_results import (
    has_placeholder,
    may_be_of_shell,
    put_results,
    references_of,
    renamed_results,
    size_problem,
    text_of_result,
    words_in,
)


@pytest.mark.parametrize(
    "text",
    [
        "${a}",
        "${a.resultx}",
        "${.result}",
        "${a.result.}",
        "$a.result",
        "${a.result",
        "{a.result}",
        "${a b.result}",
        "${a..result x}",
    ],
)
def test_other_texts_are_no_placeholders(text: str) -> None:
    assert list(words_in(text)) == [] and put_results(text, lambda _: "never") == text


@pytest.mark.parametrize("name", ["a", "a-b", "train[lr=0.1]", "x:y@z", "sub.a[3]", "_"])
@pytest.mark.parametrize("keys", ["", ".k", ".k.0.z", ".result"])
def test_each_id_and_key_can_be_named(name: str, keys: str) -> None:
    text = f"${{{name}.result{keys}}}"
    assert has_placeholder(text) and [job for job, _ in words_in(f"x{text}y")] == [name]
    assert put_results(f"{text}{text}", lambda reference: f"<{reference}>") == f"<{name}.result{keys}>" * 2


def test_a_value_is_not_searched_for_placeholders_again() -> None:
    values = {"a.result": "${b.result} $${b.result} ${service:db}", "b.result": "never"}
    assert put_results("${a.result}", lambda r: values[str(r)]) == values["a.result"]


@pytest.mark.parametrize(
    ("result", "reference", "text"),
    [
        (b'"it\'s; $(x)"', "a.result", "it's; $(x)"),
        (b'{"k": [1, 2.5, null, true, "x"]}', "a.result.k", '[1,2.5,null,true,"x"]'),
        (b'{"k": [1, "x"]}', "a.result.k.1", "x"),
        (b"null", "a.result", "null"),
        (b"false", "a.result", "false"),
        (b'""', "a.result", ""),
        ('"ü"'.encode(), "a.result", "ü"),
        (b"123456789012345678901234567890", "a.result", "123456789012345678901234567890"),
    ],
)
def test_a_text_is_put_in_as_it_is_and_other_values_as_json(result: bytes, reference: str, text: str) -> None:
    assert text_of_result(_reference(reference), b"j" + result) == text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "a set no result: call context.result in it, or `titan context result`"),
        (b"i\x80", "the result of a is a Python object: set plain values by context.result"),
        (b"k" + bytes(40), "the result of a is larger than 64 KiB: set a smaller one"),
        (b"j{", "the result of a is not valid JSON"),
        (b'j{"y": 1}', "a.result has no 'x': it has y"),
        (b'j{"x": "a\\u0000b"}', "a.result.x holds a NUL character, which no argument can hold"),
    ],
)
def test_a_result_that_cannot_be_put_in_has_a_reason(value: bytes, problem: str) -> None:
    with pytest.raises(BadCondition) as caught:
        text_of_result(_reference("a.result.x"), value)
    assert str(caught.value) == problem


def test_only_results_of_parents_are_read() -> None:
    template = JobTemplate(command="echo ${OUT-a.result} ${a.result.x}", env=(("V", "${b.result}"),), fills_results=True)
    assert references_of(template, ("$${b.result.no}", "${c.result}"), {"a": None, "b": None}) == [
        Reference("a", ("x",)),
        Reference("b", ()),
    ]


@pytest.mark.parametrize("text", ["${OUT:-a.result}", "${a-b.result}", "${x:=y.result}", "${x?no.result}", "${x+y.result.z}"])
def test_the_expansions_of_a_shell_are_recognized(text: str) -> None:
    assert may_be_of_shell(text) and not may_be_of_shell("${train[0].result}") and not may_be_of_shell("${a.result}")


def test_arguments_and_variables_have_a_limit_with_the_values_put_in() -> None:
    template = JobTemplate(command="x", env=(("V", "${a.result}"),), fills_results=True)
    values = {Reference("a", ()): "ä" * 32_000}
    assert size_problem(template, ("${a.result}", "${a.result}"), values) == ""
    problem = size_problem(template, ("${a.result}",) * 3, values)
    assert problem.startswith("with the results of other jobs the arguments take 192,000 bytes; the limit is 131,072: ")
    wide = JobTemplate(command="x", env=(("V", "${a.result}" * 3),), fills_results=True)
    assert "a variable of env takes 192,003 bytes" in size_problem(wide, (), values)


def test_new_ids_reach_the_placeholders() -> None:
    assert renamed_results("${a.result.a} ${b.result} $${a.result}", {"a": "sub.a"}) == "${sub.a.result.a} ${b.result} $${a.result}"


@pytest.mark.parametrize(
    ("command", "args", "problem"),
    [
        ("echo", ("${b.result}",), "job 'c': ${b.result}: 'b' is not a job that this one depends on"),
        ("echo ${b.result.x}", (), "job 'c': ${b.result.x}: 'b' is not a job that this one depends on"),
        ("echo ${s.result}", (), "job 'c': ${s.result}: 's' is a service, which has no result: name another job"),
    ],
)
def test_the_master_refuses_placeholders_of_jobs_that_are_no_parents(command: str, args: tuple[str, ...], problem: str) -> None:
    service = JobTemplate(command="serve", kind="service", service=Service())
    templates = [JobTemplate(command="true"), service, JobTemplate(command=command, fills_results=True)]
    spec = DagSpec("d", "", templates, ["a", "b", "s", "c"], [0, 0, 1, 2], [(), (), (), args], [(), (), (), ("a", "s")])
    with pytest.raises(InvalidGraph) as caught:
        resolve(spec)
    assert str(caught.value) == problem


def _reference(text: str) -> Reference:
    found = reference_in(text)
    assert found is not None
    return found
