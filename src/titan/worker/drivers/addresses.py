"""Values in the command, arguments and environment of a job: the addresses of the services that the
job depends on, the port of a job that is a service, and results of other jobs."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from titan.model.conditions import Reference, reference_in
from titan.model.environment import RESULT
from titan.model.job_results import put_results
from titan.model.services import put_port, put_services, variable_of
from titan.worker.drivers.protocol import CannotStart
from titan.worker.state_machine.messages import Assignment


def with_addresses(assignment: Assignment) -> Assignment:
    """Return the assignment with every `${service:...}` replaced by an address. Raises CannotStart.

    A job that is not a service and depends on none stays unchanged, because `${service:...}` may
    have another meaning in its command.
    """
    if not assignment.services and assignment.template.service is None:
        return assignment
    addresses = dict(assignment.services)

    def address_of(name: str) -> str:
        if name not in addresses:
            text = f"${{service:{name}}}: the job does not depend on a service of that name: add it to depends_on"
            raise CannotStart(text, final=True)
        return addresses[name]

    variables = [(variable_of(name), address) for name, address in assignment.services]
    return _filled(
        assignment, lambda text: put_services(text, address_of), variables, put_services(assignment.template.command, address_of)
    )


def with_port(assignment: Assignment, port: int) -> Assignment:
    """Return the assignment of a service with its port filled in. The service has to listen on
    `port`, and its command also finds the port in TITAN_PORT."""
    return _filled(assignment, lambda text: put_port(text, port), [("TITAN_PORT", str(port))], assignment.template.command)


def with_results(assignment: Assignment) -> Assignment:
    """Return the assignment with every `${JOB.result}` replaced by its text. In a command for the
    shell the placeholder is replaced by a variable, so that the shell does not read the text as a
    part of the command."""
    if not assignment.template.fills_results:
        return assignment
    values = {reference: text for name, text in assignment.results if (reference := reference_in(name))}
    names = {reference: f"{RESULT}{number}" for number, reference in enumerate(values, 1)}

    def variable_of_result(reference: Reference) -> str | None:
        return f"${{{names[reference]}}}" if reference in names else None

    command = put_results(assignment.template.command, variable_of_result)
    used = [(name, values[reference]) for reference, name in names.items() if f"${{{name}}}" in command]
    return _filled(assignment, lambda text: put_results(text, values.get), used, command)


def _filled(assignment: Assignment, put: Callable[[str], str], variables: list[tuple[str, str]], command: str) -> Assignment:
    template = replace(
        assignment.template,
        command=command,
        argv=tuple(map(put, assignment.template.argv)),
        env=(*[(name, put(text)) for name, text in assignment.template.env], *variables),
    )
    return replace(assignment, template=template, args=tuple(map(put, assignment.args)))
