"""`titan ps`, the jobs that run now, and `titan events`, the events of the cluster."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from titan.cli.ask import progress_text
from titan.cli.cells import took_text
from titan.cli.options import json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.terminal import one_line
from titan.sdk.client import Client
from titan.sdk.status import job_dict

MAX_RUNS = 1000
EVENTS = "titan:events"
PAGE = 1000
BLOCK_MS = 1000
ACTIVE = ("DISPATCHED", "RUNNING", "PAUSED")


@click.command()
@click.option("--dag", default="", metavar="NAME", help="Only runs of this DAG.")
@master_option
@wide_option
@json_option
def ps(dag: str, master: str | None, as_json: bool) -> None:
    """List the jobs that run now, with their workers, and the gates that wait for a decision."""
    with open_client(master) as client:
        runs = client.runs(limit=MAX_RUNS, dag=dag, states=("RUNNING",))
        found = [(run, job) for run in runs for job in client.status(run.run).jobs if job.state in ACTIVE]
    if as_json:
        print(json.dumps([{"run": run.run, "dag": run.dag, **job_dict(job)} for run, job in found]))
    elif not found:
        print(f"no job runs; {len(runs)} run{'s are' if len(runs) != 1 else ' is'} open: titan why RUN/JOB says why a job waits")
    else:
        head = ("RUN/JOB", "DAG", "STATE", "WORKER", "TOOK", "SAYS")
        rows = [(f"{r.run}/{j.id}", r.dag, j.state, j.worker or "", took_text(j, None), progress_text(j)) for r, j in found]
        print_table(head, rows, spare=("DAG",))


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Wait for further events.")
@click.option("-n", "--last", default=20, show_default=True, type=click.IntRange(0, 10_000), help="Number of past events.")
@master_option
@json_option
def events(follow: bool, last: int, master: str | None, as_json: bool) -> None:
    """Print the newest events of the cluster: runs, jobs, workers. The master keeps the last 10,000
    since its start."""
    with open_client(master) as client:
        newest = client.store.execute("XREVRANGE", EVENTS, "+", "-", "COUNT", max(1, last))
        for entry in reversed(newest[:last]):
            _print_event(entry, as_json=as_json)
        at = newest[0][0] if newest else b"0-0"
        while follow:
            for entry in _next_events(client, at):
                _print_event(entry, as_json=as_json)
                at = entry[0]


def _next_events(client: Client, at: bytes) -> list[Any]:
    reply = client.store.execute("XREAD", "COUNT", PAGE, "BLOCK", BLOCK_MS, "STREAMS", EVENTS, at)
    streams = reply.items() if isinstance(reply, dict) else reply or ()
    return [entry for _, entries in streams for entry in entries]


def _print_event(entry: Any, *, as_json: bool) -> None:
    id_, flat = entry
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    fields = {_text(name): _text(value) for name, value in pairs}
    if as_json:
        print(json.dumps({"id": _text(id_), **fields}), flush=True)
        return
    at = int(_text(id_).partition("-")[0]) / 1000
    shown = "  ".join(f"{name}={one_line(value)}" if name != "event" else one_line(value) for name, value in fields.items())
    print(f"{time.strftime('%F %T', time.localtime(at))}  {shown}", flush=True)


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
