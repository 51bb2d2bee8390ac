"""How a command gets its client: the master that was named, the one on this machine's default port,
or the home of an earlier private cluster, which is opened for reading."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titan.cli.local_cluster import LocalCluster
from titan.cli.options import DEFAULT_HOME
from titan.errors import MasterUnreachable, NotFound
from titan.sdk.address import VARIABLE
from titan.sdk.client import Client


@contextmanager
def open_client(master: str | None, *, home: Path | None = None, offline: bool = False, make: bool = False) -> Iterator[Client]:
    """`offline`: if no master was named and none answers, `home` (default: .titan here) is opened
    for as long as this takes.

    `make`: a `home` that was named need not be there yet."""
    try:
        if home is not None and not master:
            if not make and not (home / "store").is_dir():
                raise NotFound(f"{home} is no home of a cluster: {home / 'store'} is not there")
            raise MasterUnreachable(f"no master of {home} runs")
        client = Client(master)
        client.open()
    except MasterUnreachable:
        folder = home or DEFAULT_HOME
        there = (folder / "store").is_dir() or (make and home is not None)
        if not offline or master or (home is None and os.environ.get(VARIABLE)) or not there:
            raise
        with _opened_home(folder) as address, Client(address) as stand_in:
            yield stand_in
        return
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _opened_home(folder: Path) -> Iterator[str]:
    """The address of the master of a home: of the one that runs there, or of one that runs for as
    long as this lasts."""
    running = address_of(folder)
    if running:
        yield running
        return
    with LocalCluster(folder, workers=0) as cluster:
        yield cluster.address


def address_of(folder: Path) -> str:
    """The address of the master that runs in a home, "" if none does."""
    try:
        address = str(json.loads((folder / "master.json").read_text())["address"])
    except (OSError, ValueError, KeyError):
        return ""
    try:
        with Client(address):
            return address
    except MasterUnreachable:
        return ""
