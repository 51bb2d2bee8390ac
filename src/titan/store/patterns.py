r"""Glob patterns over bytes, for KEYS, SCAN, PSUBSCRIBE and CONFIG GET: ``* ? [a-z] [^a] \x``.

A pattern is translated to a regular expression. Each part between two stars becomes an atomic
group: it matches at the first possible position, without backtracking. So the time is at most
proportional to the length of the pattern times the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from titan.store.replies import Refusal

MOST_BYTES = 4096
"""Maximum bytes of a pattern, which bounds the time of a comparison."""
_STAR = b"*"
_NEVER = b"(?!)"
_ANY = b"."


@lru_cache(1024)
def matcher(pattern: bytes) -> Callable[[bytes], object]:
    """Return a function whose result is true for the texts that `pattern` matches completely.
    Raises Refusal for a pattern over MOST_BYTES.

    >>> bool(matcher(b"h[ae]llo*")(b"hello!"))
    True
    """
    if len(pattern) > MOST_BYTES:
        raise Refusal(b"ERR the pattern has more than %d bytes" % MOST_BYTES)
    parts: list[list[bytes]] = [[]]
    for token in _tokens(pattern):
        if token is _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    first, *others = (b"".join(part) for part in parts)
    if not others:
        return re.compile(first, re.DOTALL).fullmatch
    *middle, last = others
    return re.compile(first + b"".join(b"(?>.*?%b)" % part for part in middle if part) + b".*" + last, re.DOTALL).fullmatch


def is_literal(pattern: bytes) -> bool:
    """Return whether `pattern` matches only itself."""
    return not any(sign in pattern for sign in (b"*", b"?", b"[", b"\\"))


@lru_cache(1024)
def folded(pattern: bytes) -> Callable[[bytes], object]:
    """Return a function like `matcher` for texts in lower case. The case of the pattern is
    ignored."""
    return matcher(pattern.lower())


def _tokens(pattern: bytes) -> list[bytes]:
    """Return the tokens of a pattern: a star, or a regular expression for exactly one byte."""
    tokens: list[bytes] = []
    at, end = 0, len(pattern)
    while at < end:
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            tokens.append(_STAR)
        elif byte == b"?":
            tokens.append(_ANY)
        elif byte == b"[":
            token, at = _character_class(pattern, at)
            tokens.append(token)
        else:
            if byte == b"\\" and at < end:
                byte = pattern[at : at + 1]
                at += 1
            tokens.append(re.escape(byte))
    return tokens


def _character_class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return the character class whose content begins at `at`, and the position after it. An
    unclosed class ends with the pattern."""
    end = len(pattern)
    negated = pattern[at : at + 1] == b"^"
    at += negated
    wanted: dict[int, None] = {}
    while at < end and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < end:
            at += 1
            wanted[pattern[at]] = None
        elif at + 2 < end and pattern[at + 1] == ord("-"):
            low, high = sorted((pattern[at], pattern[at + 2]))
            wanted.update(dict.fromkeys(range(low, high + 1)))
            at += 2
        else:
            wanted[pattern[at]] = None
        at += 1
    if not wanted:
        return (_ANY if negated else _NEVER), at + 1
    return b"[%b%b]" % (b"^" if negated else b"", b"".join(b"\\x%02x" % byte for byte in wanted)), at + 1
