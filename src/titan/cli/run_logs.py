"""Output of a whole run, line by line, with the name of the job before each line."""

from __future__ import annotations

import json
import os
import sys
from zlib import crc32

from titan.cli.output import gap_text, piece_in_json
from titan.cli.table import cut
from titan.cli.terminal import one_line
from titan.sdk.client import Client
from titan.sdk.status import LogPiece

MAX_PREFIX = 24
MAX_LINE = 64 * 1024
"""A longer line is printed in pieces."""
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class PrefixedLines:
    """Printer of lines with the name of their job. The lines of a stream stay whole."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._width = 0
        self._open: dict[tuple[str, int, int], bytes] = {}
        """(job, attempt, stream) -> the beginning of its current line."""

    def add(self, piece: LogPiece) -> None:
        key = (piece.job, piece.attempt, piece.stream)
        if piece.skipped:
            self._end(key)
            self._print(piece.job, 2, f"titan: {gap_text(piece)}".encode())
        *lines, rest = (self._open.pop(key, b"") + piece.data).split(b"\n")
        for line in lines:
            self._print(piece.job, piece.stream, line)
        if len(rest) >= MAX_LINE:
            self._print(piece.job, piece.stream, rest)
        elif rest:
            self._open[key] = rest

    def end(self) -> None:
        """Print the lines that have no end."""
        for key in list(self._open):
            self._end(key)

    def _end(self, key: tuple[str, int, int]) -> None:
        rest = self._open.pop(key, b"")
        if rest:
            self._print(key[0], key[2], rest)

    def _print(self, job: str, stream: int, line: bytes) -> None:
        name = cut(one_line(job), MAX_PREFIX, middle=True)
        self._width = max(self._width, len(name))
        prefix = f"{name:<{self._width}} | "
        if self._colour:
            prefix = f"\x1b[{_COLOURS[crc32(job.encode()) % len(_COLOURS)]}m{prefix}\x1b[0m"
        out = (sys.stdout if stream == 1 else sys.stderr).buffer
        out.write(prefix.encode() + line + b"\n")
        out.flush()


def print_run_logs(client: Client, run: str, *, follow: bool, as_json: bool) -> None:
    """Print the output of all jobs of a run in the order of arrival."""
    lines = PrefixedLines(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    try:
        for piece in client.log_pieces(run, follow=follow):
            if as_json:
                print(json.dumps({"job": piece.job, **piece_in_json(piece)}), flush=True)
            else:
                lines.add(piece)
    finally:
        lines.end()
