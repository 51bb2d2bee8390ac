"""`titan workers`: list the workers, and drain or stop one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from titan.cli.cells import ago_text
from titan.cli.options import json_option, master_option
from titan.cli.seconds import SECONDS
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.sdk.status import WorkerStatus
from titan.sdk.unmet import taken_text


@click.group(invoke_without_command=True)
@master_option
@wide_option
@json_option
@click.pass_context
def workers(ctx: click.Context, master: str | None, as_json: bool) -> None:
    """List the workers and the jobs that they hold."""
    ctx.obj = master
    if ctx.invoked_subcommand is not None:
        return
    with open_client(master) as client:
        found = client.workers()
        if as_json:
            print(json.dumps([asdict(w) for w in found]))
            return
        if not found:
            print(f"no worker has registered yet: titan worker --master {client.address}")
        else:
            print_workers(found)
        for at, text in client.notices():
            print(f"! {ago_text(at)}: {text}")


def print_workers(found: Sequence[WorkerStatus], *, with_heard: bool = True) -> None:
    """Print a table. Without `with_heard` it has no column for the last heartbeat."""
    head, rows = worker_table(found)
    if with_heard:
        print_table(head, rows, spare=("HOST",))
    else:
        print_table(head[:-1], [row[:-1] for row in rows], spare=("HOST",))


def worker_table(found: Sequence[WorkerStatus], now: float | None = None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return (head, rows) of a table of workers."""
    head = ("NAME", "STATE", "BUSY", "CAPABILITIES", "TAKEN", "HOST", "HEARD")
    return head, [
        (
            w.name,
            _state_of(w),
            f"{min(w.held, w.slots)}/{w.slots}",
            " ".join(w.capabilities),
            taken_text(w),
            str(w.facts.get("host", "")),
            ago_text(w.heard_at, now),
        )
        for w in found
    ]


def _state_of(w: WorkerStatus) -> str:
    order = (f"told to leave by {w.told_by}",) if w.told_by and w.state not in ("LEFT", "LOST") else ()
    return ", ".join((w.state, *("disk full",) * w.disk_full, *order))


@workers.command()
@click.argument("name")
@master_option
@json_option
@click.pass_obj
def drain(outer: str | None, name: str, master: str | None, as_json: bool) -> None:
    """Drain a worker: it takes no new jobs, finishes the running ones, and leaves. Returns at
    once."""
    with open_client(master or outer) as client:
        worker = client.drain_worker(name)
        if as_json:
            print(json.dumps(asdict(worker)))
        elif worker.state in ("LEFT", "LOST"):
            print(f"worker {name} is {worker.state} already")
        else:
            jobs = "no jobs" if not worker.held else "1 job" if worker.held == 1 else f"{worker.held} jobs"
            print(f"worker {name} takes no new jobs; it has {jobs} to finish, then it leaves")


@workers.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Kill the running jobs and hand them back to the master.")
@click.option("--timeout", type=SECONDS, metavar="DURATION", help="Wait at most this long; it leaves all the same.")
@master_option
@json_option
@click.pass_obj
def stop(outer: str | None, name: str, now: bool, timeout: float | None, master: str | None, as_json: bool) -> None:
    """Drain a worker and wait until it has left. Exit code 1 if it has not left within
    --timeout."""
    with open_client(master or outer) as client:
        try:
            state = client.stop_worker(name, now=now, timeout=timeout)
        except TimeoutError:
            state = "DRAINING"
        if as_json:
            print(json.dumps({"name": name, "state": state}))
        elif state == "DRAINING":
            print(f"worker {name} still has jobs to finish after {timeout:g} s: --now kills them")
        elif state == "LOST":
            print(f"worker {name} is LOST: its heartbeats have stopped")
        else:
            print(f"worker {name} has left")
    click.get_current_context().exit(1 if state == "DRAINING" else 0)
