"""Every code block of README and docs runs. `support.pages` has the rules, and
`support.page_reader` has the folder and the cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.page_reader import a_page_folder
from support.pages import PAGES, Block, blocks

MAX_SKIPPED = 7
"""Number of blocks, on all pages, that do not run. Lower it if one more block runs."""
SKIPPED = [block for page in PAGES for block in blocks(page) if block.skipped]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path, titan_socket: Path) -> None:
    with a_page_folder(tmp_path, titan_socket) as reader:
        for block in blocks(page):
            if not block.skipped:
                reader.run(block)
        reader.check_that_files_were_used(page)


@pytest.mark.parametrize("block", SKIPPED, ids=lambda block: block.place)
def test_a_block_that_does_not_run_says_why(block: Block) -> None:
    pytest.skip(f"{block.place}: {block.skipped}")


def test_few_blocks_do_not_run() -> None:
    assert len(SKIPPED) <= MAX_SKIPPED
