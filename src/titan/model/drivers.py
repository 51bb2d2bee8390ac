"""Registry of drivers: the jobs that each driver starts, and the drivers that a job may request.

This module owns the only list of driver names. The checks of a graph, the SDK's field `driver`,
staging and the worker's table of driver classes all use this list. `worker/drivers` owns how a
driver starts a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from titan.model.dag import JobTemplate

WORK = ("file", "command", "argv", "function")
"""Template fields that name the program to run; exactly one is set."""


class DriverRow(NamedTuple):
    doc: str = ""
    """Effect of requesting the driver, as a part of a sentence in Markdown. "": jobs cannot request
    this driver."""
    has: Callable[[JobTemplate], bool] | None = None
    """Predicate that is true for the templates that the driver runs, if no earlier row accepted
    them. None: the driver runs the templates that name it in `driver`."""
    runs: tuple[str, ...] = ("file", "command", "argv")
    """The fields of `WORK` that jobs of this driver may set."""
    suffix: str = ""
    """Required suffix of the file's name."""
    implied: bool = False
    """True if a template gets this driver without naming it. If a job requests the driver, its
    template then leaves `driver` empty."""


DRIVERS: dict[str, DriverRow] = {
    "function": DriverRow(has=lambda template: bool(template.function), runs=("function",)),
    "service": DriverRow(has=lambda template: template.service is not None),
    "python": DriverRow(
        "(default of a `.py` file), a fork of a warm interpreter",
        has=lambda template: not template.driver and template.file.endswith(".py") and not template.stdin,
        runs=("file",),
        suffix=".py",
        implied=True,
    ),
    "process": DriverRow(
        "(default of all else), a fresh process", has=lambda template: not template.driver or template.driver == "process"
    ),
}
"""The first row that accepts a template is its driver. A row for a new driver goes to the end."""


def driver_of(template: JobTemplate) -> str:
    """Return the name of a template's driver, "" if this version of Titan has none for it.

    >>> driver_of(JobTemplate(file="x.py")), driver_of(JobTemplate(file="x.py", driver="process"))
    ('python', 'process')
    """
    for name, row in DRIVERS.items():
        if row.has(template) if row.has is not None else template.driver == name:
            return name
    return ""


def choices() -> tuple[str, ...]:
    """Return the names that a job may give as its driver."""
    return tuple([name for name, row in DRIVERS.items() if row.doc])


def named_in_template(choice: str | None) -> str:
    """Return the value of `JobTemplate.driver` for a job that requests the driver `choice`."""
    return "" if choice is None or DRIVERS[choice].implied else choice


def driver_problem(template: JobTemplate) -> str:
    """Return the problem with the driver that a template requests; "" if there is none.

    >>> driver_problem(JobTemplate(command="x", driver="fork"))
    "driver 'fork' is unknown: leave it out, or use process"
    """
    name = template.driver
    if not name:
        return ""
    asked = [choice for choice in choices() if not DRIVERS[choice].implied]
    if name not in asked:
        return f"driver {name[:80]!r} is unknown: leave it out, or use {' or '.join(asked)}"
    row = DRIVERS[name]
    wrong = [work for work in WORK if getattr(template, work) and work not in row.runs]
    if wrong:
        return f"driver {name} runs no {wrong[0]}: give it {' or '.join(row.runs)}"
    if row.suffix and not template.file.endswith(row.suffix):
        return f"driver {name} goes with a {row.suffix} file only"
    return ""


def choices_doc() -> str:
    """Return a sentence that documents the field `driver`, in Markdown."""
    return f"Driver that starts it: {'; '.join(f'`{name}` {row.doc}' for name, row in DRIVERS.items() if row.doc)}."
