"""Where a job finds the services that it depends on, and a service its own port, in what a process
is started with."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from titan.model.services import put_port, put_services, variable_of
from titan.worker.drivers.protocol import CannotStart
from titan.worker.state_machine.messages import Assignment


def with_addresses(assignment: Assignment) -> Assignment:
    """Return what is to be started with the address of each service in its place. Raises
    CannotStart.

    Other jobs may hold `${service:...}` for a meaning of their own: only one that depends on
    services, or is a service, is changed.
    """
    if not assignment.services and assignment.template.service is None:
        return assignment
    addresses = dict(assignment.services)

    def address_of(name: str) -> str:
        if name not in addresses:
            text = f"${{service:{name}}}: the job depends on no service of that name: put it into depends_on"
            raise CannotStart(text, final=True)
        return addresses[name]

    variables = [(variable_of(name), address) for name, address in assignment.services]
    return _filled(
        assignment, lambda text: put_services(text, address_of), variables, put_services(assignment.template.command, address_of)
    )


def with_port(assignment: Assignment, port: int) -> Assignment:
    """Return what is to be started as a service that listens on `port`. Its command finds it in
    TITAN_PORT."""
    return _filled(assignment, lambda text: put_port(text, port), [("TITAN_PORT", str(port))], assignment.template.command)


def _filled(assignment: Assignment, put: Callable[[str], str], variables: list[tuple[str, str]], command: str) -> Assignment:
    template = replace(
        assignment.template,
        command=command,
        argv=tuple(map(put, assignment.template.argv)),
        env=(*[(name, put(text)) for name, text in assignment.template.env], *variables),
    )
    return replace(assignment, template=template, args=tuple(map(put, assignment.args)))
