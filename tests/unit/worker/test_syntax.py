"""Syntax errors of scripts."""

from __future__ import annotations

from pathlib import Path

from titan.worker.syntax import MAX_BYTES, syntax_error


def test_a_syntax_error_names_its_place(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("x = 1\nif x\n    pass\n")
    assert syntax_error(str(script), "s.py") == "syntax error in s.py, line 2: expected ':'"


def test_scripts_without_a_detectable_syntax_error_pass(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    latin = "# -*- coding: latin-1 -*-\n'\xe9'".encode("latin-1")
    for source in (b"raise SystemExit(1)\n", b"(" + b"#" * MAX_BYTES, latin):
        script.write_bytes(source)
        assert syntax_error(str(script), "s.py") == ""
    assert syntax_error(str(tmp_path / "none.py"), "none.py") == ""
