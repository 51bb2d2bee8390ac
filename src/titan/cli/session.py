"""Clients for the commands.

A client connects to the master that an option names, to the master on the default port of this
machine, or to a temporary master of an earlier private cluster's home.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titan.cli.local_cluster import LocalCluster
from titan.cli.options import DEFAULT_HOME
from titan.errors import MasterUnreachable, NotFound
from titan.sdk.address import VARIABLE
from titan.sdk.client import Client

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextmanager
def open_client(master: str | None, *, home: Path | None = None, offline: bool = False, make: bool = False) -> Iterator[Client]:
    """Open a client for the duration of the context.

    `offline`: if no master is named and none answers, start a temporary master on `home` (default:
    .titan here). `make`: `home` need not exist yet. Raises NotFound, MasterUnreachable.
    """
    try:
        if home is not None and not master:
            if not make and not (home / "store").is_dir():
                raise NotFound(f"{home} is not the home of a cluster: {home / 'store'} does not exist: pass another --home")
            raise MasterUnreachable(f"{home} has no running master")
        client = Client(master)
        client.open()
    except MasterUnreachable:
        folder = home or DEFAULT_HOME
        usable = (folder / "store").is_dir() or (make and home is not None)
        if not offline or master or (home is None and os.environ.get(VARIABLE)) or not usable:
            raise
        with _master_of_home(folder) as address, Client(address) as temporary:
            yield temporary
        return
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _master_of_home(folder: Path) -> Iterator[str]:
    """Return the address of the running master of a home, or start one for the context."""
    running = address_of(folder)
    if running:
        yield running
        return
    with LocalCluster(folder, workers=0) as cluster:
        yield cluster.address


def address_of(folder: Path) -> str:
    """Return the address of the running master of a home, "" if none runs."""
    try:
        address = str(json.loads((folder / "master.json").read_text())["address"])
    except (OSError, ValueError, KeyError):
        return ""
    try:
        with Client(address):
            return address
    except MasterUnreachable:
        return ""


def is_local(client: Client) -> bool:
    """Return whether the master and all of its workers are on this machine and run as this user, as
    far as the workers report."""
    if client.address.rpartition(":")[0].strip("[]") not in LOOPBACK:
        return False
    alive = [worker for worker in client.workers() if worker.state == "ALIVE"]
    found = {(worker.facts.get("host"), worker.facts.get("uid")) for worker in alive}
    return found == {(socket.gethostname(), os.getuid())}
