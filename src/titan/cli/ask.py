"""Commands that query the master: status, logs, result and runs; and the command cancel."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click

from titan.cli.cells import ago_text, clock_text, took_text, value_text
from titan.cli.options import home_option, json_option, master_option
from titan.cli.output import follow_output, piece_in_json
from titan.cli.run_logs import print_run_logs
from titan.cli.seconds import SECONDS
from titan.cli.services import print_services
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.tally import done_text, tally_text
from titan.cli.targets import find_job, find_target
from titan.cli.terminal import Raw, one_line
from titan.errors import CallerError, JobError, TitanError
from titan.model.durations import parse_duration
from titan.model.names import shell_word
from titan.model.timing import iso
from titan.sdk.client import Client
from titan.sdk.services import ServiceStatus
from titan.sdk.status import OVER, JobStatus, RunStatus, RunSummary, job_dict

MAX_ROWS = 200
WATCH_S, WATCH_MIN_S = 2.0, 0.1
PROGRESS_CHARS = 60
"""Characters of a job's progress text in a table."""
_SPARE = ("EXIT", "ATTEMPT")
_RUN_STATES = ("RUNNING", "COMPLETED", "FAILED", "CANCELLED")
_HOME = "Ask the master of this home; if none runs, read the home."


@click.command()
@click.argument("target", required=False, metavar="[RUN|RUN/JOB]")
@click.option("--all", "show_all", is_flag=True, help="Print every job, however many.")
@click.option(
    "--watch", type=SECONDS, is_flag=False, flag_value=WATCH_S, metavar="[DURATION]",
    help=f"Repeat after this time, until the run is over.  [default: {WATCH_S:g}s]",
)  # fmt: skip
@master_option
@home_option(_HOME)
@wide_option
@json_option
def status(target: str | None, show_all: bool, watch: float | None, master: str | None, home: Path | None, as_json: bool) -> None:
    """Show the cluster, a run with its jobs, or a job with its story.

    RUN is the id of a run, the beginning of an id, `last` for the newest run, or the name of a DAG
    for its newest run.
    """
    with open_client(master, home=home, offline=True) as client:
        target = find_target(client, target) if target else None
        while not _print_status(client, target, show_all=show_all, as_json=as_json, clear=watch is not None) and watch:
            time.sleep(max(WATCH_MIN_S, watch))


def _print_status(client: Client, target: str | None, *, show_all: bool, as_json: bool, clear: bool) -> bool:
    """Print the status of the cluster, a run or a job. Return whether that is final."""
    final = False
    if clear and sys.stdout.isatty():
        Raw(sys.stdout).write("\x1b[H\x1b[2J")
    if not target:
        newest, workers = client.runs(limit=20), client.workers()
        if as_json:
            runs, nodes = [run.to_dict() for run in newest], [asdict(worker) for worker in workers]
            print(json.dumps({"master": client.address, "runs": runs, "workers": nodes}))
            return False
        alive = [w for w in workers if w.state == "ALIVE"]
        slots, held = sum(w.slots for w in alive), sum(min(w.held, w.slots) for w in alive)
        print(f"master {client.address}: {len(alive)} of {len(workers)} workers alive, {held} of {slots} slots busy")
        print_runs(newest)
    elif "/" in target:
        job, story = client.job(target)
        if as_json:
            attempts = [attempt.to_dict() for attempt in client.attempts(target)]
            print(json.dumps({"run": target.partition("/")[0], **job_dict(job), "story": story, "attempts": attempts}))
        else:
            print_job(job, story)
        final = job.state in OVER
    else:
        run = client.status(target)
        if as_json:
            print(json.dumps(run.to_dict()))
        else:
            print_run(run, show_all=show_all, services=() if run.summary.over else client.services(run.run))
        final = run.summary.over
    sys.stdout.flush()
    return final


@click.command()
@click.argument("target", metavar="RUN|RUN/JOB")
@click.option("-f", "--follow", is_flag=True, help="Follow the output until the job or the run is over.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Number of the attempt.  [default: the newest]")
@master_option
@home_option(_HOME)
@json_option
def logs(target: str, follow: bool, attempt: int | None, master: str | None, home: Path | None, as_json: bool) -> None:
    """Print the output of a job, byte for byte. Its stdout goes to stdout, its stderr to stderr. If
    output was lost, stderr ends with a note.

    For a RUN with several jobs: print the output of all of them line by line, in the order of
    arrival, with the name of the job before each line.
    """
    with open_client(master, home=home, offline=True) as client:
        target = find_target(client, target)
        if "/" not in target:
            summary, jobs = next(client.changes(target))
            if summary.count != 1:
                if attempt is not None:
                    raise click.UsageError(f"--attempt is for one job: titan logs {target}/JOB --attempt {attempt}")
                print_run_logs(client, target, follow=follow, as_json=as_json)
                return
            target = f"{target}/{jobs[0].id}"
        if as_json:
            for piece in client.log_pieces(target, follow=follow, attempt=attempt):
                print(json.dumps(piece_in_json(piece)), flush=True)
        else:
            follow_output(client, target, attempt=attempt, follow=follow)
        job, _ = client.job(target)
    if job.lost and attempt in (None, job.attempt):
        print(f"titan: {target}: {job.reason}", file=sys.stderr)
    if job.cached_from and not as_json:
        print(f"titan: {target} reused a result: titan logs {shell_word(job.cached_from)}", file=sys.stderr)


