"""What a service may say of itself, with its defaults, and how its children name it.

In the arguments, the values of `env` and the command of a job that depends on the service `db`,
``${service:db}`` stands for its HOST:PORT, which TITAN_SERVICE_DB holds as well; in its own
arguments and `env` a service finds its port as ``${port}``. A further ``$`` in front leaves a place
as it is. Pure: which worker has it, and when it is healthy, is for others.
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
"""Between two checks; for one; and from its start until it has to be healthy."""
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
"""Before the first restart; it doubles with each, up to the maximum."""
MISSES = 3
STEADY_S = 30.0
"""A service that was READY for so long begins its backoff anew."""

_SERVICE = re.compile(r"(?<!\$)\$\{service:([^{}]*)\}")
_PORT = re.compile(r"(?<!\$)\$\{port\}")


def resolved(service: Service) -> Service:
    """With the defaults in the place of what it does not say."""
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
    """What is wrong with a template as far as services are concerned; "" if nothing is."""
    service = template.service
    if service is None:
        return "a service without its fields" if template.kind == Kind.SERVICE else ""
    if template.kind != Kind.SERVICE:
        return "port, health, restart and keep are for a service: say type: service"
    if template.function:
        return "a function can be no service: give a file or a command"
    if template.timeout_s:
        return "a service has no timeout: leave it out, and stop it with `titan stop`"
    if not 0 <= service.port <= MAX_PORT:
        return f"port {service.port} is out of range: give 1 to {MAX_PORT}, or 0 for any free one"
    if service.health not in ("", *HEALTH):
        return f"health check {service.health[:80]!r} is unknown: there are {', '.join(HEALTH)}"
    if service.health == "http" and not service.target.startswith("/"):
        return "the path of an http health check starts with /"
    if any(ord(c) <= 32 or ord(c) > 126 for c in service.target) and service.health == "http":
        return "the path of an http health check holds a character that no path has: write it as %XX"
    if service.health == "command" and (not service.target.strip() or "\0" in service.target):
        return "a health check by command needs a command"
    if service.restart not in ("", *RESTART):
        return f"restart {service.restart[:80]!r} is unknown: there are {', '.join(RESTART)}"
    for word, seconds in (
        ("health interval", service.interval_s),
        ("health timeout", service.timeout_s),
        ("health start", service.start_s),
        ("restart backoff", service.backoff_s),
        ("restart backoff_max", service.backoff_max_s),
    ):
        if not 0 <= seconds <= MAX_SECONDS:  # also false for NaN
            return f"{word} must be 0 to {MAX_SECONDS:,.0f} seconds"
    if not 0 <= service.misses <= MAX_MISSES:
        return f"health failures must be 1 to {MAX_MISSES:,}"
    if not 0 <= service.max_restarts <= MAX_RESTARTS:
        return f"restart max must be 1 to {MAX_RESTARTS:,}, or left out"
    return ""


def names_in(text: str) -> list[str]:
    """The services that a text names.

    >>> names_in("redis://${service:db}/0 $${service:other}")
    ['db']
    """
    return _SERVICE.findall(text) if "${" in text else []


def put_services(text: str, address_of: Callable[[str], str]) -> str:
    """The text with the address of each service that it names. What `address_of` raises goes
    through."""
    return _SERVICE.sub(lambda place: address_of(place[1]), text) if "${" in text else text


def put_port(text: str, port: int) -> str:
    return _PORT.sub(str(port), text) if "${" in text else text


def variable_of(service: str) -> str:
    """The environment variable that holds the address of a service.

    >>> variable_of("my-db[0]")
    'TITAN_SERVICE_MY_DB_0_'
    """
    return "TITAN_SERVICE_" + re.sub(r"[^A-Za-z0-9]", "_", service).upper()
