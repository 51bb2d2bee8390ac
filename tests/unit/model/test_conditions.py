"""Conditions: their syntax, their meaning, and one line for each mistake."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import titan.model.conditions
from titan.model.conditions import (
    MAX_CONDITION,
    BadCondition,
    Reference,
    is_true,
    parse,
    part_of,
    renamed,
    result_of,
    values_text,
    with_params,
)

STATES = {
    "a": "COMPLETED",
    "prep-1.x": "DEAD",
    "train[lr=0.1]": "COMPLETED",
    "s": "SKIPPED",
    "a.result": "CANCELLED",
    "x=1": "DEAD",
}
RESULTS = {
    "a": {"acc": 0.93, "ok": True, "tags": ["x", {"n": 3}], "name": "it's", "state": "fine", "none": None},
    "train[lr=0.1]": 7,
}


def read(reference: Reference) -> object:
    if reference.keys is None:
        return STATES[reference.job]
    return part_of(RESULTS[reference.job], reference)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("true", True),
        ("not False", True),
        ("'prod' == \"prod\"", True),
        ("a.state == COMPLETED", True),
        ("a.state=='COMPLETED'", True),
        ("prep-1.x.state == FAILED and prep-1.x.state == DEAD", True),
        ("prep-1.x.state == 'FAILED'", True),
        ("prep-1.x.state != FAILED", False),
        ("a.state == s.state", False),
        ("'a.result'.state == CANCELLED", True),
        ('"x=1".state == DEAD', True),
        ("a.result.acc > 0.9", True),
        ("a.result.acc>=.93 and a.result.acc<=93e-2", True),
        ("a.result.ok", True),
        ("a.result.ok == 1", False),
        ("a.result.none == null", True),
        ("a.result.none == 0", False),
        ("a.result.state == 'fine'", True),
        ("a.result.tags.0 == 'x' and a.result.tags.1.n == 3.0", True),
        (r"a.result.name == 'it\'s'", True),
        ("a.result.name < 'j'", True),
        ("train[lr=0.1].result == 7", True),
        ("train[lr=0.1].result == '7'", False),
        ("train[lr=0.1].result > -8", True),
        ("false and a.result.missing", False),
        ("true or a.result.missing", True),
        ("false or true and false", False),
        ("not (a.result.ok and false)", True),
        ("not a.state == FAILED", True),
        ("(a.result.acc > 0.9) == true", True),
    ],
)
def test_a_condition_means_what_it_says(text: str, wanted: bool) -> None:
    assert is_true(parse(text), read) is wanted


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a.state", "a.state is a text: compare it, as in a.state == COMPLETED"),
        ("a.state == RUNNING", "a.state is never 'RUNNING': a job ends as COMPLETED, DEAD, CANCELLED or SKIPPED"),
        ("a.state == 'done'", "a.state is never 'done'"),
        ("a.state > DEAD", "a.state has no order: compare it by == or !="),
        ("'x'", "'x' is not true or false"),
        ("3 and true", "3 is not true or false"),
        ("a.result.x = 1", "write == to compare"),
        ("x=1.state == DEAD", "an id with = outside of [ ] is quoted"),
        ("params.env == 'prod'", "'params.env' is not known: write ${params.env} for the value of a parameter"),
        ("prod == 'prod'", "'prod' is not known: write 'prod' in quotes for a text"),
        ("'a", "has no closing quote"),
        ("(a.result", "a parenthesis is not closed"),
        ("a.result)", "')' closes no parenthesis"),
        ("a.result a.result", "'a.result' is not expected there: join conditions by and or or"),
        ("1 < 2 < 3", "'<': compare two values at a time"),
        ("a.result and", "ends too early: a value is missing"),
        ("a.result and or", "a value is missing before 'or'"),
        ("== 1", "a value is missing before '=='"),
        ("a.result.x == ${item}", "only ${params.NAME} is replaced here"),
        ("${params.x} == 1", "'${params.x}' is replaced only in pipeline files"),
        ("'a'.foo == 1", "is not the state or the result of a job"),
        ("a.result..x", "'a.result..x' is not known"),
        ("__import__('os').system('x')", "'__import__' is not known"),
        ("a.result.x; true", "'; true' cannot be read"),
        ("(" * 33 + "true" + ")" * 33, "is nested more than 32 deep"),
        ("not " * 33 + "true", "is nested more than 32 deep"),
        ("x" * (MAX_CONDITION + 1), "has 2,001 characters; the limit is 2,000"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_fix(text: str, problem: str) -> None:
    with pytest.raises(BadCondition) as caught:
        parse(text)
    assert problem in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.result.acuracy > 1", "a.result has no 'acuracy': it has acc, ok, tags, name, state, none"),
        ("a.result.tags.2", 'a.result.tags has no \'2\': it is ["x",{"n":3}]'),
        ("a.result.acc.x == 1", "a.result.acc has no 'x': it is 0.93"),
        ("a.result.acc", "a.result.acc is 0.93, not true or false"),
        ("a.result.name > 3", "> 3: only two numbers or two texts have an order"),
        ("a.result.ok > 0", "true > 0: only two numbers or two texts have an order"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_and_not_false(text: str, problem: str) -> None:
    with pytest.raises(BadCondition) as caught:
        is_true(parse(text), read)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("state", "value", "problem"),
    [
        ("DEAD", b"", "a is DEAD and has no result"),
        ("COMPLETED", b"", "a set no result: call context.result in it, or `titan context result`"),
        ("COMPLETED", b"k" + bytes(40), "the result of a is larger than 64 KiB"),
        ("COMPLETED", b"icpickle", "the result of a is a Python object"),
        ("COMPLETED", b"j{", "the result of a is not valid JSON"),
        ("COMPLETED", b"j\xff\xfe", "the result of a is not valid JSON"),
        ("COMPLETED", b"j" + b"[" * 60_000, "the result of a is not valid JSON"),
    ],
)
def test_a_result_that_cannot_be_read_is_an_error(state: str, value: bytes, problem: str) -> None:
    with pytest.raises(BadCondition, match=problem):
        result_of("a", state, value)


def test_a_value_of_a_parameter_stays_one_value_whatever_it_holds() -> None:
    values = {"${params.env}": ("x' or 'a' == 'a", True), "${params.n}": ("3", False), "${params.q}": ('\\"', True)}
    text = with_params("${params.env} == 'x' or '${params.env}' == \"-${params.q}\" or ${params.n} > 4", values.__getitem__)
    assert is_true(parse(text), read) is False
    same = with_params("'${params.env}' == ${params.env} and \"${params.q}\" == ${params.q}", values.__getitem__)
    assert is_true(parse(same), read) is True


def test_renaming_jobs_keeps_the_meaning() -> None:
    text = renamed("a.state == COMPLETED and 'a.state' == 'a.state' and b.result.x > 1", {"a": "sub.a.result"})
    assert text == "'sub.a.result'.state == COMPLETED and 'a.state' == 'a.state' and b.result.x > 1"
    assert parse(text).jobs == ("sub.a.result", "b")


def test_long_values_are_cut_in_a_reason() -> None:
    assert values_text({Reference("a", ("x",)): "y" * 10_000}) == f"a.result.x is 'y{'y' * 55}..."


@given(st.text(st.sampled_from("ab.[]'\"()=<>!-1 \\${}_") | st.characters(), max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        condition = parse(text)
    except BadCondition as bad:
        assert str(bad).isprintable() or "\n" not in str(bad)
    else:
        assert all(reference.job for reference in condition.references)


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(titan.model.conditions).failed == 0
