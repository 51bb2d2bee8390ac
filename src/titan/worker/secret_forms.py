"""Forms in which a job may print a secret. All of them are masked in its output.

The forms are the value itself, its encodings in base64 and in URLs, and its escapes in JSON and
Python. If a value has several lines, each line is a form too, because programs wrap and indent
text. Pure.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 4
"""Length in bytes of the shortest form that is masked. Shorter byte strings occur in every output
by chance."""
WIDTHS = (76, 64)
"""Line lengths of wrapped base64: 76 characters in the output of base64(1) and in MIME, 64 in
PEM."""
SCRIPTS_LEAVE = "!'()*~"
"""Punctuation that encodeURIComponent of JavaScript does not escape."""


def forms_of(values: Iterable[bytes]) -> list[bytes]:
    """Return the forms of all values, without duplicates and without forms of less than 4 bytes.

    >>> forms_of([b"a&b c"])[:2]
    [b'a&b c', b'YSZiIGM=']
    """
    found: dict[bytes, None] = {}
    for value in values:
        for form in _forms(value):
            if len(form) >= SHORTEST:
                found[form] = None
    return list(found)


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield from _base64(value)
    yield from _quoted(value)
    yield from _escaped(value)
    if b"\n" in value or b"\r" in value:
        for line in value.splitlines():
            for text in dict.fromkeys((line, line.strip())):
                yield text
                yield from _escaped(text)


def _base64(value: bytes) -> Iterator[bytes]:
    """Yield the base64 forms of a value: alone, with the line end that `echo` adds, wrapped, and as
    part of a longer encoded text.

    Base64 encodes groups of three bytes, so an embedded value begins at one of three positions in a
    group. The characters that encode only bytes of the value do not depend on the bytes around the
    value.
    """
    whole = [base64.b64encode(value), base64.b64encode(value + b"\n")]
    for text in list(whole):
        whole += [text[at : at + width] for width in WIDTHS if len(text) > width for at in range(0, len(text), width)]
    for before, skipped in ((0, 0), (1, 2), (2, 3)):
        length = before + len(value)
        text = base64.b64encode(bytes(before) + value)
        whole.append(text[skipped : length // 3 * 4 + (0, 1, 2)[length % 3]])
    for text in whole:
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))
        yield text.translate(bytes.maketrans(b"+/", b"-_")).rstrip(b"=")


def _quoted(value: bytes) -> Iterator[bytes]:
    for text in (quote(value, safe=""), quote(value), quote(value, safe=SCRIPTS_LEAVE), quote_plus(value)):
        yield text.encode()
        yield _lower_hex(text).encode()


def _lower_hex(text: str) -> str:
    first, *rest = text.split("%")
    return first + "".join([f"%{part[:2].lower()}{part[2:]}" for part in rest])


def _escaped(value: bytes) -> Iterator[bytes]:
    """Yield the value with the escapes that JSON and Python use between quotes."""
    text = value.decode("utf-8", "surrogateescape")
    for form in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], repr(value)[2:-1]):
        yield form.encode("utf-8", "surrogateescape")
