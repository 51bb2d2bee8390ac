"""Grammar of names: job ids, run ids, capabilities, worker names, artifact names.

All names become parts of paths and of `RUN/JOB`. The grammar is therefore narrow: no slash, no
leading dot or dash.
"""

from __future__ import annotations

import re

MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=,\[\]-]{0,127}")
_CAPABILITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u

NAME_RULE = "1 to 128 of A-Z a-z 0-9 _ . : @ + = , [ ] -, the first a letter, digit or _"
CAPABILITY_RULE = "1 to 64 of A-Z a-z 0-9 _ . : -, the first a letter, digit or _"

match_name = _NAME.fullmatch
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@%+:,./-]+")


def shell_word(text: str) -> str:
    """Return the text as it is typed in a shell, in quotes if it needs them.

    >>> shell_word("1m8w9w5pc3dq/train"), shell_word("1m8w9w5pc3dq/bad[1]")
    ('1m8w9w5pc3dq/train', "'1m8w9w5pc3dq/bad[1]'")
    """
    return text if _PLAIN_WORD.fullmatch(text) else "'" + text.replace("'", "'\"'\"'") + "'"


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def is_capability(text: str) -> bool:
    return _CAPABILITY.fullmatch(text) is not None


def run_id(at_ms: int, entropy: int) -> str:
    """Return a run id that sorts by time: 9 characters of milliseconds, then 3 of entropy (15 bits
    are used).

    >>> run_id(1_700_000_000_000, 12345)
    '1hf7yat00c1s'
    """
    value, out = (at_ms << 15) | (entropy & 0x7FFF), []
    for _ in range(12):
        out.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(reversed(out))


def split_job(text: str) -> tuple[str, str]:
    """Split `RUN/JOB` into (run, job), and `RUN` into (run, "")."""
    run, _, job = text.partition("/")
    return run, job
