"""Tables: the width of text, what is cut where, and which columns give up room first."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from titan.cli.table import cut, print_table, width_of
from titan.model.plain import spelt_out

CELL = st.text(max_size=60)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(head: Sequence[str], rows: Sequence[Sequence[str]], *spare: str, out: io.StringIO | None = None) -> list[str]:
    """The lines of a table, on a terminal of 40 columns unless `out` is something else."""
    out = out or Terminal()
    with contextlib.redirect_stdout(out), mock.patch.dict(os.environ, COLUMNS="40", NO_COLOR="1"):
        print_table(head, rows, spare=spare)
    return out.getvalue().splitlines()


@given(CELL, st.integers(0, 70), st.booleans())
def test_a_cut_text_is_never_wider_than_its_column(text: str, width: int, middle: bool) -> None:
    text = spelt_out(text)
    shown = cut(text, width, middle=middle)
    assert width_of(shown) <= width
    assert shown == text or width_of(text) > width


def test_wide_characters_take_two_columns() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("日本語日本語", 7, middle=False) == "日本.."


def test_a_text_is_cut_before_a_name() -> None:
    lines = printed(("JOB", "REASON"), [("a" * 20, "because " * 9)])
    assert lines[1] == "a" * 20 + "  because because .."


def test_a_spare_column_goes_before_a_name_is_cut() -> None:
    row = ("a" * 30, "dag", "because of something")
    lines = printed(("JOB", "DAG", "REASON"), [row], "DAG")
    assert lines[0].split() == ["JOB", "REASON"]
    assert lines[1] == "a" * 10 + ".." + "a" * 10 + "  because of som.."


def test_columns_without_a_name_share_the_room_of_a_tiny_terminal() -> None:
    lines = printed([f"COLUMN-{n}" for n in range(8)], [["x" * 10] * 8])
    assert max(map(len, lines)) <= 40


def test_a_table_elsewhere_is_whole() -> None:
    assert printed(("JOB", "REASON"), [("a" * 99, "b" * 99)], out=io.StringIO())[1] == "a" * 99 + "  " + "b" * 99


def test_a_cell_cannot_forge_a_line_or_move_the_cursor() -> None:
    lines = printed(("JOB", "STATE"), [("a\nb\x1b[2J\u202e", "DEAD")])
    assert lines[1:] == ["a b\\x1b[2J\\u202e  DEAD"]
