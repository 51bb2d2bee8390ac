"""The masker gives the same output for any split of a text. The output contains no secret."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.worker.isolated.masking import MASK, SHORTEST, Masker, Patterns
from titan.worker.secret_forms import forms_of

# Few different letters, so that patterns repeat, overlap and begin within each other.
PATTERNS = st.lists(st.text("ab", min_size=SHORTEST, max_size=9).map(str.encode), min_size=1, max_size=6)
LETTERS = st.text("abc", max_size=6).map(str.encode)
VALUES = st.lists(st.binary(min_size=SHORTEST, max_size=40).filter(lambda value: b"*" not in value), min_size=1, max_size=3)


def split(data: st.DataObject, text: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8), label="cuts"))
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]


def masked(patterns: Patterns, pieces: list[bytes]) -> bytes:
    masker = Masker(patterns)
    return b"".join([*map(masker.feed, pieces), masker.flush()])


def by_the_book(text: bytes, patterns: list[bytes]) -> bytes:
    """Return the masked text, computed byte by byte by the rules in the module's docstring."""
    spans = sorted((at, at + len(p)) for p in patterns for at in range(len(text) - len(p) + 1) if text[at : at + len(p)] == p)
    out, done = b"", 0
    for begin, end in spans:
        if begin >= done:
            out += text[done:begin] + MASK
        done = max(done, end)
    return out + text[done:]


@settings(max_examples=500, deadline=None)
@given(PATTERNS, st.data())
def test_any_split_is_masked_as_the_whole(patterns: list[bytes], data: st.DataObject) -> None:
    parts = st.one_of(LETTERS, st.sampled_from(patterns), st.sampled_from([p[: len(p) // 2] for p in patterns]))
    text = b"".join(data.draw(st.lists(parts, max_size=12), label="text"))
    assert masked(Patterns(patterns), split(data, text)) == by_the_book(text, patterns)


SHOWN: tuple[Callable[[bytes], bytes], ...] = (
    bytes,
    base64.b64encode,
    base64.encodebytes,
    lambda value: base64.urlsafe_b64encode(b"x:" + value),
    lambda value: base64.b64encode(b"x" + value + b"!"),
    lambda value: quote(value).encode(),
    lambda value: value + b"\n",
)
"""Ways in which a program may print a value."""


@settings(max_examples=200, deadline=None)
@given(VALUES, st.lists(st.binary(max_size=9), min_size=2, max_size=5), st.data())
def test_no_form_of_a_secret_gets_through(values: list[bytes], between: list[bytes], data: st.DataObject) -> None:
    shown = [show(value) for value in values for show in SHOWN]
    parts = [part for b in between for part in (b, data.draw(st.sampled_from(shown), label="shown"))]
    out = masked(Patterns(forms_of(values)), split(data, b"".join(parts)))
    assert [form for form in forms_of(values) if form in out] == []


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300), st.data())
def test_text_without_a_secret_is_unchanged(text: bytes, data: st.DataObject) -> None:
    assert masked(Patterns([b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"] * 2), split(data, text)) == text


def test_a_value_of_a_thousand_lines_takes_no_long_time_in_any_pieces() -> None:
    value = b"\n".join(base64.b64encode(bytes([n % 256, n // 256]) * 22)[:62] for n in range(1000))
    patterns = Patterns(forms_of([value]))
    for size in (1, 63, 4096):
        assert masked(patterns, [value[at : at + size] for at in range(0, len(value), size)]) == MASK
