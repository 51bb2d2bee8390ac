"""Progress of a run in the terminal: live with rich on a terminal, else line by line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TextIO, cast

from titan.cli.ask import progress_text
from titan.cli.tally import tally_text
from titan.cli.terminal import Raw, one_line
from titan.model.names import shell_word
from titan.sdk.client import Client
from titan.sdk.job import DAG
from titan.sdk.run import Run
from titan.sdk.status import OVER, JobStatus, RunSummary

LINES_UP_TO = 200
"""Number of jobs up to which a run is followed job by job without a live terminal. For a larger run
only the tally is shown."""
LOST_UP_TO = 5_000
"""Number of jobs up to which a run is checked for lost output."""
TALLY_EVERY_S = 2.0
PROGRESS_CHARS = 40
"""Characters of a job's progress text in the live display."""
_SHOWN = ("COMPLETED", "FAILED", "DEAD", "CANCELLED", "SKIPPED")


def submit(client: Client, dag: DAG, *, quiet: bool, cache: bool) -> Run:
    """Submit a DAG. Unless `quiet`, print the progress of a slow upload."""
    if quiet:
        return client.submit(dag, cache=cache)
    live = sys.stderr.isatty()
    printed = time.monotonic()

    def progress(sent: int, jobs: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= (0.2 if live else TALLY_EVERY_S) or (live and sent == jobs):
            printed = time.monotonic()
            text = f"submitting {sent:,} of {jobs:,} jobs"
            out = Raw(sys.stderr)
            out.write(f"\r{text}" if live else f"{_now()} {text}")
            out.write("" if live and sent < jobs else "\n")
            out.flush()

    return client.submit(dag, progress=progress, cache=cache)


def follow(client: Client, run: str, *, quiet: bool = False, services: bool = True) -> RunSummary:
    """Show the run until it is over, or with `services=False` until only READY services are left.
    Return its summary."""
    if quiet:
        return client.run(run).wait(services=services)
    if sys.stderr.isatty():
        return _follow_live(client.changes(run, progress=True, services=services), client.address)
    return _follow_lines(client.changes(run, services=services), client.address)


def report_absence(client: Client, later: str) -> None:
    """From now on, say on stderr when the master does not answer, and when it is back.

    `later`: the command to type if it stays away.
    """

    def tell(away: bool) -> None:
        if away:
            text = f"the master at {client.address} does not answer: the run goes on; waiting for the master, or later: {later}"
        else:
            text = f"the master at {client.address} is back"
        print(f"titan: {text}", file=sys.stderr, flush=True)

    client.on_away(tell)


def _follow_lines(changes: Iterator[tuple[RunSummary, list[JobStatus]]], address: str) -> RunSummary:
    printed = 0.0
    for summary, jobs in changes:
        for job in jobs:
            if job.state == "PAUSED":
                print(f"{_now()} {_gate(summary.run, job, address)}", file=sys.stderr, flush=True)
        if summary.count <= LINES_UP_TO:
            for job in jobs:
                if job.state in _SHOWN:
                    print(_line(job), file=sys.stderr, flush=True)
        elif summary.over or time.monotonic() - printed >= TALLY_EVERY_S:
            printed = time.monotonic()
            print(f"{_now()} {tally_text(summary)}", file=sys.stderr, flush=True)
    return summary


def _gate(run: str, job: JobStatus, address: str) -> str:
    message = f": {one_line(job.reason)}" if job.reason else ""
    return f"{job.id} waits for a decision{message} (titan approve {shell_word(f'{run}/{job.id}')} --master {address})"


def _line(job: JobStatus) -> str:
    took = f" in {job.finished_at - job.started_at:.2f} s" if job.started_at and job.finished_at else ""
    where = f" on {job.worker}" if job.worker else ""
    why = f": {one_line(job.reason)}" if job.reason else ""
    return f"{_now()} {job.id} {job.state}{where}{took}{why}"


def _follow_live(changes: Iterator[tuple[RunSummary, list[JobStatus]]], address: str) -> RunSummary:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(file=cast("TextIO", Raw(sys.stderr)))
    progress = Progress(
        SpinnerColumn(), TextColumn("[bold]{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(),
        TimeElapsedColumn(), TextColumn("{task.fields[busy]}"), console=console, transient=False,
    )  # fmt: skip
    task = None
    running: dict[str, str] = {}
    with progress:
        for summary, jobs in changes:
            if task is None:
                task = progress.add_task(escape(one_line(summary.dag)), total=summary.count, busy="")
            for job in jobs:
                if job.state != "RUNNING":
                    running.pop(job.id, None)
                else:
                    running[job.id] = one_line(progress_text(job))[:PROGRESS_CHARS]
                if job.state == "PAUSED":
                    progress.console.print(Text(_gate(summary.run, job, address), style="cyan"))
                elif job.state in ("FAILED", "DEAD"):
                    progress.console.print(Text(_line(job), style="red" if job.state == "DEAD" else "yellow"))
            over = sum(summary.tally.get(state, 0) for state in OVER)
            names = list(running)
            busy = ", ".join([f"{name} {running[name]}".strip() for name in names[:3]]) + (
                f" and {len(names) - 3} more" if len(names) > 3 else ""
            )
            progress.update(task, completed=over, busy="" if summary.over else escape(busy))
    return summary


def services_left(client: Client, run: str) -> str:
    """Return the services of a run that go on, with their addresses, as text."""
    return ", ".join(f"{one_line(s.job)} at {s.address}" if s.address else one_line(s.job) for s in client.services(run, 10))


def report_lost_output(client: Client, summary: RunSummary) -> bool:
    """Return whether output of the run's jobs was lost, and report it on stderr.

    A run of more than LOST_UP_TO jobs is not checked.
    """
    if summary.count > LOST_UP_TO:
        return False
    lost = [job for job in client.status(summary.run).jobs if job.lost]
    if lost:
        names = ", ".join(job.id for job in lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        print(f"titan: output of {names} was lost: {lost[0].lost}: free disk space there and run it again", file=sys.stderr)
    return bool(lost)


def _now() -> str:
    return time.strftime("%H:%M:%S")
