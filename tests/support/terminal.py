"""Commands on a terminal of a given width."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[[0-9;]*m")


def in_terminal(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, columns: int = 80) -> str:
    """Return what a command writes to a terminal. It must exit with 0."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(env), cwd=cwd) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the terminal's end
            while part := os.read(ours, 4096):
                shown += part
        assert process.wait(60) == 0, shown
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def without_colours(text: str) -> str:
    return _CONTROL.sub("", text)
