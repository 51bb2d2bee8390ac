from __future__ import annotations

from collections.abc import Iterator

import pytest

from differential.peer import Redis, redis_server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Run a redis-server for the tests of one module."""
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running
