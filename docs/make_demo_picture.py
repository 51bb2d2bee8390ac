"""Draw docs/demo.svg from a run of `make demo` in a terminal: the screen as it is when the command
has ended.

python docs/make_demo_picture.py   # some ten seconds; after `make install`

The picture shows the real output, with the checkout's path as ~/titan.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from collections.abc import Iterator
from fcntl import ioctl
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
COLUMNS, LINES = 96, 40
SHOWN = "~/titan"
CELL_WIDTH, CELL_HEIGHT, FONT_SIZE = 8.4, 18, 14
MARGIN = 16
BAR = 28
"""Height of the window's title bar."""
BACKGROUND, FOREGROUND = "#0d1117", "#e6edf3"
COLORS = {
    "default": FOREGROUND,
    "black": "#484f58",
    "red": "#ff7b72",
    "green": "#3fb950",
    "brown": "#d29922",
    "blue": "#58a6ff",
    "magenta": "#bc8cff",
    "cyan": "#39c5cf",
    "white": "#b1bac4",
    "brightblack": "#6e7681",
    "brightred": "#ffa198",
    "brightgreen": "#56d364",
    "brightbrown": "#e3b341",
    "brightblue": "#79c0ff",
    "brightmagenta": "#d2a8ff",
    "brightcyan": "#56d4dd",
    "brightwhite": "#ffffff",
}
"""Names of colours in pyte -> colours of the picture."""


def run_demo() -> bytes:
    """Return all that `make demo` writes to its terminal. Raises CalledProcessError if it fails."""
    shutil.rmtree(ROOT / "examples" / "census" / ".titan", ignore_errors=True)
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TITAN_", "MAKE"))}
    command = ["make", "--no-print-directory", "demo"]
    demo = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, env={**env, "TERM": "xterm-256color"})
    os.close(theirs)
    said = b"".join(_read(ours))
    os.close(ours)
    if demo.wait():
        raise subprocess.CalledProcessError(demo.returncode, command, said)
    return said


def _read(terminal: int) -> Iterator[bytes]:
    """Yield the output until no process has the other end open. Linux reports this as an error."""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            return
        if not part:
            return
        yield part


def screen_of(said: bytes) -> pyte.Screen:
    screen = pyte.Screen(COLUMNS, LINES)
    pyte.ByteStream(screen).feed(b"$ make demo\r\n" + said.replace(str(ROOT).encode(), SHOWN.encode()))
    return screen


def spans(screen: pyte.Screen, line: int) -> Iterator[tuple[int, str, str, bool]]:
    """Yield (column, text, color, bold) of the parts of a line that look alike and hold no two
    blanks in a row.

    Columns then stand below each other in any font.
    """
    cells = [screen.buffer[line][column] for column in range(COLUMNS)]
    column = 0
    for (name, bold), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in group)
        for part in re.finditer(r"\S+(?: \S+)*", text):
            yield column + part.start(), part[0], COLORS.get(name, f"#{name}"), bold
        column += len(text)


def draw(screen: pyte.Screen) -> str:
    """Return the SVG of the lines of the screen that are not empty at its end."""
    used = max(line for line in range(LINES) if any(True for _ in spans(screen, line))) + 1
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, used * CELL_HEIGHT + 2 * MARGIN + BAR
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
        f' role="img" aria-label="A terminal in which make demo has run">',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{BACKGROUND}"/>',
        *[
            f'<circle cx="{MARGIN + 6 + 20 * i}" cy="{BAR / 2 + 4:g}" r="6" fill="{color}"/>'
            for i, color in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        ],
        f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT_SIZE}">',
    ]
    for line in range(used):
        y = BAR + MARGIN + (line + 0.75) * CELL_HEIGHT
        for column, text, color, bold in spans(screen, line):
            weight = ' font-weight="bold"' if bold else ""
            size = f'x="{MARGIN + column * CELL_WIDTH:g}" y="{y:g}" textLength="{len(text) * CELL_WIDTH:g}"'
            parts.append(f'<text {size} fill="{color}"{weight}>{escape(text, quote=False)}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(screen_of(run_demo())))
