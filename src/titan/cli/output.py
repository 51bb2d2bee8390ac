"""Output of jobs on this terminal, byte for byte."""

from __future__ import annotations

import sys
from typing import Any

from titan.sdk.client import Client
from titan.sdk.status import LogPiece


def follow_output(client: Client, target: str, *, attempt: int | None = None, follow: bool = True) -> None:
    """Copy a job's stdout to stdout and its stderr to stderr. `follow`: until the job is over."""
    for piece in client.log_pieces(target, follow=follow, attempt=attempt):
        write_piece(piece)


def write_piece(piece: LogPiece) -> None:
    """Write a piece of output. If output before the piece was dropped, print a note on stderr."""
    if piece.skipped:
        print(f"titan: {gap_text(piece)}", file=sys.stderr, flush=True)
    out = (sys.stdout if piece.stream == 1 else sys.stderr).buffer
    out.write(piece.data)
    out.flush()


def gap_text(piece: LogPiece) -> str:
    stream = "stdout" if piece.stream == 1 else "stderr"
    return f"{piece.skipped:,} bytes of {stream} were dropped here: the worker keeps a limited amount (--log-limit)"


def piece_in_json(piece: LogPiece) -> dict[str, Any]:
    row = {"stream": "stdout" if piece.stream == 1 else "stderr", "text": piece.data.decode(errors="replace")}
    return {**row, "skipped": piece.skipped} if piece.skipped else row
