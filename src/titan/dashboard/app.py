"""The ASGI application of the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.response import Redirect
from litestar.types import ASGIApp

from titan import __version__
from titan.dashboard.access import SESSION_S, Access, Denied
from titan.dashboard.acting import Acting
from titan.dashboard.clients import Clients
from titan.dashboard.guards import COOKIE, Authentication
from titan.dashboard.problems import on_denied, on_http_error, on_internal_error, on_titan_error
from titan.dashboard.protection import Protection
from titan.dashboard.reading import Reading
from titan.dashboard.streams import Feeds, Streams
from titan.errors import TitanError

MAX_BODY = 1 << 20


@get("/login", include_in_schema=False)
async def login(access: Access, link: str = "") -> Redirect:
    """Exchange a one-use link for a session, and show whose it is."""
    identity = access.use_link(link)
    answer = Redirect("/api/v1/session", status_code=303)
    answer.set_cookie(COOKIE, access.cookie_of(identity), max_age=int(SESSION_S), httponly=True, samesite="strict")
    return answer


class _SchemaPlugin(JsonRenderPlugin):
    """Serves the schema, in which a number may fit several members of a union: int and float."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, _any_of(openapi_schema))


def _any_of(value: Any) -> Any:
    if isinstance(value, dict):
        return {"anyOf" if key == "oneOf" else key: _any_of(inner) for key, inner in value.items()}
    return [_any_of(inner) for inner in value] if isinstance(value, list) else value


def make_app(address: str, access: Access, hosts: Iterable[str]) -> ASGIApp:
    """Return the application for the master at `address`. `hosts`: see Protection."""
    clients = Clients(address)
    feeds = Feeds(clients.reader)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await feeds.close()
            await clients.close()

    api = Router(
        "/api/v1", route_handlers=[Reading, Acting, Streams], middleware=[DefineMiddleware(Authentication, exclude_http_methods=[])]
    )
    app = Litestar(
        [login, api],
        state=State({"access": access}),
        lifespan=[lifespan],
        dependencies={
            "access": Provide(lambda: access, sync_to_thread=False),
            "clients": Provide(lambda: clients, sync_to_thread=False),
            "feeds": Provide(lambda: feeds, sync_to_thread=False),
        },
        exception_handlers={
            TitanError: on_titan_error,
            Denied: on_denied,
            HTTPException: on_http_error,
            Exception: on_internal_error,
        },
        openapi_config=OpenAPIConfig(
            title="Titan",
            version=__version__,
            description="HTTP API of a Titan cluster. docs/http-api.md describes it.",
            path="/api/v1/schema",
            components=Components(
                security_schemes={
                    "token": SecurityScheme(type="http", scheme="bearer", description="A token of `titan token create`."),
                    "session": SecurityScheme(type="apiKey", name=COOKIE, security_scheme_in="cookie"),
                }
            ),
            security=[{"token": []}, {"session": []}],
            render_plugins=[_SchemaPlugin()],
        ),
        request_max_body_size=MAX_BODY,
        logging_config=None,
    )
    return Protection(app, hosts)
