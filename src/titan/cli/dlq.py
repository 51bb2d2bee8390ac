"""`titan dlq`: list DEAD jobs, show their story and output, retry or purge them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import click

from titan.cli.cells import clock_text, value_text
from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.targets import find_target
from titan.cli.terminal import one_line
from titan.errors import Conflict
from titan.model.names import shell_word, split_job
from titan.sdk.client import Client
from titan.sdk.status import DeadJob, job_dict

TAIL_LINES = 20
TAIL_BYTES = 64 * 1024
_HOME = "Ask the master of this home; if none runs, read the home."


class _Group(click.Group):
    """A group whose default command is `list`: `titan dlq`, `titan dlq RUN`, `titan dlq --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not any(arg in self.commands for arg in args[:1]) and not {"-h", "--help"} & set(args):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Group)
def dlq() -> None:
    """Manage the dead letter queue. Its jobs are out of retries, refused for good, or poison.
    Without a command, list them."""


@dlq.command("list")
@click.argument("run", required=False, default="")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@master_option
@home_option(_HOME)
@wide_option
@json_option
def list_dead(run: str, limit: int, master: str | None, home: Path | None, as_json: bool) -> None:
    """List the dead jobs of one run or of all runs, newest first."""
    with open_client(master, home=home, offline=True) as client:
        found = client.dead_jobs(find_target(client, run) if run else "", limit)
    if as_json:
        print(json.dumps([asdict(d) for d in found]))
        return
    if not found:
        print("no dead jobs")
        return
    print_dead(found)


def print_dead(found: Sequence[DeadJob]) -> None:
    rows = [(f"{d.run}/{d.job.id}", d.dag, str(d.job.attempt), value_text(d.job.exit_code), d.job.reason) for d in found]
    print_table(("JOB", "DAG", "ATTEMPTS", "EXIT", "REASON"), rows, spare=("DAG",))


@dlq.command()
@click.argument("target", metavar="RUN/JOB")
@click.option(
    "--full", is_flag=True, help=f"Print all output of every attempt instead of the last {TAIL_LINES} lines of each stream."
)
@master_option
@home_option(_HOME)
@json_option
def show(target: str, full: bool, master: str | None, home: Path | None, as_json: bool) -> None:
    """Show why a job is dead: its story, and the output of each attempt."""
    run, job = split_job(target)
    if not job:
        raise click.UsageError(f"{target!r} does not name a job: pass RUN/JOB (`titan dlq {run}` lists the dead jobs)")
    with open_client(master, home=home, offline=True) as client:
        target = find_target(client, target)
        status, story = client.job(target)
        if status.state != "DEAD":
            raise Conflict(f"{target} is {status.state}, not DEAD: `titan status {shell_word(target)}` prints its story")
        if as_json:
            facts = {attempt.attempt: attempt.to_dict() for attempt in client.attempts(target)}
            outputs = _attempts(client, target, status.attempt, full=full)
            attempts = [{**facts.get(output["attempt"], {}), **output} for output in outputs]
            print(json.dumps({"run": run, **job_dict(status), "story": story, "attempts": attempts}))
            return
        print(f"{target} is DEAD after {status.attempt} attempt{'s' if status.attempt != 1 else ''}: {one_line(status.reason)}")
        for line in story:
            at, _, text = line.partition("  ")
            print(f"  {clock_text(float(at))}  {text}")
        for attempt_output in _attempts(client, target, status.attempt, full=full):
            for stream in ("stdout", "stderr"):
                _print_output(attempt_output, stream)
        print(f"run it again: titan dlq retry {target}; remove it from the queue: titan dlq purge {target}")


@dlq.command()
@click.argument("target", metavar="RUN|RUN/JOB")
@click.option("--by", metavar="NAME", help="Your name.  [default: your login name]")
@master_option
@json_option
def retry(target: str, by: str | None, master: str | None, as_json: bool) -> None:
    """Retry a dead job, or all dead jobs of a run, with all retries. Jobs that were cancelled
    because of the dead jobs run too."""
    with open_client(master, offline=True) as client:
        outcome = client.retry_dead(find_target(client, target), by=by)
    if as_json:
        print(json.dumps(asdict(outcome)))
    else:
        pronoun = "it" if outcome.retried == 1 else "them"
        revived = f"; revived: {_jobs(outcome.revived)} cancelled because of {pronoun}" if outcome.revived else ""
        print(f"retried: {_jobs(outcome.retried)}{revived}")


@dlq.command()
@click.argument("target", required=False, default="", metavar="[RUN|RUN/JOB]")
@click.option("--all", "purge_all", is_flag=True, help="Purge the dead jobs of all runs.")
@master_option
@json_option
def purge(target: str, purge_all: bool, master: str | None, as_json: bool) -> None:
    """Remove a dead job, or all dead jobs of a run, from the queue for good. Such a job stays DEAD
    in its run, with its story and output."""
    if bool(target) is purge_all:
        raise click.UsageError("pass RUN, RUN/JOB or --all")
    with open_client(master, offline=True) as client:
        count = client.purge_dead(find_target(client, target)) if target else _purge_all(client)
    if as_json:
        print(json.dumps({"target": target, "purged": count}))
    else:
        print(f"{_jobs(count)} purged")


def _purge_all(client: Client) -> int:
    count = 0
    while runs := dict.fromkeys(dead.run for dead in client.dead_jobs(limit=10_000)):
        before = count
        for run in runs:
            count += client.purge_dead(run)
        if count == before:
            break
    return count


class _Attempt(TypedDict):
    attempt: int
    stdout: str
    stderr: str


def _attempts(client: Client, target: str, count: int, *, full: bool) -> Iterator[Any]:
    for number in range(1, count + 1):
        streams = {1: bytearray(), 2: bytearray()}
        for stream, data in client.logs(target, attempt=number):
            kept = streams[stream]
            kept += data
            if not full:
                del kept[:-TAIL_BYTES]
        out, err = (_tail(bytes(streams[n]), full=full) for n in (1, 2))
        yield _Attempt(attempt=number, stdout=out, stderr=err)


def _tail(data: bytes, *, full: bool) -> str:
    text = data.decode(errors="replace")
    return text if full else "".join(text.splitlines(keepends=True)[-TAIL_LINES:])


def _print_output(attempt: _Attempt, stream: str) -> None:
    text = attempt["stdout"] if stream == "stdout" else attempt["stderr"]
    if text:
        print(f"attempt {attempt['attempt']}, {stream}:")
        for line in text.splitlines():
            print(f"  {line}")


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"
