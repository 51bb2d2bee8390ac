"""Plain-text output of the commands.

Text from jobs, names, gates and workers cannot move the cursor, hide a line or reverse it.
`make_plain` ensures this in one place, below `print`, `click.echo`, logging and tracebacks. It
escapes control characters, direction marks, zero-width characters and lone surrogates; newlines and
tabs stay. `one_line` is for table cells and for lines that must not break.

Three things go out byte for byte: the output of jobs (`titan logs`, `titan run`), also on a
terminal, as with docker or kubectl; files of jobs (`titan files -o -`), as with cat; and values,
unless stdout is a terminal. `Raw` is for control sequences of our own.
"""

from __future__ import annotations

import contextlib
import sys
from io import TextIOWrapper
from typing import Any, TextIO

from titan.model.plain import spelt_out

_written: dict[int, Any] = {}
"""id of a stream -> its original `write`."""


def make_plain() -> None:
    """Escape everything that is written to stdout and stderr from now on, and characters that their
    encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and id(stream) not in _written:
            if isinstance(stream, TextIOWrapper):  # a character that the locale lacks must not end a command
                # setting the error handler fails if the descriptor was a file before and is a pipe
                # now
                with contextlib.suppress(OSError):
                    stream.reconfigure(errors="backslashreplace")
            _written[id(stream)] = stream.write
            stream.write = _plain_writer(stream.write)  # type: ignore[method-assign]


def _plain_writer(write: Any) -> Any:
    def put(text: str) -> int:
        write(spelt_out(text))
        return len(text)

    return put


def one_line(text: str) -> str:
    """Return the text escaped, with each run of white space as one blank."""
    return text if text.isprintable() else " ".join(spelt_out(text).split())


class Raw:
    """Stream without escaping. The caller has already escaped all text from others."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.write = _written.get(id(stream), stream.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
