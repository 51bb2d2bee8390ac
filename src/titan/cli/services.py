"""`titan services`, `titan stop` and `titan replace`: list, stop and replace services."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from titan.cli.cells import ago_text
from titan.cli.options import json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.targets import find_target
from titan.sdk.job import Job
from titan.sdk.services import ServiceStatus


@click.command()
@click.argument("run", required=False, default="")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 10_000))
@master_option
@wide_option
@json_option
def services(run: str, limit: int, master: str | None, as_json: bool) -> None:
    """List the running services. The table has their states, their addresses, and the reasons of
    their last restarts."""
    with open_client(master) as client:
        found = client.services(run, limit)
        if as_json:
            print(json.dumps([asdict(s) for s in found]))
            return
        if not found:
            print("no services; a job with `type: service` is a service")
            return
        print_services(found, time.time())


def print_services(found: Sequence[ServiceStatus], now: float, *, of_run: bool = False) -> None:
    """Print a table. `of_run`: all are of one run, so that their names are enough."""
    rows = [
        (
            s.job if of_run else f"{s.run}/{s.job}",
            s.state,
            s.address or "",
            s.worker or "",
            str(s.restarts),
            ago_text(min(s.since, now), now),
            s.reason,
        )
        for s in found
    ]
    head = ("SERVICE", "STATE", "ADDRESS", "WORKER", "RESTARTS", "SINCE", "REASON")
    print_table(head, rows, spare=("RESTARTS", "SINCE"))


@click.command()
@click.argument("target", metavar="RUN|RUN/SERVICE")
@master_option
@json_option
def stop(target: str, master: str | None, as_json: bool) -> None:
    """Stop a service, or all services of a run. They end as COMPLETED; jobs that still wait for one
    of them are cancelled."""
    with open_client(master) as client:
        target = find_target(client, target)
        count = client.stop(target)
        if as_json:
            print(json.dumps({"target": target, "stopped": count}))
        elif count:
            print(f"{count} service{'s' if count != 1 else ''} stopped")
        else:
            print(f"nothing to stop: {target} has no running service")


@click.command()
@click.argument("target", metavar="RUN/SERVICE")
@click.option("--file", metavar="FILE", help="Run this script or binary instead.")
@click.option("--command", metavar="COMMAND", help="Run this command instead, with /bin/sh.")
@click.option("--args", metavar="ARGS", default="", help="Arguments of the new file or command, split as a shell does.")
@master_option
@json_option
def replace(target: str, file: str | None, command: str | None, args: str, master: str | None, as_json: bool) -> None:
    """Restart a service, with another file or command or unchanged.

    The old process runs until the new one is READY, if a worker has room for the new one beside it.
    With a fixed port that must be another worker. If there is no room, the old process is stopped
    first.
    """
    if "/" not in target:
        raise click.UsageError(f"{target!r} does not name a service: pass RUN/SERVICE (`titan services` lists them)")
    if args and not (file or command):
        raise click.UsageError("--args needs --file or --command")
    job = Job("replacement", file=file, command=command, args=args) if file or command else None
    with open_client(master) as client:
        target = find_target(client, target)
        rolling = client.replace(target, job)
        if as_json:
            print(json.dumps({"target": target, "rolling": rolling}))
        else:
            how = "the old process runs until the new one is READY" if rolling else "the old process is stopped first"
            print(f"{target} is being replaced: {how}")
