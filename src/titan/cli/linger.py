"""`titan linger`, hidden: a private cluster whose `titan run` has ended while others use it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import click

from titan.cli.local_cluster import LocalCluster, PassedProcess
from titan.cli.sharing import SharedHome
from titan.errors import TitanError
from titan.sdk.client import Client


@click.command(hidden=True)
@click.argument("home", type=click.Path(path_type=Path))
@click.argument("address")
@click.argument("processes")
def linger(home: Path, address: str, processes: str) -> None:
    """Adopt the private cluster of a home until no `titan run` uses it."""
    passed = [PassedProcess(*process) for process in json.loads(processes)]
    cluster = LocalCluster.adopt(home, address, passed, partial(_has_left, address))
    cluster.watch_in_thread(lambda _: None)
    users = SharedHome(home)
    users.await_others()
    cluster.stop()
    users.close()


def _has_left(address: str, worker: str) -> bool:
    """Return whether a worker has left its master, or that does not say."""
    try:
        with Client(address, patience_s=1.0) as client:
            return all(row.state == "LEFT" for row in client.workers() if row.name == worker)
    except TitanError:
        return True
