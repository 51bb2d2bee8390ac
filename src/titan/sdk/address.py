"""Address of the master, found the same way by every command and every client:

1. the address that is given (`--master`)
2. TITAN_MASTER
3. the master that runs in the home TITAN_HOME
4. the master that runs in the home `.titan` of the working directory
5. port 9090 of this machine
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from titan.errors import CallerError, MasterUnreachable
from titan.host.home_lock import is_locked

DEFAULT_PORT = 9090
DEFAULT = f"127.0.0.1:{DEFAULT_PORT}"
VARIABLE = "TITAN_MASTER"
HOME_VARIABLE = "TITAN_HOME"
DEFAULT_HOME = Path(".titan")


def default_home() -> Path:
    """Return the home that a command uses if no option names one: TITAN_HOME, else .titan here."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def address_of_home(home: Path) -> str:
    """Return the address of the master that runs in a home; "" if none runs there."""
    try:
        address = str(json.loads((home / "master.json").read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return address if is_locked(home / "lock") else ""


def find_address(address: str | None = None) -> tuple[str, int]:
    """Return (host, port) from `HOST`, `HOST:PORT`, `:PORT` or `[IPV6]:PORT`.

    Raises CallerError, and MasterUnreachable if TITAN_HOME names a home without a running master.
    """
    text = (address or os.environ.get(VARIABLE) or address_of_home(default_home()) or "").strip()
    if not text:
        if os.environ.get(HOME_VARIABLE):
            raise no_master_in(default_home())
        text = DEFAULT
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not 0 < int(port) < 65536 or "/" in host or "@" in host:
        raise CallerError(f"{text!r} is not the address of a master: give HOST:PORT, for example {DEFAULT}")
    return host, int(port)


def no_master_in(home: Path) -> MasterUnreachable:
    """Return the error for a home without a running master."""
    return MasterUnreachable(f"no master runs in the home {home}: start one with `titan up --home {home}`")
