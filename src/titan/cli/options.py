"""Options that several commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from titan.cli.seconds import SECONDS
from titan.cli.terminal import one_line

F = TypeVar("F", bound=Callable[..., Any])


def folder_path(text: str | Path) -> Path:
    """Return the path of a folder that need not exist. The command itself finds out whether it is
    readable, with an error that says what to do. Raises BadParameter."""
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise click.BadParameter(f"{one_line(str(path))} is a file: give a folder")
    return path


def file_path(text: str | Path) -> Path:
    """Return the path of a file that exists. Raises BadParameter."""
    path = Path(text)
    if not path.exists():
        raise click.BadParameter(f"{one_line(str(path))} does not exist: check the path")
    if path.is_dir():
        raise click.BadParameter(f"{one_line(str(path))} is a folder: give a file")
    return path


MASTER_HELP = "Address of the master.  [default: TITAN_MASTER, else the master in --home, else 127.0.0.1:9090]"
HOME_HELP = "Home of the cluster.  [default: TITAN_HOME, else .titan here]"
_HOME = "titan.home"
"""Key of the context's `meta` for the option --home of a command without a parameter for it."""


def master_option(command: F) -> F:
    """Add --master, and --home unless the command has an option of that name."""
    known = [name for option in getattr(command, "__click_params__", ()) for name in option.opts]
    if "--home" not in known:
        command = click.option(
            "--home", type=folder_path, metavar="DIRECTORY", help=HOME_HELP, expose_value=False, callback=_keep_home
        )(command)
    return click.option("--master", metavar="HOST:PORT", help=MASTER_HELP)(command)


def _keep_home(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[_HOME] = value


def home_of_command() -> Path | None:
    """Return the option --home of the running command, if it has no parameter for it."""
    ctx = click.get_current_context(silent=True)
    home = ctx.meta.get(_HOME) if ctx is not None else None
    return home if isinstance(home, Path) else None


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def python_option(command: F) -> F:
    text = "Interpreter or virtual environment on the worker, for a single .py file.  [default: the worker's]"
    return click.option("--python", metavar="PATH", help=text)(command)


def home_option(text: str) -> Callable[[F], F]:
    def add(command: F) -> F:
        known: list[click.Parameter] = getattr(command, "__click_params__", [])
        known[:] = [option for option in known if "--home" not in option.opts]  # that of master_option
        return click.option("--home", type=folder_path, metavar="DIRECTORY", help=text)(command)

    return add


def parent_options(command: F) -> F:
    """Add the hidden options of a process that must not outlive its parent."""
    command = click.option("--parent-fd", type=int, hidden=True)(command)
    return click.option("--ready-fd", type=int, hidden=True)(command)


def start_logging(*, quiet: bool = False) -> None:
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True)
    logging.getLogger("asyncio").setLevel(logging.ERROR)


deadline_option = click.option(
    "--deadline",
    type=SECONDS,
    metavar="DURATION",
    help="Cancel all open jobs after this time, such as 2h30m.  [default: the pipeline's]",
)
group_option = click.option(
    "--group",
    "--agent-run-id",
    "group",
    default="",
    metavar="ID",
    help="The run's agent_run_id: `titan runs --group ID`.  [default: the pipeline's]",
)
no_cache_option = click.option(
    "--no-cache", is_flag=True, help="Run every job, also those whose result is cached; their new results are kept."
)
exit_code_option = click.option(
    "--exit-code",
    type=click.Choice(["job", "run"]),
    default="job",
    show_default=True,
    help="Exit as the only job of the run did, or with 1 for any run that failed.",
)
