"""One master for the tests of all handlers. Each test uses runs, workers and names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.handlers import SocketlessMaster


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketlessMaster]:
    with SocketlessMaster(tmp_path_factory.mktemp("master")) as made:
        yield made
