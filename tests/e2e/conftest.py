from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.cluster import Cluster
from support.store_server import StoreServer
from titan import Client


@pytest.fixture(scope="module")
def client(c: Cluster) -> Iterator[Client]:
    """Return a client of the module's cluster."""
    with Client(c.address) as opened:
        yield opened


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    """Provide a folder and a way to start commands: no master, and no TITAN_MASTER. Most modules
    have a fixture of this name that starts a cluster."""
    with closing(Cluster(tmp_path / "c")) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreServer]:
    """Run a `titan store` for one test."""
    server = StoreServer(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.close()
