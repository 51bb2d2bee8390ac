"""One master for the tests of each handler: they use runs, workers and names of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.handlers import SocketlessMaster


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketlessMaster]:
    with SocketlessMaster(tmp_path_factory.mktemp("master")) as made:
        yield made
