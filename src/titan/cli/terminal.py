"""Everything that the commands print is plain text: what jobs, names, gates and workers say cannot
move the cursor, hide a line or reverse it.

`make_plain` sees to that in one place, under `print`, `click.echo`, logging and tracebacks: control
characters, direction marks, zero-width characters and lone surrogates are spelt out, newlines and
tabs stay. `one_line` is for cells and lines whose end means something. What has to be exact goes to
`stream.buffer`: the output of jobs (`titan logs`, `titan run`), as with docker or kubectl also to a
terminal, and values, where no terminal is. `Raw` is for control sequences of our own.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from titan.model.plain import spelt_out

_written: dict[int, Any] = {}
"""id of a stream -> how it wrote before."""


def make_plain() -> None:
    """From now on, of stdout and stderr."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and id(stream) not in _written:
            _written[id(stream)] = stream.write
            stream.write = _plain_writer(stream.write)  # type: ignore[method-assign]


def _plain_writer(write: Any) -> Any:
    def put(text: str) -> int:
        write(spelt_out(text))
        return len(text)

    return put


def one_line(text: str) -> str:
    """Plain, and nothing but blanks where it is white."""
    return text if text.isprintable() else " ".join(spelt_out(text).split())


class Raw:
    """A stream as it was: for what has put all text of others in plain words before."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.write = _written.get(id(stream), stream.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
