"""Errors as problem details (RFC 9457): one object with the status, a title, the reason, and the
fields at fault."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from titan.dashboard.access import Denied
from titan.errors import (
    CallerError,
    Conflict,
    ConnectionLost,
    EnvironmentFault,
    InvalidGraph,
    InvalidPipeline,
    LimitExceeded,
    MasterUnreachable,
    NotFound,
    PeerError,
    TitanError,
)

log = logging.getLogger("titan.dashboard")
MEDIA_TYPE = "application/problem+json"
STATUS: tuple[tuple[type[TitanError], int, str], ...] = (
    (NotFound, 404, "Not found"),
    (Conflict, 409, "Conflict"),
    (InvalidGraph, 422, "Invalid DAG"),
    (InvalidPipeline, 422, "Invalid pipeline"),
    (LimitExceeded, 413, "Limit exceeded"),
    (CallerError, 400, "Bad request"),
    (MasterUnreachable, 503, "No master"),
    (ConnectionLost, 503, "No master"),
    (PeerError, 502, "Bad answer of the master"),
    (EnvironmentFault, 503, "Not available"),
)
"""Kinds of error -> status and title. The first that fits counts."""


class FieldError(msgspec.Struct, frozen=True):
    """Fault of one field of a request."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    """Reason why a request failed. `code` is stable and for programs; `detail` is for people."""

    status: int
    title: str
    detail: str
    code: str
    retryable: bool = False
    errors: list[FieldError] = []
    type: str = "about:blank"


def problem_of(error: TitanError) -> Problem:
    """Return the problem that a fault of Titan is."""
    status, title = next(((status, title) for kind, status, title in STATUS if isinstance(error, kind)), (500, "Internal error"))
    field = ""
    if isinstance(error, InvalidPipeline):
        field = error.key
    elif isinstance(error, InvalidGraph) and error.job:
        field = f"{error.job}.{error.field}" if error.field else error.job
    errors = [FieldError(field, getattr(error, "problem", "") or str(error))] if field else []
    return Problem(status, title, str(error), error.code, error.retryable, errors)


def answer(problem: Problem) -> Response[Problem]:
    headers = {"Retry-After": "1"} if problem.status == 503 else {}
    return Response(problem, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def on_titan_error(_: Request[Any, Any, Any], error: TitanError) -> Response[Problem]:
    return answer(problem_of(error))


def on_denied(_: Request[Any, Any, Any], error: Denied) -> Response[Problem]:
    return answer(Problem(403, "Denied", str(error), "denied"))


def on_http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Answer a fault that the web framework found: a value of the wrong type, an unknown path."""
    errors: list[FieldError] = []
    if isinstance(error, ValidationException):
        found = error.extra if isinstance(error.extra, list) else []
        errors = [_field_error(str(extra.get("key", "")), str(extra.get("message", ""))) for extra in found]
    status = error.status_code
    titles = {400: "Bad request", 401: "Not signed in", 403: "Denied", 404: "Not found", 405: "Wrong method", 413: "Too large"}
    code = {401: "not_signed_in", 403: "denied", 404: "not_found"}.get(status, "caller" if status < 500 else "bug")
    detail = error.detail if status < 500 else "an internal error: the log of the dashboard has its traceback"
    problem = answer(Problem(status, titles.get(status, "Error"), detail, code, False, errors))
    problem.headers.update(error.headers or {})  # a 405 has Allow
    return problem


def _field_error(field: str, message: str) -> FieldError:
    return FieldError("", "the body is missing") if message == "'data'" else FieldError(field, message)


def on_internal_error(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(Problem(500, "Internal error", "an internal error: the log of the dashboard has its traceback", "bug"))
