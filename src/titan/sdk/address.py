"""Address of the master: an argument, else TITAN_MASTER, else port 9090 of this machine."""

from __future__ import annotations

import os

from titan.errors import CallerError

DEFAULT_PORT = 9090
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"
VARIABLE = "TITAN_MASTER"


def find_address(address: str | None = None) -> tuple[str, int]:
    """Return (host, port) from `HOST`, `HOST:PORT`, `:PORT` or `[IPV6]:PORT`.

    Raises CallerError.
    """
    text = (address or os.environ.get(VARIABLE) or DEFAULT).strip()
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise CallerError(f"{text!r} is not the address of a master: give HOST:PORT, for example {DEFAULT}")
    return host, int(port)
