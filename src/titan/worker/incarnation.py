"""Name of one process of a worker: `HOME:NUMBER`. HOME is a random id of the worker's home. NUMBER
counts the worker processes that were started in that home.

So the processes of one home have an order that does not depend on a clock. Processes of different
homes have no order (see `core.workers`).
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
    """Count a start of the worker and return the name of the new process. The caller must hold the
    lock of the home. Raises OSError."""
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
