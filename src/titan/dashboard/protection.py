"""Protection of the dashboard from other sites, as an ASGI middleware around everything.

A page of another site can send requests to a server on this machine, and by DNS rebinding even read
the answers. So each request, of any method, must name a host of the dashboard, and a request that
names its origin must come from the dashboard itself. All answers forbid scripts of other sources,
frames and sniffing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from titan.dashboard.problems import MEDIA_TYPE, Problem

_CSP = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'",
        "connect-src 'self'", "worker-src 'self'", "manifest-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
        "form-action 'self'",
    )
)  # fmt: skip
HEADERS = (
    (b"content-security-policy", _CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
API = "/api/"
LOGIN = "/login"


class Protection:
    """`hosts`: values of the Host header that requests may have, in lower case."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the dashboard has no websockets
        refusal = self._refusal(scope)
        answering = _Answer(scope, send)
        if refusal is None:
            await self._app(scope, receive, answering)
        else:
            await _refuse(refusal, answering)

    def _refusal(self, scope: HTTPScope) -> Problem | None:
        headers = _single(scope["headers"])
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return Problem(421, "Unknown host", "this dashboard is not served under that host name: use its printed link", "denied")
        origin = headers.get("origin", "")
        if origin and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return Problem(403, "Denied", "requests of other sites are refused", "denied")
        # A link in a mail or a chat is a navigation from another site: it gets the page, no data.
        navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and not scope["path"].startswith(API)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigates:
            return Problem(403, "Denied", "requests of other sites are refused", "denied")
        return None


class _Answer:
    """Sends an answer with the protecting headers, and with an ETag if it is one piece of JSON. A
    client that has that ETag gets 304 instead."""

    def __init__(self, scope: HTTPScope, send: Send) -> None:
        self._send = send
        self._known = _single(scope["headers"]).get("if-none-match", "")
        self._tags = scope["method"] == "GET" and scope["path"].startswith(API)
        self._start: Any = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower(): value for name, value in message["headers"]}
            caching = [] if b"cache-control" in present else [(b"cache-control", b"no-cache" if self._tags else b"no-store")]
            message["headers"] = [*message["headers"], *HEADERS, *caching]
            kind = present.get(b"content-type", b"")
            if self._tags and message["status"] == 200 and kind.startswith(b"application/json"):
                self._start = message  # sent with its body
                return
        elif self._start is not None and message["type"] == "http.response.body":
            start, self._start = self._start, None
            if not message.get("more_body"):
                tag = f'"{hashlib.blake2b(message["body"], digest_size=12).hexdigest()}"'
                start["headers"].append((b"etag", tag.encode()))
                if tag in [known.strip().removeprefix("W/") for known in self._known.split(",")]:
                    start["status"], message["body"] = 304, b""
                    left = (b"content-length", b"content-type")
                    start["headers"] = [(name, value) for name, value in start["headers"] if name.lower() not in left]
            await self._send(start)
        await self._send(message)


def _single(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name. A header that comes twice is not valid, so its values are joined."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def _refuse(problem: Problem, send: _Answer) -> None:
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    start: Any = {"type": "http.response.start", "status": problem.status, "headers": headers}
    await send(start)
    end: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(end)
