"""Detection of a copied home: a master recognises the home that the last master left."""

from __future__ import annotations

import shutil
from pathlib import Path

from titan.master.home.mark import mark, why_copied


def test_a_home_is_the_original_until_it_is_copied(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert why_copied(home) == ""
    mark(home)
    assert why_copied(home) == ""
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    assert "is a copy" in why_copied(copy)
    home.rename(tmp_path / "moved")
    assert why_copied(tmp_path / "moved") == "", "a moved home is no copy"
    mark(copy)
    assert why_copied(copy) == ""


def test_an_incomplete_mark_does_not_prove_a_copy(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text("{")
    assert why_copied(tmp_path) == ""
    mark(tmp_path)
    (tmp_path / "origin").unlink()
    assert "is a copy" in why_copied(tmp_path)
