"""Where a server of ours may listen."""

from __future__ import annotations

import ipaddress

from titan.errors import CallerError


def check_host(host: str, what: str, danger: str, *, insecure: bool) -> None:
    """Loopback, unless it was said that others may come. Raises CallerError."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not insecure:
        raise CallerError(
            f"binding to {host} opens {what} to everyone who can reach it, and anyone who can may {danger}: "
            "say --insecure if that network is yours alone"
        )
