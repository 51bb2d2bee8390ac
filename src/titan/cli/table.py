"""Tables. On a terminal a table is as wide as the terminal, and states have colours; elsewhere, and
with `--wide`, its cells are whole.
"""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from titan.cli.terminal import Raw, one_line

F = TypeVar("F", bound=Callable[..., Any])
GAP = 2
CUT = ".."
MIN_TEXT = 16
"""Columns that a text keeps at least, if ids can stay whole then."""
_TEXTS = frozenset({"DEMAND", "REASON", "SAYS", "MESSAGE", "CAPABILITIES", "TAKEN", "LAST DECISION", "WHEN", "NEXT"})
"""Heads of the columns that are cut at their end."""
_NAMES = frozenset(
    {
        "ADDRESS", "BY", "CAPABILITY", "DAG", "GATE", "HOME", "HOST", "JOB", "KEY", "LAST RUN", "NAME", "NODE", "RUN", "RUN/JOB",
        "SERVICE", "WORKER", "WORKERS",
    }
)  # fmt: skip
"""Heads of the columns that are cut in the middle. All other columns are short and stay whole."""
_WIDE = "titan.wide"
"""Key of the context's `meta` for the option --wide."""
_COLOURS = {
    **dict.fromkeys(("COMPLETED", "READY", "ALIVE"), 32),
    **dict.fromkeys(("DEAD", "FAILED", "LOST"), 31),
    **dict.fromkeys(("RUNNING", "DISPATCHED", "STARTING"), 36),
    **dict.fromkeys(("PAUSED", "SUSPECT", "ASIDE", "BACKOFF", "STOPPING"), 33),
    **dict.fromkeys(("CANCELLED", "LEFT", "SKIPPED", "WAITING"), 2),
}
_BOLD = 1


def wide_option(command: F) -> F:
    text = "Print whole cells and all columns, however narrow the terminal is."
    return click.option("--wide", is_flag=True, help=text, expose_value=False, callback=_keep_wide)(command)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, spare: Sequence[str] = ()) -> None:
    """Print a table. `spare`: heads of columns to leave out, in this order, if the terminal is too
    narrow."""
    on_terminal = sys.stdout.isatty()
    room = shutil.get_terminal_size().columns if on_terminal and not _is_wide() else None
    out = Raw(sys.stdout)
    for line in table_lines(head, rows, room, spare=spare, colour=on_terminal and has_colours()):
        out.write(line + "\n")


def has_colours() -> bool:
    """Return whether the user of the terminal wants colours."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], room: int | None, *, spare: Sequence[str] = (), colour: bool = False
) -> list[str]:
    """Return the lines of a table of at most `room` columns; None: as wide as its cells. Texts are
    escaped; the sequences for colours are not."""
    cells = [tuple(map(one_line, row)) for row in rows]
    widths = [max(len(name), *(width_of(row[i]) for row in cells)) for i, name in enumerate(head)]
    fitted = widths if room is None else _fit(head, widths, room, spare)
    columns = [_Column(name, width, whole) for name, width, whole in zip(head, fitted, widths, strict=True)]
    lines = []
    for number, row in enumerate((head, *cells)):
        shown = [(column, cell) for column, cell in zip(columns, row, strict=True) if column.width]
        texts = [column.text(cell, last=column is shown[-1][0]) for column, cell in shown]
        if colour:
            texts = [_coloured(column, text, is_head=not number) for (column, _), text in zip(shown, texts, strict=True)]
        lines.append((" " * GAP).join(texts).rstrip())
    return lines


def width_of(text: str) -> int:
    """Return the number of columns that a printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def cut(text: str, width: int, *, middle: bool) -> str:
    """Return a text of at most `width` columns, with `..` for what is left out.

    >>> cut("1m8x6dkah03m/train", 12, middle=True), cut("exit code 3", 8, middle=False)
    ('1m8x6..train', 'exit c..')
    """
    if width_of(text) <= width:
        return text
    room = max(0, width - len(CUT))
    end = room // 2 if middle else 0
    return (_begin(text, room - end) + CUT + _begin(text[::-1], end)[::-1])[:width]


def _begin(text: str, width: int) -> str:
    """Return the longest beginning of at most `width` columns."""
    if text.isascii():
        return text[:width]
    used = 0
    for at, character in enumerate(text):
        used += width_of(character)
        if used > width:
            return text[:at]
    return text


class _Column(NamedTuple):
    head: str
    width: int
    whole: int
    """Width of its longest cell."""

    def text(self, cell: str, *, last: bool) -> str:
        shown = cell if self.width >= self.whole else cut(cell, self.width, middle=self.head not in _TEXTS)
        return shown if last else shown + " " * (self.width - width_of(shown))


def _coloured(column: _Column, text: str, *, is_head: bool) -> str:
    code = _BOLD if is_head else _COLOURS.get(text.partition(",")[0].rstrip()) if column.head == "STATE" else None
    return text if code is None else f"\x1b[{code}m{text}\x1b[0m"


def _fit(head: Sequence[str], widths: Sequence[int], room: int, spare: Sequence[str]) -> list[int]:
    """Return the widths of the columns in `room`; 0 for a column to leave out.

    Texts are cut to MIN_TEXT, then spare columns go, then names are cut too.
    """
    fitted = list(widths)
    texts, names = ([i for i, name in enumerate(head) if name in kind] for kind in (_TEXTS, _NAMES))
    for name in (*spare, None):
        left = room - GAP * (sum(width > 0 for width in fitted) - 1) - sum(fitted)
        if name is None or left + sum(max(0, fitted[i] - MIN_TEXT) for i in texts) >= 0:
            break
        fitted[head.index(name)] = 0
    for columns, least in ((texts, MIN_TEXT), (texts + names, 4), (range(len(head)), 1)):
        left += _shrink(fitted, columns, least, -left)
    return fitted


def _shrink(widths: list[int], columns: Sequence[int], least: int, excess: int) -> int:
    """Take up to `excess` from the widest of the columns, and leave each at least `least`. Return
    what was taken."""
    wide = sorted((i for i in columns if widths[i] > least), key=widths.__getitem__)
    before = sum(widths[i] for i in wide)
    room = before - max(0, excess)
    for rest, i in zip(range(len(wide), 0, -1), wide, strict=True):
        widths[i] = max(least, min(widths[i], room // rest))
        room -= widths[i]
    return before - sum(widths[i] for i in wide)


def _keep_wide(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_WIDE] = True


def _is_wide() -> bool:
    ctx = click.get_current_context(silent=True)
    return ctx is not None and _WIDE in ctx.meta
