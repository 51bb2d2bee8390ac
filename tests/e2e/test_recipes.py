"""Each page of docs/recipes does what it says: its blocks run in order, and what they print is what
the page shows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support import forked_titan
from support.page_reader import a_page_folder
from support.pages import RECIPES, blocks, prints

LINES = range(35, 111)


@pytest.fixture(scope="module")
def titan_socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, forked_titan.server(Path(folder)) as path:
        yield path


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_does_what_its_page_says(page: Path, tmp_path: Path, titan_socket: Path) -> None:
    found = blocks(page)
    assert all(not block.skipped for block in found)
    with a_page_folder(tmp_path, titan_socket) as reader:
        printed = [reader.run(block) for block in found]
        reader.check_that_files_were_used(page)
    shown = [
        (block, after, output) for (block, after), output in zip(pairwise(found), printed, strict=False) if after.language == "text"
    ]
    assert shown, f"{page.name} does not show what its commands print"
    for _, after, output in shown:
        assert prints(after.text, output), f"{after.place} shows\n{after.text}\nbut it printed\n{output}"


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_fits_a_page(page: Path) -> None:
    assert len(page.read_text().splitlines()) in LINES
