"""One module per peer, named like it, with one class: the peer. Each is written as the peer's own
documentation shows it."""

from __future__ import annotations

import importlib

from benchmarks.compare.peer import Peer

NAMES = ("titan", "ppe", "xargs", "hyperqueue", "dask", "ray", "parsl", "celery")
"""In the order in which they take turns and stand in the report."""


def load(name: str) -> type[Peer]:
    """Imports nothing of the peer itself: that is done when it starts."""
    module = importlib.import_module(f"benchmarks.compare.peers.{name}")
    (found,) = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Peer) and each.__module__ == module.__name__
    ]
    return found
