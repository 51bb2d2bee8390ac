"""Options --keep and --keep-size: how long, and how much, workers keep of what runs leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from titan.errors import CallerError

if TYPE_CHECKING:
    from titan.worker.files.retention import Retention

F = TypeVar("F", bound=Callable[..., Any])
_KEEP_HELP = "Time for which a worker keeps the job folders of a run.  [default: 7d]"
_SIZE_HELP = "Disk for the job folders of all runs on a worker; the oldest go first.  [default: no limit]"


def keep_options(command: F) -> F:
    command = click.option("--keep-size", metavar="SIZE", help=_SIZE_HELP)(command)
    return click.option("--keep", metavar="DURATION", help=_KEEP_HELP)(command)


def retention_of(keep: str | None, size: str | None) -> Retention:
    """Return the retention of these options. Raises CallerError."""
    from titan.worker.files.retention import Retention, keep_duration, keep_size

    option, retention = f"--keep {keep}", Retention()
    try:
        if keep is not None:
            retention = retention._replace(keep_s=keep_duration(keep))
        option = f"--keep-size {size}"
        if size is not None:
            retention = retention._replace(keep_bytes=keep_size(size))
    except ValueError as error:
        raise CallerError(f"{option}: {error}") from None
    return retention


def arguments_of(keep: str | None, size: str | None) -> list[str]:
    """Return the command line of `titan worker` for these options. Raises CallerError."""
    retention_of(keep, size)
    return [part for name, value in (("--keep", keep), ("--keep-size", size)) if value is not None for part in (name, value)]
