"""Plain text for terminals, tables and logs. Control characters are escaped, and long text is
cut."""

from __future__ import annotations

MAX_REASON = 4000
"""Maximum characters of a reason."""
_KEPT = "\n\t"


def plain(text: str, most: int = MAX_REASON) -> str:
    r"""Return at most `most` characters of a text, with control characters, direction marks and
    lone surrogates escaped.

    >>> plain("ok\x1b[2J"), plain("a\u202eb"), plain("abcdef", 5)
    ('ok\\x1b[2J', 'a\\u202eb', 'ab...')
    """
    if len(text) <= most and text.isprintable():
        return text
    text = spelt_out(text[: most + 1])
    return text if len(text) <= most else text[: max(0, most - 3)] + "..."


def spelt_out(text: str) -> str:
    """Return the whole text, with the characters escaped that `plain` escapes."""
    return text if text.isprintable() else "".join([c if c.isprintable() or c in _KEPT else _escaped(c) for c in text])


def _escaped(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
