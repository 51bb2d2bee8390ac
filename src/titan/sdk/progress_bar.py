"""Progress of a map as a bar: by tqdm if it is installed, else as plain text on stderr.

Results arrive in the thread of the client's loop, which updates the bar. So the bar shows what the
cluster has done, not what the program has read.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from titan.errors import CallerError

WIDTH = 24
EVERY_S = 0.1
"""Minimum time between two prints of the plain bar."""


class Bar(Protocol):
    def update(self, n: int, /) -> object: ...
    def close(self) -> object: ...


class MapProgress:
    """Counter of a map's calls whose results have arrived, with a bar once it is `begin`-ned."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._done = 0
        self._total = 0

    def begin(self, total: int, name: str, *, always: bool) -> None:
        """Open the bar, when all calls are submitted."""
        bar = open_bar(total, name, always=always)
        if bar is None:
            return
        with self._lock:
            self._bar, self._total = bar, total
            self._add(self._done)

    def arrived(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._add(count)

    def _add(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)
            if self._done >= self._total:
                self._bar.close()
                self._bar = None

    def close(self) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None


def checked(progress: object) -> bool | str:
    """Return the value of `map(..., progress=)`. Raises CallerError."""
    if not isinstance(progress, bool) and progress != "always":
        raise CallerError(f'map: progress must be True, False or "always", not {progress!r}')
    return progress if isinstance(progress, bool) else "always"


def open_bar(total: int, name: str, *, always: bool = False) -> Bar | None:
    """Return the bar of this program. None if stderr is no terminal, unless `always`.

    A notebook counts as a terminal.
    """
    stream = sys.stderr
    in_notebook = "ipykernel" in sys.modules
    if stream is None or not (always or in_notebook or stream.isatty()):
        return None
    try:
        made: Bar = importlib.import_module("tqdm.auto" if in_notebook else "tqdm").tqdm(total=total, desc=name, unit="call")
    except Exception:  # not installed, or its widgets are not: the plain bar needs nothing
        return PlainBar(total, name, stream)
    return made


class PlainBar:
    """Bar of text that rewrites its line. At most 79 columns."""

    def __init__(
        self,
        total: int,
        name: str,
        stream: TextIO,
        now: Callable[[], float] = time.monotonic,
        text: Callable[[int], str] = str,
    ) -> None:
        """`text` returns an amount as it is printed."""
        self._total = total
        self._text = text
        self._name = name if name.isprintable() and len(name) <= 20 else f"{ascii(name)[:19]}~"
        self._stream = stream
        self._now = now
        self._began = now()
        self._printed = -EVERY_S
        self._done = 0
        self._print()

    def update(self, n: int, /) -> None:
        self._done += n
        if self._now() - self._printed >= EVERY_S:
            self._print()

    def close(self) -> None:
        """Print the bar for the last time, and end its line."""
        self._print("\n")

    def line(self) -> str:
        filled = WIDTH if not self._total else WIDTH * self._done // self._total
        took = self._now() - self._began
        left = f", {_clock(took * (self._total - self._done) / self._done)} left" if 0 < self._done < self._total else ""
        bar = f"[{'#' * filled}{'.' * (WIDTH - filled)}]"
        return f"{self._name} {bar} {self._text(self._done)}/{self._text(self._total)} in {_clock(took)}{left}"[:79]

    def _print(self, end: str = "") -> None:
        self._printed = self._now()
        try:
            self._stream.write(f"\r{self.line():<79}{end}")
            self._stream.flush()
        except (OSError, ValueError, UnicodeError):  # the terminal is gone: the calls go on
            return


def _clock(seconds: float) -> str:
    """
    >>> _clock(59.6), _clock(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
