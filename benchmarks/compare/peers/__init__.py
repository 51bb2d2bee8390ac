"""One module per peer, with the peer's name and one class. Each peer is used as its own
documentation shows."""

from __future__ import annotations

import importlib

from benchmarks.compare.peer import Peer

NAMES = ("titan", "ppe", "xargs", "hyperqueue", "dask", "ray", "parsl", "celery")
"""Names of the peers, in the order of the turns and of the report."""


def load(name: str) -> type[Peer]:
    """Return the class of a peer. The peer's own packages are imported only when it starts."""
    module = importlib.import_module(f"benchmarks.compare.peers.{name}")
    (found,) = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Peer) and each.__module__ == module.__name__
    ]
    return found
