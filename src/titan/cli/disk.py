"""`titan disk`: the disk space of the master, the workers and runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.model.sizes import size_text
from titan.sdk.disk import DiskStatus, NodeDisk

_HOME = "Ask the master of this home; if none runs, measure the home."


@click.command()
@click.option("--runs", default=10, show_default=True, type=click.IntRange(0, 1000), help="Number of runs in the table.")
@master_option
@home_option(_HOME)
@wide_option
@json_option
def disk(runs: int, master: str | None, home: Path | None, as_json: bool) -> None:
    """Show what takes disk space on the master and on each worker, and the largest runs. With
    --json up to 1000 runs.

    A measurement takes up to 10 s. A file that a worker of the master's machine shares with the
    master counts for both. `titan worker --keep` and `--keep-size` limit job folders.
    """
    with open_client(master, home=home, offline=True) as client:
        found = client.disk()
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _print_disk(found, runs)


def _print_disk(found: DiskStatus, most_runs: int) -> None:
    nodes = (found.master, *found.workers)
    print_table(("NODE", "TAKES", "FREE", "DISK", "HOME"), [(node.name, *_sizes(node), node.home) for node in nodes])
    for node in nodes:
        for line in _remarks(node):
            print(f"! {line}")
    places = [
        (node.name, place, size_text(size))
        for node in nodes
        for place, size in sorted(node.places.items(), key=lambda item: -item[1])
        if size
    ]
    if places:
        print()
        print_table(("NODE", "FILES", "TAKES"), places)
    if largest := found.runs[:most_runs]:
        print()
        rows = [(run.run, run.dag, size_text(run.bytes), " ".join(run.workers)) for run in largest]
        print_table(("RUN", "DAG", "TAKES", "WORKERS"), rows)


def _sizes(node: NodeDisk) -> tuple[str, str, str]:
    if node.problem:
        return "?", "?", "?"
    takes = size_text(node.bytes) if node.complete else f"> {size_text(node.bytes)}"
    return (takes, size_text(node.free), size_text(node.total)) if node.total else (takes, "?", "?")


def _remarks(node: NodeDisk) -> Iterator[str]:
    if node.problem:
        yield f"{node.name}: {node.problem}"
    elif not node.complete:
        yield f"{node.name}: the measurement took too long, and the sizes are too small"
    if node.is_full:
        yield f"{node.name}: its disk is full, with {size_text(node.free)} free"
