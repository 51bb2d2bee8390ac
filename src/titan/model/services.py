"""Fields of a service with their defaults, and the placeholders for its address.

In a job that depends on the service `db`, ``${service:db}`` stands for the HOST:PORT of `db`. The
placeholder works in arguments, values of `env` and the command; TITAN_SERVICE_DB holds the same
address. In a service's own arguments and `env`, ``${port}`` stands for its port. A placeholder with
an additional ``$`` in front is not replaced.

This module is pure. It must not know which worker runs a service, or whether a service is healthy.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from titan.model.dag import MAX_SECONDS, JobTemplate, Kind, Service

HEALTH = ("tcp", "http", "command", "none")
RESTART = ("always", "on-failure", "never")
MAX_PORT = 65_535
MAX_MISSES = 1_000
MAX_RESTARTS = 1_000_000
INTERVAL_S, TIMEOUT_S, START_S = 2.0, 2.0, 60.0
"""Defaults: interval between two checks, timeout of a check, and time from the start until the
service must be healthy."""
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
"""Default back-off before the first restart, and its maximum. The back-off doubles with each
restart."""
MISSES = 3
STEADY_S = 30.0
"""Time of being READY after which a service's back-off starts again from its first value."""

_SERVICE = re.compile(r"(?<!\$)\$\{service:([^{}]*)\}")
_PORT = re.compile(r"(?<!\$)\$\{port\}")


def resolved(service: Service) -> Service:
    """Return the service with defaults for its empty fields."""
    backoff = service.backoff_s or BACKOFF_S
    return msgspec.structs.replace(
        service,
        health=service.health or "tcp",
        interval_s=service.interval_s or INTERVAL_S,
        timeout_s=service.timeout_s or TIMEOUT_S,
        start_s=service.start_s or START_S,
        restart=service.restart or "always",
        backoff_s=backoff,
        backoff_max_s=max(backoff, service.backoff_max_s or BACKOFF_MAX_S),
        misses=service.misses or MISSES,
    )


def service_problem(template: JobTemplate) -> str:
    """Return the problem with a template's service fields; "" if there is none."""
    service = template.service
    if service is None:
        return "type service needs the fields of a service" if template.kind == Kind.SERVICE else ""
    if template.kind != Kind.SERVICE:
        return "port, health, restart and keep are for a service: add type: service"
    if template.function:
        return "a function cannot be a service: give a file or a command"
    if template.timeout_s:
        return "a service has no timeout: leave it out, and stop it with `titan stop`"
    if not 0 <= service.port <= MAX_PORT:
        return f"port {service.port} is out of range: give 1 to {MAX_PORT}, or 0 for any free one"
    if service.health not in ("", *HEALTH):
        return f"health check {service.health[:80]!r} is unknown: the checks are {', '.join(HEALTH)}"
    if service.health == "http" and not service.target.startswith("/"):
        return "the path of an http health check starts with /"
    if any(ord(c) <= 32 or ord(c) > 126 for c in service.target) and service.health == "http":
        return "the path of an http health check holds a character that is not allowed: write it as %XX"
    if service.health == "command" and (not service.target.strip() or "\0" in service.target):
        return "a health check by command needs a command"
    if service.restart not in ("", *RESTART):
        return f"restart {service.restart[:80]!r} is unknown: the policies are {', '.join(RESTART)}"
    for field, seconds in (
        ("health interval", service.interval_s),
        ("health timeout", service.timeout_s),
        ("health start", service.start_s),
        ("restart backoff", service.backoff_s),
        ("restart backoff_max", service.backoff_max_s),
    ):
        if not 0 <= seconds <= MAX_SECONDS:  # also false for NaN
            return f"{field} must be 0 to {MAX_SECONDS:,.0f} seconds"
    if not 0 <= service.misses <= MAX_MISSES:
        return f"health failures must be 1 to {MAX_MISSES:,}"
    if not 0 <= service.max_restarts <= MAX_RESTARTS:
        return f"restart max must be 1 to {MAX_RESTARTS:,}, or left out"
    return ""


def names_in(text: str) -> list[str]:
    """Return the services that a text names.

    >>> names_in("redis://${service:db}/0 $${service:other}")
    ['db']
    """
    return _SERVICE.findall(text) if "${" in text else []


def put_services(text: str, address_of: Callable[[str], str]) -> str:
    """Replace each placeholder of a service by the service's address. Errors of `address_of`
    propagate."""
    return _SERVICE.sub(lambda match: address_of(match[1]), text) if "${" in text else text


def put_port(text: str, port: int) -> str:
    return _PORT.sub(str(port), text) if "${" in text else text


def variable_of(service: str) -> str:
    """Return the name of the environment variable that holds a service's address.

    >>> variable_of("my-db[0]")
    'TITAN_SERVICE_MY_DB_0_'
    """
    return "TITAN_SERVICE_" + re.sub(r"[^A-Za-z0-9]", "_", service).upper()
