"""`titan schedule`: pipelines that run by the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from titan.cli.job_options import JobOptions, dag_of
from titan.cli.options import deadline_option, home_option, json_option, master_option, python_option
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, pipeline_options
from titan.cli.seconds import SECONDS
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.model.timing import iso
from titan.sdk.schedules import ScheduleStatus

_HOME = "Ask the master of this home; if none runs, read the home."


@click.group()
def schedule() -> None:
    """Run pipelines by the clock. Times are cron expressions in any time zone, or intervals."""


@schedule.command(cls=PipelineCommand)
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path), metavar="PIPELINE|SCRIPT")
@click.option(
    "--cron", metavar="EXPR", help='"*/5 * * * *": minute hour day-of-month month day-of-week; six fields begin with seconds.'
)
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="The time zone of --cron, e.g. Europe/Berlin.")
@click.option("--every", type=SECONDS, metavar="DURATION", help="Instead of --cron: time between two runs, such as 90s or 1h30m.")
@click.option("--start", metavar="TIME", help="The first time of --every: 2026-01-31T12:00[+01:00].  [default: now]")
@click.option(
    "--overlap", default="skip", show_default=True, metavar="skip|queue|replace", help="At a time when its last run is still open."
)
@click.option(
    "--catch-up", default="last", show_default=True, metavar="skip|last|all",
    help="Times missed while it was paused or the master was down; at most 1,000.",
)  # fmt: skip
@click.option("--paused", is_flag=True, help="Create it paused; `titan schedule resume` starts it.")
@click.option("--replace", is_flag=True, help="Replace an existing schedule of this name.")
@pipeline_options
@deadline_option
@python_option
@master_option
@json_option
def add(
    name: str,
    file: Path,
    cron: str | None,
    tz: str,
    every: float | None,
    start: str | None,
    overlap: str,
    catch_up: str,
    paused: bool,
    replace: bool,
    params: tuple[str, ...],
    deadline: float | None,
    python: str | None,
    master: str | None,
    as_json: bool,
) -> None:
    """Run a pipeline or script, with its files as they are now, at each time of a cron expression
    or interval."""
    if (cron is None) is (every is None):
        raise click.UsageError("pass exactly one of --cron and --every")
    dag = dag_of((str(file),), JobOptions(default_retries=3, python=python), PipelineOptions(params), deadline=deadline)
    with open_client(master) as client:
        added = client.schedules.add(
            name, dag, cron=cron, tz=tz, every=every, start=_moment(start), overlap=overlap, catch_up=catch_up, paused=paused,
            replace=replace,
        )  # fmt: skip
        _show(added, as_json=as_json)


@schedule.command(name="list")
@master_option
@home_option(_HOME)
@wide_option
@json_option
def list_(master: str | None, home: Path | None, as_json: bool) -> None:
    """List all schedules with their next times."""
    with open_client(master, home=home, offline=True) as client:
        found = client.schedules.list()
        if as_json:
            print(json.dumps([s.to_dict() for s in found]))
            return
        if not found:
            print("no schedules; add one: titan schedule add NAME PIPELINE --cron EXPR")
            return
        print_schedules(found, time.time())


@schedule.command()
@click.argument("name")
@master_option
@home_option(_HOME)
@json_option
def show(name: str, master: str | None, home: Path | None, as_json: bool) -> None:
    """Show one schedule and its next times."""
    with open_client(master, home=home, offline=True) as client:
        _show(client.schedules.get(name), as_json=as_json)


@schedule.command()
@click.argument("name")
@master_option
@json_option
def pause(name: str, master: str | None, as_json: bool) -> None:
    """Start no runs until the schedule is resumed. Its open runs go on."""
    with open_client(master) as client:
        _show(client.schedules.pause(name), as_json=as_json)


@schedule.command()
@click.argument("name")
@master_option
@json_option
def resume(name: str, master: str | None, as_json: bool) -> None:
    """Resume a paused schedule. Its catch-up policy decides about the missed times."""
    with open_client(master) as client:
        _show(client.schedules.resume(name), as_json=as_json)


@schedule.command()
@click.argument("name")
@master_option
@json_option
def remove(name: str, master: str | None, as_json: bool) -> None:
    """Remove a schedule. Its open runs go on."""
    with open_client(master) as client:
        client.schedules.remove(name)
        print(json.dumps({"removed": name}) if as_json else f"schedule {name} removed")


@schedule.command()
@click.argument("name")
@master_option
@json_option
def run(name: str, master: str | None, as_json: bool) -> None:
    """Start a run of the schedule now, regardless of its timing, and return at once."""
    with open_client(master) as client:
        handle = client.schedules.run(name)
        print(json.dumps({"run": handle.id}) if as_json else handle.id)


def print_schedules(found: Sequence[ScheduleStatus], now: float) -> None:
    rows = [
        (
            s.name,
            s.dag,
            _when(s),
            _next(s, now),
            s.last_run or "",
            str(s.fired),
            str(s.skipped + s.missed),
            f"{s.overlap}/{s.catch_up}",
        )
        for s in found
    ]
    head = ("NAME", "DAG", "WHEN", "NEXT", "LAST RUN", "RUNS", "SKIPPED", "OVERLAP/CATCH-UP")
    print_table(head, rows, spare=("OVERLAP/CATCH-UP", "SKIPPED", "RUNS"))


def _show(s: ScheduleStatus, *, as_json: bool) -> None:
    upcoming = s.upcoming()
    if as_json:
        print(json.dumps({**s.to_dict(), "upcoming": upcoming}))
        return
    state = "paused" if s.paused else f"next {_next(s, time.time())}"
    print(f"schedule {s.name} of {s.dag} ({s.count:,} job{'s' if s.count != 1 else ''}): {_when(s)}, {state}")
    print(
        f"  overlap {s.overlap}, catch-up {s.catch_up}; {s.fired} runs, {s.skipped} skipped, {s.missed} missed, {s.waiting} waiting"
    )
    if s.last_run and s.last_at:
        print(f"  newest run {s.last_run} for {iso(s.last_at, s.tz)}")
    if upcoming:
        print("  then " + ", ".join(iso(at, s.tz) for at in upcoming))


def _when(s: ScheduleStatus) -> str:
    return f"{s.cron} {s.tz}" if s.cron else f"every {s.every:g} s"


def _next(s: ScheduleStatus, now: float) -> str:
    if s.paused:
        return "paused"
    if not s.next_at:
        return "never"
    return f"in {_span(s.next_at - now)} ({iso(s.next_at, s.tz)})"


def _span(seconds: float) -> str:
    for size, unit, limit in ((1, "s", 120), (60, "min", 120), (3600, "h", 48)):
        if seconds < limit * size:
            return f"{max(0.0, seconds) / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--start {text!r} is not a time: write 2026-01-31T12:00 or 2026-01-31T12:00+01:00") from None