@click.command()
@click.argument("run_id", metavar="RUN|RUN/JOB")
@click.argument("job", required=False, metavar="[JOB]")
@click.option("--timeout", type=SECONDS, metavar="DURATION", help="Stop waiting after this time: 90, 90s, 1h30m.  Exit code 1.")
@click.option("--unpickle", is_flag=True, help="Open a pickle too: this executes code of the run's submitter.")
@master_option
@home_option(_HOME)
@json_option
def result(
    run_id: str, job: str | None, timeout: float | None, unpickle: bool, master: str | None, home: Path | None, as_json: bool
) -> None:
    """Wait for a job and print its result. The result is the value that the job set by
    `context.result`, or that the call returned.

    Text is printed as it is. Other values are printed as JSON if possible, else as Python shows
    them; with --json the latter is an error. A pickle that is more than plain data needs
    --unpickle, because opening it executes code of the run's submitter. Exit code 1 if the job is
    DEAD, CANCELLED or SKIPPED.
    """
    with open_client(master, home=home, offline=True) as client:
        run_id, _, name = find_job(client, f"{run_id}/{job}" if job else run_id, "titan result").partition("/")
        try:
            value = client.run(run_id).result(name, timeout, trust=unpickle)
        except TimeoutError:
            print(f"titan: {run_id}/{name} is not over after {timeout:g} s; it is still running", file=sys.stderr)
            sys.exit(1)
        except TitanError as e:
            if not isinstance(e, JobError):
                raise
            _fail_result(run_id, name, e)
        except (Exception, CancelledError) as e:  # the exception that the call raised
            _fail_result(run_id, name, e)
    if isinstance(value, str) and not as_json:
        if sys.stdout.isatty():
            print(value)
        else:
            sys.stdout.buffer.write(value.encode("utf-8", "surrogatepass") + b"\n")
        return
    try:
        print(json.dumps(value, ensure_ascii=as_json, allow_nan=False))
    except (TypeError, ValueError) as e:
        if as_json:
            raise CallerError(
                f"the result of {run_id}/{name} is a {type(value).__name__}, which is not JSON ({e}): read it by Run.result"
            ) from e
        print(repr(value))


