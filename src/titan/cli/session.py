"""Clients for the commands.

A client connects to the master that an option, the environment or the working directory names, to
the master on the default port of this machine, or to a temporary master of a home.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from titan.cli.local_cluster import LocalCluster
from titan.cli.options import home_of_command
from titan.cli.sharing import SharedHome
from titan.errors import MasterUnreachable, NotFound
from titan.sdk.address import HOME_VARIABLE, VARIABLE, address_of_home, default_home, no_master_in
from titan.sdk.client import Client

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextmanager
def open_client(master: str | None, *, home: Path | None = None, offline: bool = False, make: bool = False) -> Iterator[Client]:
    """Open a client for the duration of the context. `titan.sdk.address` has the order in which a
    master is searched; `home` (default: the option --home) comes before TITAN_MASTER.

    `offline`: if no master runs, start a temporary one on the home. `make`: the home need not exist
    yet. Raises NotFound, MasterUnreachable.
    """
    home = home or home_of_command()
    named = home is not None or bool(os.environ.get(HOME_VARIABLE) and not os.environ.get(VARIABLE))
    folder = home or default_home()
    try:
        if named and not master:
            address = address_of_home(folder)
            if not address:
                raise no_master_in(folder)
            client = Client(address)
        else:
            client = Client(master)
        client.open()
    except MasterUnreachable:
        is_home = (folder / "store").is_dir()
        if named and not master and not is_home and not make:
            store = folder / "store"
            raise NotFound(f"{folder} is not the home of a cluster: {store} does not exist: choose another with --home") from None
        if not offline or master or (not named and os.environ.get(VARIABLE)) or not (is_home or make):
            raise
        if not is_home:
            print(f"titan: no master runs: the new home {folder} is for the next cluster that starts there", file=sys.stderr)
        with _master_of_home(folder) as address, Client(address) as temporary:
            yield temporary
        return
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _master_of_home(folder: Path) -> Iterator[str]:
    """Start a master without workers on a home for the duration of the context.

    The temporary master counts as a cluster that is being started, so a `titan run` waits for its
    end and does not join it. If another master has started on the home meanwhile, use that master.
    """
    with ExitStack() as stack:
        users = SharedHome(folder)
        stack.callback(users.close)
        starting = stack.enter_context(ExitStack())
        starting.enter_context(users.starting())
        if running := address_of_home(folder):
            starting.close()
            yield running
            return
        yield stack.enter_context(LocalCluster(folder, workers=0)).address


def is_local(client: Client) -> bool:
    """Return whether the master and all of its workers are on this machine and run as this user, as
    far as the workers report."""
    if client.address.rpartition(":")[0].strip("[]") not in LOOPBACK:
        return False
    alive = [worker for worker in client.workers() if worker.state == "ALIVE"]
    found = {(worker.facts.get("host"), worker.facts.get("uid")) for worker in alive}
    return found == {(socket.gethostname(), os.getuid())}
