"""Permitted addresses of webhooks. Any submitter can make the master call a URL, so URLs are
limited.

Without an allow list, all addresses are permitted except loopback, link-local (where clouds answer
with credentials), unspecified and multicast addresses. Private addresses are permitted, because
teams often use a chat server of their own. With an allow list, only its entries are permitted.

A name is resolved once. All of its addresses are checked, and the connection uses one of them. If
the name later resolves differently (DNS rebinding), this has no effect.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from titan.errors import CallerError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Function that returns the addresses of a host name. Raises OSError."""

_NAT64 = ip_network("64:ff9b::/96")
_6TO4 = ip_network("2002::/16")
_NEVER = [
    *(ip_network("0.0.0.0/8"), ip_network("240.0.0.0/4")),
    *(ip_network("100.100.100.200/32"), ip_network("fd00:ec2::254/128")),  # credentials of clouds
]
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class Refused(Exception):
    """Address that a webhook must not reach. The text has the address and the reason."""


@dataclass(frozen=True)
class Rule:
    """Entry of `--webhook-allow`: a `host` or a `network`. Port 0 permits any port."""

    host: str = ""
    network: Network | None = None
    port: int = 0

    def names(self, host: str, port: int) -> bool:
        return bool(self.host) and self.host == host and self.port in (0, port)

    def holds(self, address: Address, port: int) -> bool:
        return self.network is not None and self.port in (0, port) and address in self.network

    @property
    def is_of_this_machine(self) -> bool:
        """True if the rule names an address of this machine, not a larger range that includes
        it."""
        if self.network is None:
            return self.host in _LOOPBACK_NAMES
        return self.network.prefixlen == self.network.max_prefixlen or self.network.is_loopback or self.network.is_link_local


def rule(text: str) -> Rule:
    """Parse HOST, HOST:PORT, or a range of addresses such as 10.0.0.0/8. Raises CallerError."""
    wrong = CallerError(f"--webhook-allow {text}: give HOST, HOST:PORT or a range of addresses such as 10.0.0.0/8")
    if "/" in text:
        try:
            return Rule(network=ip_network(text))
        except ValueError as error:
            raise CallerError(f"--webhook-allow {text}: {error}") from None
    try:
        return Rule(network=ip_network(text))  # an IPv6 address, whose colons are not before a port
    except ValueError:
        pass
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        raise wrong from None
    if (
        not host
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username is not None
        or not host.isprintable()
        or " " in host
    ):
        raise wrong
    found = literal(host)
    return Rule(host=host.rstrip("."), port=port) if found is None else Rule(network=ip_network(found), port=port)


def literal(host: str) -> Address | None:
    """Return the address if the host is an address, or None if it is a name.

    All spellings that a resolver accepts are recognised (`127.1`, `0x7f000001`).
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def plain(address: Address) -> Address:
    """Return the IPv4 address that is embedded in an IPv6 address, else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _6TO4 and address.sixtofour is not None:
            return address.sixtofour
    return address


def kind(address: Address) -> str:
    """Return why an address needs an explicit rule, or "" if it needs none."""
    if address.is_loopback:
        return "an address of the master's own machine"
    if address.is_link_local:
        return "a link-local address"
    if address.is_unspecified:
        return "not an address of a host"
    if address.is_multicast:
        return "a multicast address"
    if any(address in network for network in _NEVER) or (isinstance(address, IPv6Address) and int(address) < 1 << 96):
        return "a reserved address"
    return ""


async def look_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


class Targets:
    """Check of addresses. `rules` is the allow list. If it is empty, the default applies."""

    def __init__(self, rules: Iterable[Rule] = (), resolve: Resolve = look_up) -> None:
        self._rules = tuple(rules)
        self._resolve = resolve

    def problem(self, url: str) -> str:
        """Return why a URL can never be called, or "". The host name is not resolved."""
        try:
            host, port = host_and_port(url)
        except ValueError:
            return "its URL cannot be used: the port is not a number"
        found = literal(host)
        if found is not None:
            return self._refusal(host, port, found)
        if self._rules:
            if any(rule.names(host, port) for rule in self._rules) or any(rule.network is not None for rule in self._rules):
                return ""
            return _unlisted(host, port)
        return f"{host} is {kind(ip_address('127.0.0.1'))}: {_HOW}" if _is_loopback_name(host) else ""

    async def addresses(self, url: str) -> list[str]:
        """Return the permitted addresses of a URL. Raises Refused, OSError."""
        try:
            host, port = host_and_port(url)
        except ValueError:
            raise Refused("its URL cannot be used: the port is not a number") from None
        found = literal(host)
        resolved = [found] if found is not None else [ip_address(text) for text in await self._resolve(host, port)]
        for address in resolved:
            if refusal := self._refusal(host, port, address):
                raise Refused(refusal)
        return [str(address) for address in resolved]

    def _refusal(self, host: str, port: int, address: Address) -> str:
        own = plain(address)
        reason = kind(own)
        where = host if literal(host) is not None else f"{host} ({address})"
        if self._rules:
            matching = [
                rule for rule in self._rules if rule.names(host, port) or rule.holds(own, port) or rule.holds(address, port)
            ]
            if not matching:
                return _unlisted(where, port)
            if not reason or any(rule.is_of_this_machine for rule in matching):
                return ""
        return f"{where} is {reason}: {_HOW}" if reason else ""


_HOW = "start the master with --webhook-allow HOST[:PORT] to permit it"


def _unlisted(where: str, port: int) -> str:
    return f"{where}, port {port}, is not in the master's --webhook-allow list"


def _is_loopback_name(host: str) -> bool:
    return host in _LOOPBACK_NAMES or host.endswith(".localhost")


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host, in lower case, and the port of a URL. Raises ValueError."""
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme.lower() == "https" else 80)
