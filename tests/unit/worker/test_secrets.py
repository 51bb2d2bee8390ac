"""The secrets that a worker keeps, and the forms of them that it masks."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from titan.model.dag import JobTemplate
from titan.protocol.messages import GiveSecrets
from titan.worker.secret_forms import forms_of
from titan.worker.secrets import AttemptSecrets, MissingSecret
from titan.worker.state_machine.messages import Assignment
from titan.worker.state_machine.pipelining import starts_at_once


def assignment(lease: int, *names: str) -> Assignment:
    return Assignment(lease, "r", "j", 1, JobTemplate(command="x", secrets=names), ())


def test_an_attempt_has_the_secrets_of_its_lease_until_the_lease_is_forgotten() -> None:
    given = AttemptSecrets()
    given.take(GiveSecrets(0, ["A", "B"], [b"aaaa", b"bbbb"], [7, 8], [(0, 1), (1,)]))
    assert given.of(assignment(7, "B", "A")) == {"B": b"bbbb", "A": b"aaaa"}
    assert given.of(assignment(8, "B")) == {"B": b"bbbb"}
    given.forget(7)
    given.forget(99)
    with pytest.raises(MissingSecret, match="B did not come with the dispatch") as caught:
        given.of(assignment(7, "B"))
    assert not caught.value.final
    given.keep({5: None})
    with pytest.raises(MissingSecret):
        given.of(assignment(8, "B"))


def test_an_attempt_whose_secret_is_gone_fails_finally() -> None:
    given = AttemptSecrets()
    given.take(GiveSecrets(0, ["A"], [b""], [7], [(0,)]))
    with pytest.raises(MissingSecret, match=r"the secret A was removed after .* then `titan dlq retry r/j`") as caught:
        given.of(assignment(7, "A"))
    assert caught.value.final


def test_the_repr_of_a_message_shows_no_secret_value() -> None:
    assert "hush" not in repr(GiveSecrets(0, ["A"], [b"hush"], [7], [(0,)]))


def test_an_attempt_with_secrets_is_not_queued_behind_another() -> None:
    assert starts_at_once(JobTemplate(command="x"))
    assert not starts_at_once(JobTemplate(command="x", secrets=("A",)))


VALUES = (b"abcd", b'p@ss/w\xc3\xb6rd + "quoted" \\ \'', b"\xff\xfe\xfd\xfc", b"one line\r\n  another\n\nx\nlast", b"~._-" * 40)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_the_forms_of_a_value(value: bytes) -> None:
    forms = forms_of([value])
    assert len(set(forms)) == len(forms) and all(len(form) >= 4 for form in forms)
    text = value.decode("utf-8", "surrogateescape")
    assert value in forms
    assert {quote(value).encode(), quote(value, safe="").encode(), quote_plus(value).encode()} <= set(forms)
    assert json.dumps(text)[1:-1].encode() in forms
    assert repr(text)[1:-1].encode("utf-8", "surrogateescape") in forms
    for line in value.splitlines():
        assert len(line) < 4 or line in forms
    for before in (b"", b"a", b"ab", b"abc", b"user:"):
        for after in (b"", b"\n", b"yz"):
            coded = base64.b64encode(before + value + after)
            assert max(len(form) for form in forms if form in coded) >= len(value) * 4 // 3 - 3
    assert {line for line in base64.encodebytes(value).splitlines() if len(line) >= 4} <= set(forms)


def test_equal_forms_of_several_values_are_listed_once() -> None:
    assert forms_of([b"abcd", b"abcd"]) == forms_of([b"abcd"])
    assert forms_of([]) == []
