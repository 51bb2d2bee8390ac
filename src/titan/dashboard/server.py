"""The dashboard as a process: serves the application on a port of this machine until it is told to
stop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import uvicorn

from titan.dashboard.access import Access
from titan.dashboard.app import make_app
from titan.errors import PortInUse
from titan.host.home_lock import HomeLock

GRACE_S = 1
"""Seconds that streams get to end."""


def hosts_of(port: int, further: Iterable[str] = ()) -> list[str]:
    """Return the values of Host under which the dashboard is served on a port."""
    names = ["127.0.0.1", "localhost", "[::1]", *(name.lower() for name in further)]
    return [f"{name}:{port}" for name in names] + (names if port == 80 else [])


def open_port(port: int) -> socket.socket:
    """Return a listening socket on the loopback interface. 0 takes a free port.

    Raises PortInUse.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortInUse(f"port {port} is in use ({error.strerror}): choose another with --port") from error
    return listener


def serve(address: str, home: Path, listener: socket.socket, *, names: Iterable[str] = (), ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM. `names`: further host names, for a proxy. `ready` is called
    when requests are answered. Raises Conflict if another dashboard serves this home.

    The lock of the file `lock` says that the port in dashboard.json is served.
    """
    port = listener.getsockname()[1]
    access = Access(home)
    app = make_app(address, access, hosts_of(port, names))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
        ws="none",
    )
    about = access.folder / "dashboard.json"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            about.write_text(json.dumps({"port": port}) + "\n")
            ready()

    with HomeLock(access.folder / "lock"):
        asyncio.run(Server(config).serve([listener]))
