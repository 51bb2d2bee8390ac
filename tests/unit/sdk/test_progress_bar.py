"""The progress bar of a map: what it prints, where it appears, and which library draws it."""

from __future__ import annotations

import doctest
import io
import sys
from types import ModuleType
from typing import Any

import pytest

from titan.errors import CallerError
from titan.protocol import messages as msg
from titan.sdk import progress_bar
from titan.sdk.map_parts import MapPart
from titan.sdk.progress_bar import MapProgress, PlainBar, checked, open_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeTqdm:
    made: list[FakeTqdm] = []

    def __init__(self, **options: Any) -> None:
        self.options, self.updates, self.closed = options, [0], False
        FakeTqdm.made.append(self)

    def update(self, n: int) -> None:
        self.updates.append(n)

    def close(self) -> None:
        self.closed = True


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make this a program with a terminal as stderr, and without notebook and tqdm."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    return made


def test_the_plain_bar_rewrites_one_line_of_at_most_79_columns() -> None:
    now = [100.0]
    stream = io.StringIO()
    bar = PlainBar(1000, "square", stream, lambda: now[0])
    for _ in range(500):
        now[0] += 0.01
        bar.update(1)
    assert bar.line() == "square [############............] 500/1000 in 0:05, 0:05 left"
    bar.update(500)
    bar.close()
    lines = stream.getvalue().split("\r")
    assert lines[-1].rstrip(" \n").endswith("1000/1000 in 0:05") and lines[-1].endswith("\n")
    assert len(lines) < 60 and all(len(line.rstrip("\n")) <= 79 for line in lines)
    assert len(PlainBar(10**9, "<locals>.é\x1b[2J" * 9, io.StringIO()).line()) <= 79


def test_a_bar_of_nothing_and_a_terminal_that_is_gone_do_not_fail() -> None:
    gone = io.StringIO()
    gone.close()
    bar = PlainBar(0, "f", gone)
    bar.close()
    assert bar.line().startswith("f [########################] 0/0")


def test_a_bar_appears_in_terminals_and_notebooks_only_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    assert isinstance(open_bar(3, "f"), PlainBar) and "f [" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert open_bar(3, "f") is None and isinstance(open_bar(3, "f", always=True), PlainBar)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert isinstance(open_bar(3, "f"), PlainBar)
    monkeypatch.setattr(sys, "stderr", None)
    assert open_bar(3, "f", always=True) is None


def test_tqdm_draws_the_bar_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    at_terminal(monkeypatch)
    module: Any = ModuleType("tqdm")
    module.tqdm = FakeTqdm
    monkeypatch.setitem(sys.modules, "tqdm", module)
    progress = MapProgress()
    progress.arrived(2)
    progress.begin(5, "f", always=False)
    progress.arrived(3)
    (made,) = FakeTqdm.made
    assert made.options == {"total": 5, "desc": "f", "unit": "call"} and sum(made.updates) == 5 and made.closed


def test_results_that_arrive_twice_and_chunks_are_counted_right() -> None:
    counted: list[int] = []

    class Counting(MapProgress):
        def arrived(self, count: int) -> None:
            counted.append(count)

    progress = Counting()
    part = MapPart(3, "f", progress, [10, 10, 4])
    for positions in ([0, 2], [0, 1]):
        part.take(msg.Values(1, positions, [0] * 2, [b""] * 2, [""] * 2))
    assert counted == [14, 10]


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(CallerError, match='progress must be True, False or "always"'):
        checked(value)


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(progress_bar).failed == 0
