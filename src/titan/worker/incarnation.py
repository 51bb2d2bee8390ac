"""Name of one process of a worker: `HOME:NUMBER`. HOME is a random id of its home, NUMBER counts
the workers started there.

So processes of one home have an order that does not depend on a clock. Processes of different homes
have none (`core.workers`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

_NAME = "incarnation"
_KNOWN = re.compile(r"([0-9a-f]{16}):(\d{1,15})")


def next_incarnation(home: Path) -> str:
    """Count a start and return its name. The caller holds the lock of the home. Raises OSError."""
    path = home / _NAME
    found = None
    with contextlib.suppress(OSError, ValueError):
        found = _KNOWN.fullmatch(path.read_text().strip())
    name, number = (found[1], int(found[2]) + 1) if found else (secrets.token_hex(8), 1)
    part = home / f"{_NAME}.part"
    with part.open("w") as file:
        file.write(f"{name}:{number}\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return f"{name}:{number}"
