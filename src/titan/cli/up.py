"""`titan up`: a whole cluster on this machine, in the foreground."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from titan.cli.exits import EXIT_FAILED
from titan.cli.keeping import arguments_of, keep_options
from titan.cli.local_cluster import LocalCluster
from titan.cli.options import home_option
from titan.cli.signals import interrupt_on_sigterm
from titan.sdk.address import default_home


@click.command()
@click.option("--workers", default=1, show_default=True, type=click.IntRange(0, 256), help="Number of workers.")
@click.option("--slots", type=click.IntRange(1, 65536), help="Jobs at once on each worker.  [default: the number of CPUs]")
@home_option("Directory of the cluster's files.  [default: .titan]")
@click.option(
    "--port", default=9090, show_default=True, type=click.IntRange(0, 65535), help="Port of the master; 0 takes a free one."
)
@click.option(
    "--fsync", type=click.Choice(["always", "everysec", "no"]), default="always", show_default=True, help="As for `titan master`."
)
@click.option("--scale", multiple=True, metavar="TAG=MIN..MAX", help="As for `titan master`: more workers while jobs wait.")
@click.option("--webhook-allow", multiple=True, metavar="HOST[:PORT]|RANGE", help="As for `titan master`.")
@keep_options
def up(
    workers: int,
    slots: int | None,
    home: Path | None,
    port: int,
    fsync: str,
    scale: tuple[str, ...],
    webhook_allow: tuple[str, ...],
    keep: str | None,
    keep_size: str | None,
) -> None:
    """Run a master and workers on this machine. Ctrl-C stops all of them; the next `titan up`
    continues from there.

    A killed worker is started again. A drained or stopped worker is not. When the master ends, the
    whole cluster ends.
    """
    cluster = LocalCluster(
        home or default_home(),
        port=port,
        workers=workers,
        slots=slots,
        fsync=fsync,
        quiet=False,
        scale=scale,
        webhook_allow=webhook_allow,
        worker_options=arguments_of(keep, keep_size),
    )
    interrupt_on_sigterm()
    with cluster:
        banner = f"Titan is up at {cluster.address} with {workers} worker{'s' if workers != 1 else ''}. Ctrl-C stops it."
        hint = "" if port == 9090 else f"  export TITAN_MASTER={cluster.address}\n"
        print(f"{banner}\n{hint}  titan run FILE | titan status | titan workers", file=sys.stderr, flush=True)
        try:
            why = cluster.watch()
        except KeyboardInterrupt:
            print("titan: stopping", file=sys.stderr)
            return
        print(f"titan: {why}: the cluster stops", file=sys.stderr, flush=True)
    click.get_current_context().exit(EXIT_FAILED)
