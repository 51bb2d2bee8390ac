"""Options that several commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_HOME = Path(".titan")
MASTER_HELP = "Address of the master.  [default: TITAN_MASTER, else 127.0.0.1:9090]"


def master_option(command: F) -> F:
    return click.option("--master", metavar="HOST:PORT", help=MASTER_HELP)(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def python_option(command: F) -> F:
    text = "Interpreter or virtual environment on the worker, for a single .py file.  [default: the worker's]"
    return click.option("--python", metavar="PATH", help=text)(command)


def home_option(text: str) -> Callable[[F], F]:
    return click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=text)


def parent_options(command: F) -> F:
    """Add the hidden options of a process that must not outlive its parent."""
    command = click.option("--parent-fd", type=int, hidden=True)(command)
    return click.option("--ready-fd", type=int, hidden=True)(command)


def start_logging(*, quiet: bool = False) -> None:
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True)
    logging.getLogger("asyncio").setLevel(logging.ERROR)


deadline_option = click.option(
    "--deadline", type=float, metavar="SECONDS", help="Cancel all open jobs after this time.  [default: the pipeline's]"
)
group_option = click.option(
    "--group", default="", metavar="ID", help="The run's agent_run_id: `titan runs --group ID`.  [default: the pipeline's]"
)