def _fail_result(run: str, job: str, error: BaseException) -> NoReturn:
    print(f"titan: {run}/{job} has no result: {type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)


@click.command()
@click.argument("target", required=False, default="", metavar="[RUN|RUN/JOB]")
@click.option("--all", "every", is_flag=True, help="Cancel all runs that are not over, or those of --dag and --group.")
@click.option("--dag", default="", metavar="NAME", help="With --all: only runs of this DAG.")
@click.option("--group", "--agent-run-id", "group", default="", metavar="ID", help="With --all: only runs with this agent_run_id.")
@master_option
@json_option
def cancel(target: str, every: bool, dag: str, group: str, master: str | None, as_json: bool) -> None:
    """Cancel a run, or a job with all jobs that depend on it."""
    if bool(target) is every or ((dag or group) and not every):
        raise click.UsageError("pass RUN, RUN/JOB, or --all with --dag NAME or --group ID if only some runs are meant")
    with open_client(master) as client:
        if every:
            _cancel_all(client, dag, group, as_json=as_json)
            return
        target = find_target(client, target)
        count = client.cancel(target)
        if as_json:
            print(json.dumps({"target": target, "cancelled": count}))
        elif count:
            print(f"{count} job{'s' if count != 1 else ''} of {target} cancelled")
        else:
            print(f"nothing to cancel: {target} is over")


def _cancel_all(client: Client, dag: str, group: str, *, as_json: bool) -> None:
    cancelled = {}
    while found := [run for run in client.runs(limit=1000, dag=dag, group=group, states=("RUNNING",)) if run.run not in cancelled]:
        for run in found:
            count = cancelled[run.run] = client.cancel(run.run)
            if not as_json:
                print(f"{count} job{'s' if count != 1 else ''} of {run.run} ({one_line(run.dag)}) cancelled")
    if as_json:
        print(json.dumps([{"target": run, "cancelled": count} for run, count in cancelled.items()]))
    elif not cancelled:
        print("nothing to cancel: no such run is open")


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option(
    "--since", metavar="TIME", help="Submitted since this time: 90s, 15m, 12h, 7d ago, or 2026-01-31[T12:00[:30]] local time."
)
@click.option("--state", "states", multiple=True, type=click.Choice(_RUN_STATES, case_sensitive=False), help="May be repeated.")
@click.option("--dag", default="", metavar="NAME", help="Only runs of this DAG.")
@click.option("--group", "--agent-run-id", "group", default="", metavar="ID", help="Only runs with this agent_run_id.")
@master_option
@home_option(_HOME)
@wide_option
@json_option
def runs(
    limit: int,
    since: str | None,
    states: tuple[str, ...],
    dag: str,
    group: str,
    master: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """List the newest runs, including those of the history."""
    at = _moment(since) if since else 0.0
    with open_client(master, home=home, offline=True) as client:
        found = client.runs(limit=limit, dag=dag, since=at, states=states, group=group)
        if as_json:
            print(json.dumps([r.to_dict() for r in found]))
        else:
            print_runs(found)


def print_run(run: RunStatus, *, show_all: bool, now: float | None = None, services: Sequence[ServiceStatus] = ()) -> None:
    """Print a run, and apart from its other jobs the `services` that are not over. Durations of
    open jobs end at `now`, by default the current time."""
    s = run.summary
    took = f", {(s.finished_at or now or time.time()) - s.submitted_at:.1f} s"
    print(f"run {run.run} of {one_line(run.dag)}: {run.state}{took}; {tally_text(s)}")
    if s.actor:
        print(f"submitted by {one_line(s.actor)}")
    if s.schedule and s.scheduled_at:
        print(f"by schedule {s.schedule} for {iso(s.scheduled_at)}")
    if s.group:
        print(f"group {s.group}")
    if s.deadline_at:
        print(f"deadline {iso(s.deadline_at)}")
    apart = {service.job for service in services}
    jobs = [job for job in run.jobs if job.id not in apart]
    if not show_all and len(jobs) > MAX_ROWS:
        first = [j for j in jobs if j.state in ("DEAD", "RUNNING", "FAILED", "DISPATCHED", "PAUSED")][:MAX_ROWS]
        print_jobs(first, now)
        print(f"{len(jobs) - len(first)} more jobs: --all prints all, --json prints them for programs")
    else:
        print_jobs(jobs, now)
    if services:
        print()
        print_services(services, now or time.time(), of_run=True)


def print_job(job: JobStatus, story: Iterable[str], now: float | None = None) -> None:
    print_jobs([job], now)
    if job.progress is not None or job.message:
        print(f"  {one_line(progress_text(job))}")
    if job.status:
        print(f"  says: {one_line(job.status)}")
    for line in story:
        at, _, text = line.partition("  ")
        print(f"  {clock_text(float(at))}  {one_line(text)}")


def print_jobs(jobs: Iterable[JobStatus], now: float | None = None) -> None:
    """Print a table of jobs. It has a column SAYS if any job reports progress or a status."""
    head = ("JOB", "STATE", "ATTEMPT", "WORKER", "EXIT", "TOOK", "REASON")
    listed = list(jobs)
    rows = [
        (j.id, j.state, value_text(j.attempt or None), j.worker or "", value_text(j.exit_code), took_text(j, now), j.reason)
        for j in listed
    ]
    if any(progress_text(j) for j in listed):
        print_table(
            (*head[:-1], "SAYS", head[-1]),
            [(*row[:-1], progress_text(j)[:PROGRESS_CHARS], row[-1]) for row, j in zip(rows, listed, strict=True)],
            spare=_SPARE,
        )
    elif rows:
        print_table(head, rows, spare=_SPARE)


def progress_text(job: JobStatus) -> str:
    """Return progress, message and status of a job: `40% epoch 4 (warming up)`."""
    part = f"{job.progress:.0%}" if job.progress is not None else ""
    status = f"({job.status})" if job.status and (part or job.message) else job.status
    return " ".join(filter(None, (part, job.message, status)))


def _moment(text: str) -> float:
    """Return the value of `--since` in seconds since the epoch."""
    ago = parse_duration(text)
    if ago is not None:
        return time.time() - ago
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.UsageError(f"--since {text!r}: write 90s, 15m, 12h, 7d or 2w ago, or a date as 2026-01-31T12:00") from None


def print_runs(found: list[RunSummary], now: float | None = None) -> None:
    if not found:
        print("no runs found; start one: titan run FILE, or titan submit FILE")
        return
    rows = [(r.run, r.dag, r.state, done_text(r), clock_text(r.submitted_at), ago_text(r.submitted_at, now)) for r in found]
    print_table(("RUN", "DAG", "STATE", "DONE", "SUBMITTED", ""), rows)
