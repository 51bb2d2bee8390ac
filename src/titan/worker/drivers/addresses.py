"""Where a job finds the services that it depends on, and a service its own port, in what a process is started with."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from titan.model.services import put_port, put_services, variable_of
from titan.worker.drivers.protocol import CannotStart
from titan.worker.words import Assignment


def with_addresses(it: Assignment) -> Assignment:
    """Return what is to be started with the address of each service in its place. Raises CannotStart.

    Other jobs may hold `${service:...}` for a meaning of their own: only one that depends on services, or is a service, is changed.
    """
    if not it.services and it.template.service is None:
        return it
    addresses = dict(it.services)

    def address_of(name: str) -> str:
        if name not in addresses:
            text = f"${{service:{name}}}: the job depends on no service of that name: put it into depends_on"
            raise CannotStart(text, final=True)
        return addresses[name]

    variables = [(variable_of(name), address) for name, address in it.services]
    return _filled(it, lambda text: put_services(text, address_of), variables, put_services(it.template.command, address_of))


def with_port(it: Assignment, port: int) -> Assignment:
    """Return what is to be started as a service that listens on `port`. Its command finds it in TITAN_PORT."""
    return _filled(it, lambda text: put_port(text, port), [("TITAN_PORT", str(port))], it.template.command)


def _filled(it: Assignment, put: Callable[[str], str], variables: list[tuple[str, str]], command: str) -> Assignment:
    template = replace(
        it.template,
        command=command,
        argv=tuple(map(put, it.template.argv)),
        env=(*[(name, put(text)) for name, text in it.template.env], *variables),
    )
    return replace(it, template=template, args=tuple(map(put, it.args)))
