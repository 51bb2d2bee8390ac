"""Process driver: each attempt is a command line, which a warden of the worker executes."""

from __future__ import annotations

import os
import signal
import sys
import time

from titan.worker.drivers.protocol import Attempt, Host, OneProcess
from titan.worker.processes.interpreters import NoPython, executable_of
from titan.worker.processes.orders import Command
from titan.worker.processes.reports import Exited, Refused
from titan.worker.processes.supervisor import Under
from titan.worker.state_machine.messages import Assignment

_LONGEST_INTERPRETER = 256
"""Bytes of a `#!` line that Linux reads."""


def under(attempt: Attempt) -> Under:
    """Return the kind of warden for an attempt."""
    if attempt.alone:
        return Under.OWN
    return Under.SHARED if attempt.assignment.template.service is None else Under.SERVICES


def stopped_early(lease: int) -> Exited:
    """Return the report of an attempt that was stopped before it had a process."""
    return Exited(lease, -signal.SIGTERM, time.monotonic())


class ProcessDriver(OneProcess):
    def __init__(self, host: Host) -> None:
        self._supervisor = host.supervisor

    def start(self, attempt: Attempt) -> None:
        assignment, python = attempt.assignment, sys.executable
        if assignment.template.python:
            try:
                python, _ = executable_of(assignment.template.python)
            except NoPython as e:
                attempt.report(Refused(assignment.lease, 0, str(e), final=True))
                return
        command = Command(command_line(assignment, attempt.options.cwd, python))
        warden = under(attempt)
        self._supervisor.start(assignment.lease, command, attempt.options, attempt.report, under=warden, behind=attempt.behind)

    def stop(self, lease: int, grace_s: float) -> None:
        self._supervisor.stop(lease, grace_s)

    def withdraw(self, lease: int) -> None:
        self._supervisor.withdraw(lease)


def command_line(assignment: Assignment, cwd: str, python: str = sys.executable) -> list[str]:
    """Return the command line of an attempt. `python` is the interpreter to use for a Python
    script."""
    line = _program(assignment, cwd, python)
    stdin = assignment.template.stdin
    return ["/bin/sh", "-c", 'exec "$@" < "$0"', stdin, *line] if stdin else line


def _program(assignment: Assignment, cwd: str, python: str) -> list[str]:
    template, args = assignment.template, assignment.args
    if template.argv:
        return [*template.argv, *args]
    if template.command:
        return ["/bin/sh", "-c", template.command, assignment.job, *args]
    path = template.file if template.file.startswith("/") else f"./{template.file}"
    # The path as a person would type it, without "./", unless the program would take it for an
    # option.
    plain = path if template.file.startswith("-") else template.file
    if path.endswith(".py"):
        return [python, plain, *args]
    if path.endswith(".jar"):
        return ["java", "-jar", plain, *args]
    interpreter = _interpreter(os.path.join(cwd, template.file))
    return [*interpreter, plain, *args] if interpreter else [path, *args]


def _interpreter(file: str) -> list[str]:
    """Return the interpreter of a script that the kernel would not execute, with its argument: that
    of the `#!` line of a file that is not executable, and /bin/sh for a .sh file without such a
    line. Return [] for all other files."""
    executable = os.access(file, os.X_OK)
    if executable and not file.endswith(".sh"):
        return []
    try:
        with open(file, "rb") as script:
            first = script.readline(_LONGEST_INTERPRETER)
    except OSError:
        return []
    if not first.startswith(b"#!"):
        return ["/bin/sh"] if file.endswith(".sh") else []
    return [] if executable else [os.fsdecode(word) for word in first[2:].strip().split(maxsplit=1)]
