"""The command `titan run`.

It imports little before it forks the master and the worker of a private cluster, so that they
import at the same time as this process.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import click

from titan.cli.job_options import job_options, take_job_options
from titan.cli.keeping import arguments_of, keep_options
from titan.cli.options import (
    deadline_option,
    exit_code_option,
    group_option,
    home_option,
    json_option,
    master_option,
    no_cache_option,
)
from titan.cli.pipeline_options import PipelineCommand, is_pipeline, pipeline_options, take_pipeline_options
from titan.cli.prefork import ForkedServers, uncollected
from titan.cli.signals import interrupt_on_sigterm
from titan.sdk.address import HOME_VARIABLE, VARIABLE, address_of_home, default_home, find_address

PROBE_S = 1.0


class _RunCommand(PipelineCommand):
    """Arguments behind a script or a command belong to it; behind a pipeline there are options of
    `titan run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before = args[: args.index("--")] if "--" in args else args
        ctx.allow_interspersed_args = any(map(is_pipeline, before)) and self._is_pipeline(ctx, args)
        if ctx.allow_interspersed_args:
            ctx.ignore_unknown_options = False
        return super().parse_args(ctx, args)

    def _is_pipeline(self, ctx: click.Context, args: list[str]) -> bool:
        """Return whether the first argument that is no option is a pipeline file."""
        parser = self.make_parser(ctx)
        parser.allow_interspersed_args = False
        parser.ignore_unknown_options = True
        try:
            values, _, _ = parser.parse_args(list(args))
        except click.UsageError:
            return False
        arguments: list[str] = list(values.get("arguments") or ())
        return bool(arguments) and is_pipeline(arguments[0])


@click.command(cls=_RunCommand, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@master_option
@click.option("--workers", type=click.IntRange(1, 256), help="Number of workers of the private cluster.  [default: 1]")
@click.option("--slots", type=click.IntRange(1, 65536), help="Jobs at once on each of its workers.  [default: the number of CPUs]")
@home_option("Directory of the private cluster.  [default: TITAN_HOME, else .titan here]")
@click.option("--ephemeral", is_flag=True, help="Remove the private cluster's home afterwards.")
@keep_options
@pipeline_options
@job_options
@deadline_option
@group_option
@no_cache_option
@exit_code_option
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE [ARGS]... | NAME | -- COMMAND [ARGS]..."
)
def run(master: str | None, home: Path | None, workers: int | None, **options: Any) -> None:
    """Run a pipeline, a script or a command, and follow it. A pipeline is a .yaml file or the NAME
    of a saved one; a script is a .py, .sh or .jar file. Exit with 0 if every job COMPLETED. A
    script or command that failed gives its own exit code.

    A script or command runs in this folder, with this environment, if all workers are on this
    machine, else in an empty folder of a worker. It reads this command's input if that is piped.

    Without --master, TITAN_MASTER and a master on the default port, the command starts a private
    cluster on this machine and stops it afterwards; another `titan run` in the same home joins it
    meanwhile. The home stays for `titan status` and `titan logs`. Ctrl-C (or SIGTERM) cancels the
    run.
    """
    interrupt_on_sigterm()
    with ForkedServers((workers or 1) if _needs_cluster(master, home) else None) as forks:
        with uncollected():
            from titan.cli.run import execute
            from titan.model.dag import MAX_LOG

        keeping = arguments_of(options.pop("keep"), options.pop("keep_size"))
        job = take_job_options(options, retries=0, log_limit=MAX_LOG)
        pipeline = take_pipeline_options(options)
        execute(forks, master=master, home=home, workers=workers, keeping=keeping, job=job, pipeline=pipeline, **options)


def _needs_cluster(master: str | None, home: Path | None) -> bool:
    """Return whether the run certainly needs a private cluster.

    If this returns False, a client has to find out, which may take longer.
    """
    if master or (home is None and os.environ.get(VARIABLE)):
        return False
    if address_of_home(home or default_home()):
        return False
    if home is not None or os.environ.get(HOME_VARIABLE):
        return True
    try:
        socket.create_connection(find_address(), PROBE_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
