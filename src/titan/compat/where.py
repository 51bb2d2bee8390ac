"""Address of the master, as programs of the Titan SDK set it.

A program may set TITAN_HOST and TITAN_PORT at any time before a request: as arguments of
`TitanClient`, as variables of the modules `titan.compat` and `titan.compat.titan_sdk`, or in its
environment. So the address is looked up at each request.
"""

from __future__ import annotations

import os
import sys

from titan.sdk.address import DEFAULT_PORT

_HOST, _PORT = os.environ.get("TITAN_HOST") or "", os.environ.get("TITAN_PORT") or ""
"""The variables when the program began."""
TITAN_HOST = _HOST or "127.0.0.1"
TITAN_PORT = int(_PORT) if _PORT.isdecimal() else DEFAULT_PORT
_MODULES = ("titan.compat", "titan.compat.titan_sdk")


def find(host: str | None = None, port: int | None = None) -> str | None:
    """Return HOST:PORT, or None for the default of `titan.Client`.

    A job has the address of its cluster from its worker. There, variables that the job found at its
    start are ignored: in a service TITAN_PORT is its own port.
    """
    found_host = host or _assigned("TITAN_HOST", TITAN_HOST) or _variable("TITAN_HOST", _HOST)
    found_port = port or _assigned("TITAN_PORT", TITAN_PORT) or _variable("TITAN_PORT", _PORT)
    if not found_host and not found_port:
        return None
    return f"{found_host or '127.0.0.1'}:{found_port or DEFAULT_PORT}"


def _assigned(name: str, first: object) -> object:
    """Return the value that the program gave to the variable of a module; None if it gave none."""
    for module in _MODULES:
        value = getattr(sys.modules.get(module), name, first)
        if value != first:
            return value
    return None


def _variable(name: str, first: str) -> str:
    value = os.environ.get(name) or ""
    return "" if "TITAN_JOB" in os.environ and value == first else value
