"""Services: conversion of a job's fields, references to services, and the status of services.

    port: 8080                  # 0 or absent: any free port
    health: tcp                 # http:/path, none, or a mapping:
                                #   {type: command, command: pg_isready, interval: 2, timeout: 2,
                                #    start: 60, failures: 3}
    restart: always             # on-failure, never, or a mapping:
                                #   {policy: always, backoff: 0.5, backoff_max: 30, max: 10}
    keep: true

Owns these forms and their error texts. It must not access files or the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from titan.model.dag import MAX_SECONDS, Service
from titan.model.durations import EXAMPLE, as_seconds
from titan.model.names import split_job
from titan.model.services import HEALTH, MAX_MISSES, MAX_PORT, MAX_RESTARTS, RESTART, names_in
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

_HEALTH_KEYS: Final = ("type", "path", "command", "interval", "timeout", "start", "failures")
_RESTART_KEYS: Final = ("policy", "backoff", "backoff_max", "max")


class BadService(ValueError):
    """Invalid value of a service's field `field`. The text is the problem, to be put after a
    colon."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service.

    - `state`: READY, or the state of its job. `since`: start of that state, in seconds since the
      epoch.
    - `address`: present or last "HOST:PORT"; None if it never was READY.
    - `restarts`: number of restarts in all its attempts.
    - `reason`: why it is not READY, or why it was last restarted.
    """

    run: str
    dag: str
    job: str
    state: str
    worker: str | None
    address: str | None
    restarts: int
    since: float
    attempt: int
    reason: str


# -- conversion of values --------------------------------------------------------------------------
def service_of(type_: object, port: object, health: object, restart: object, keep: object) -> Service | None:
    """Convert the fields of a service; None for another job. Raises BadService.

    >>> service_of("service", 8080, "http:/healthz", "on-failure", False).target
    '/healthz'
    """
    if type_ != "service":
        service_fields = (("port", port), ("health", health), ("restart", restart), ("keep", keep or None))
        for field, value in service_fields:
            if value is not None:
                raise BadService(field, "applies only to a service: set type: service")
        return None
    fields: dict[str, Any] = {"port": _port(port), **_health(health), **_restart(restart)}
    if not isinstance(keep, bool):
        raise BadService("keep", f"must be true or false, not {keep!r}"[:200])
    return Service(**fields, keep=keep)


def _port(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadService("port", f"must be a port number, or 0 for any free port, not {value!r}"[:200])
    if not 0 <= value <= MAX_PORT:
        raise BadService("port", f"{value} is out of range: give 1 to {MAX_PORT}, or 0 for any free port")
    return value


def _health(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        kind, colon, path = value.partition(":")
        value = {"type": kind} | ({"path": path} if colon else {})
    if not isinstance(value, Mapping):
        raise BadService("health", "must be tcp, http:/path, none, or a mapping with type, and path or command")
    _check_keys("health", value, _HEALTH_KEYS)
    kind = value.get("type", "command" if "command" in value else "http" if "path" in value else "tcp")
    if kind not in HEALTH:
        raise BadService("health", f"type {kind!r} is unknown: use one of {', '.join(HEALTH)}"[:200])
    for key, owner in (("path", "http"), ("command", "command")):
        if key in value and kind != owner:
            raise BadService("health", f"{key} applies only to type: {owner}")
    target = value.get("path", "/") if kind == "http" else value.get("command", "")
    if not isinstance(target, str):
        raise BadService("health", "path and command must be strings")
    if kind == "http" and not (target.startswith("/") and target.isascii() and target.isprintable() and " " not in target):
        raise BadService("health", f"path {target[:80]!r} must start with / and contain no spaces: write them as %20")
    if kind == "command" and (not target.strip() or "\0" in target):
        raise BadService("health", "type: command needs a command")
    return {
        "health": kind,
        "target": target,
        "interval_s": _seconds("health", "interval", value),
        "timeout_s": _seconds("health", "timeout", value),
        "start_s": _seconds("health", "start", value),
        "misses": _count("health", "failures", value, MAX_MISSES),
    }


def _restart(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        value = {"policy": value}
    if not isinstance(value, Mapping):
        raise BadService("restart", f"must be {', '.join(RESTART)}, or a mapping with {', '.join(_RESTART_KEYS)}")
    _check_keys("restart", value, _RESTART_KEYS)
    policy = value.get("policy", "always")
    if policy not in RESTART:
        raise BadService("restart", f"{policy!r} is unknown: use one of {', '.join(RESTART)}"[:200])
    return {
        "restart": policy,
        "backoff_s": _seconds("restart", "backoff", value),
        "backoff_max_s": _seconds("restart", "backoff_max", value),
        "max_restarts": _count("restart", "max", value, MAX_RESTARTS),
    }


def _check_keys(field: str, value: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in value:
        if key not in known:
            raise BadService(field, f"unknown key {key!r}: use one of {', '.join(known)}"[:200])


def _seconds(field: str, key: str, value: Mapping[Any, Any]) -> float:
    if key not in value:
        return 0.0
    number = as_seconds(value[key])
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not 0 < number <= MAX_SECONDS:
        raise BadService(field, f"{key} must be {EXAMPLE}, above 0, not {number!r}"[:200])
    return float(number)


def _count(field: str, key: str, value: Mapping[Any, Any], most: int) -> int:
    if key not in value:
        return 0
    number = as_seconds(value[key])
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
        raise BadService(field, f"{key} must be 1 to {most:,}, not {number!r}"[:200])
    return number


def unknown_service(texts: Iterable[str], parents: Sequence[str], services: Iterable[str]) -> str:
    """Return the problem with the services that a job's texts name; "" if there is none.

    `services` are all services of the DAG.
    """
    known = None
    for text in texts:
        for name in names_in(text):
            known = dict.fromkeys(services) if known is None else known
            if name not in known:
                hint = f"services are {', '.join(list(known)[:8])}" if known else "the DAG has no service"
                return f"${{service:{name}}} does not name a service: {hint}"
            if name not in parents:
                return f"${{service:{name}}}: the job does not depend on {name!r}: put it into depends_on"
    return ""


# -- requests --------------------------------------------------------------------------------------
async def list_services(connection: Connection, run: str, limit: int) -> list[ServiceStatus]:
    """Return the services that are not over. Raises NotFound for an unknown run."""
    answer = await connection.call(lambda n: msg.ListServices(n, run, limit))
    assert isinstance(answer, msg.Services)
    return [service_status(s) for s in answer.services]


def service_status(s: msg.ServiceRow) -> ServiceStatus:
    return ServiceStatus(
        s.run, s.dag, s.job, s.state, s.worker or None, s.address or None, s.restarts, s.since, s.attempt, s.reason
    )


async def stop_service(connection: Connection, target: str) -> int:
    """Stop services and return their number.

    Raises NotFound, and CallerError for a job that is not a service.
    """
    run, job = split_job(target)
    answer = await connection.call(lambda n: msg.StopService(n, run, job))
    assert isinstance(answer, msg.ServicesStopped)
    return answer.jobs
