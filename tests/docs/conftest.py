from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import forked_titan


@pytest.fixture(scope="session")
def titan_socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder, forked_titan.server(Path(folder)) as path:
        yield path
