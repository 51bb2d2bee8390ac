"""Rules for secrets: their names, their sizes, and the secrets fields of a template. The master's
shell and the worker handle the values.

The SDK makes these checks before it sends, and the master makes them when it receives. Both call
this module, so their errors are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from titan.model.dag import JobTemplate, Kind
from titan.model.environment import OWN_PREFIX

MIN_VALUE = 4
"""Minimum bytes of a value. A shorter value could not be masked, because it appears in any output
by chance."""
MAX_VALUE = 64 * 1024
MAX_SECRETS = 10_000
MAX_TOTAL = 64 * 1024 * 1024
"""Bytes of all values together."""
MAX_OF_A_JOB = 64
SECRET_NAME_RULE = "1 to 128 of A-Z a-z 0-9 _, the first no digit, not beginning with TITAN_"
NOT_FOR_CALLS = "a call shares its process with others, which would see the secrets: make it a script"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def is_secret_name(text: str) -> bool:
    """Return whether a text names a secret: an environment variable that Titan does not reserve."""
    return _NAME.fullmatch(text) is not None and not text.startswith(OWN_PREFIX)


RESERVED = frozenset({"PATH", "HOME", "SHELL", "USER", "IFS", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME"})
"""Variables on which the start of any program depends. A secret of such a name would break jobs."""


def new_name_problem(name: str) -> str:
    """Return why a secret cannot be set under a name; "" if it can."""
    if not is_secret_name(name):
        return f"{name[:80]!r} is not a valid name of a secret: a name is {SECRET_NAME_RULE}"
    if name in RESERVED:
        return f"a secret named {name} would replace the variable {name} of every job that uses it: choose another name"
    return ""


def names_problem(names: Sequence[str]) -> str:
    """Return the problem with the names of a job's secrets; "" if there is none."""
    if len(names) > MAX_OF_A_JOB:
        return f"{len(names)} are too many for a job: the limit is {MAX_OF_A_JOB}"
    for at, name in enumerate(names):
        if not is_secret_name(name):
            return f"{name[:80]!r} is not a valid name of a secret: a name is {SECRET_NAME_RULE}"
        if name in names[:at]:
            return f"{name} is named twice"
    return ""


def secrets_problem(t: JobTemplate) -> str:
    """Return the problem with a template's secrets; "" if there is none."""
    if not t.secrets:
        return ""
    if t.function:
        return f"secrets: {NOT_FOR_CALLS}"
    if t.kind == Kind.GATE:
        return "secrets: a gate runs nothing and needs no secrets: leave the field out"
    if problem := names_problem(t.secrets):
        return f"secrets: {problem}"
    return both_problem(t.secrets, [name for name, _ in t.env])


def both_problem(names: Sequence[str], env: Sequence[str]) -> str:
    both = next((name for name in names if name in env), "")
    return f"secrets: {both} is in env too: a variable has one value" if both else ""


def value_problem(value: bytes) -> str:
    """Return the problem with a secret's value; "" if there is none. The text never contains the
    value."""
    if len(value) < MIN_VALUE:
        return f"the value has {len(value)} bytes: less than {MIN_VALUE} could not be masked in a job's output"
    if len(value) > MAX_VALUE:
        return f"the value has more than {MAX_VALUE:,} bytes, the limit: encrypt the file and keep its key as the secret"
    if b"\0" in value:
        return "the value holds a NUL byte, which no environment variable can: encode it, for example in base64"
    return ""
