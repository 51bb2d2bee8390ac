"""Authentication of requests, and the rights that an endpoint asks for."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from titan.dashboard.access import Access, Identity, Role

COOKIE = "titan_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE = ("GET", "HEAD", "OPTIONS")

Connection = ASGIConnection[Any, Any, Any, Any]


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the identity behind a session's cookie or an API token. A token comes first."""

    async def authenticate_request(self, connection: Connection) -> AuthenticationResult:
        access: Access = connection.app.state.access
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        identity = access.bearer(text.strip()) if scheme.lower() == "bearer" else access.session(connection.cookies.get(COOKIE, ""))
        if identity is None:
            if scheme:
                raise NotAuthorizedException("this API token is not known: `titan token create NAME` makes one")
            raise NotAuthorizedException("not signed in: open the link that `titan open` prints, or send an API token")
        changes = identity.session and connection.scope["method"] not in SAFE  # type: ignore[typeddict-item]
        if changes and not access.is_csrf_token(identity, connection.headers.get(CSRF_HEADER, "")):
            raise PermissionDeniedException(f"the header {CSRF_HEADER} is missing or wrong: read it at /api/v1/session")
        return AuthenticationResult(user=identity, auth=None)


def operators_only(connection: Connection, _: BaseRouteHandler) -> None:
    """Refuse a change by a viewer."""
    identity: Identity = connection.user
    if identity.role is not Role.OPERATOR:
        raise PermissionDeniedException(f"{identity.actor} may only read: its role is {identity.role}")
