"""Following a run to its end, and the report of its outcome: `titan run`, `attach` and `wait`."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

from titan.cli.exits import EXIT_FAILED
from titan.cli.follow import follow, report_lost_output, services_left
from titan.cli.output import follow_output, write_piece
from titan.cli.tally import tally_text
from titan.cli.terminal import one_line
from titan.errors import NotFound
from titan.model.names import shell_word
from titan.protocol.messages import Pipeline
from titan.sdk.arrays import member
from titan.sdk.client import Client
from titan.sdk.job import DAG, Job
from titan.sdk.run import Run
from titan.sdk.status import RunStatus, RunSummary
from titan.sdk.wiring import wired

TAIL_LINES = 20
TAIL_BYTES = 64 * 1024
SHOWN_OUTPUT = 256 * 1024


class About(NamedTuple):
    """Facts about a running DAG, for display."""

    name: str
    size: int
    first: str
    last: str
    """The only job without children, "" if there are several. A gate that follows this job does not
    count as a child. The output of the job is the run's output."""

    @classmethod
    def of(cls, dag: DAG) -> About:
        jobs = wired(dag.jobs)
        own, waited = {job.id for job in dag.jobs}, {parent for job in jobs for parent in job.parents}
        only = _only_sink([(job.id, job.parents) for job in jobs if job.id in own or job.id in waited])
        last = [job for job in dag.jobs if job.id == only and job.size == 1]
        return cls(dag.name, dag.size, _first_id(dag.jobs[0]), _first_id(last[0]) if last else "")

    @classmethod
    def of_saved(cls, pipeline: Pipeline) -> About:
        dag = pipeline.dag
        return cls(dag.name, len(dag.ids), dag.ids[0], _only_sink(list(zip(dag.ids, dag.parents, strict=True))))


def _first_id(job: Job) -> str:
    return member(job.id, 0) if job.is_array else job.id


def code_of_job(client: Client, summary: RunSummary) -> int:
    """Return the exit code of the only job of a run; 0 if it has none."""
    if summary.count != 1:
        return 0
    (job,) = client.status(summary.run).jobs
    return job.exit_code or 0


def follow_run(client: Client, handle: Run, dag: About, *, quiet: bool, as_json: bool) -> RunSummary:
    """Follow a run to its end: the output of its only job, else the states of its jobs."""
    if dag.size == 1 and not as_json:
        follow_output(client, f"{handle.id}/{dag.first}")
        summary = handle.wait()
        if summary.reused:
            follow_output(client, source_of(client, f"{handle.id}/{dag.first}"), follow=False)
        return summary
    summary = follow(client, handle.id, quiet=quiet or as_json, services=False)
    if summary.over:
        return summary
    if not (quiet or as_json):
        left = services_left(client, handle.id)
        print(f"titan: the jobs are over, and services go on: {left}; stop them: titan stop {handle.id}", file=sys.stderr)
    return handle.wait()


def conclude(client: Client, summary: RunSummary, dag: About, *, later: str | None, quiet: bool, as_json: bool) -> int:
    """Report how a run ended; return the exit code: 0 if all jobs COMPLETED and no output was lost.

    `later`: options with which a later command finds the run; None if the cluster is removed.
    """
    if as_json:
        print(json.dumps(client.status(summary.run).to_dict()))
    else:
        took = (summary.finished_at or 0.0) - summary.submitted_at
        if not summary.ok:
            print_failures(client, client.status(summary.run), later, output=dag.size > 1)
        elif dag.size > 1 and dag.last:
            last = f"{summary.run}/{dag.last}"
            _print_result(client, source_of(client, last) if summary.reused else last, later)
        if not quiet:
            print(f"run {summary.run} {summary.state} in {took:.2f} s: {tally_text(summary)}", file=sys.stderr)
    lost = report_lost_output(client, summary)
    return 0 if summary.ok and not lost else EXIT_FAILED


def source_of(client: Client, target: str) -> str:
    """Return the job, as RUN/JOB, that wrote the output of a job: itself, or the job whose result
    it reused, as long as that is known."""
    source = client.job(target)[0].cached_from
    if source is None:
        return target
    try:
        client.job(source)
    except NotFound:  # its run has left the history
        return target
    return source


def _only_sink(jobs: list[tuple[str, tuple[str, ...]]]) -> str:
    parents = {name for _, parents in jobs for parent in parents for name in (parent, parent.partition("[")[0])}
    sinks = [name for name, _ in jobs if name not in parents]
    return sinks[0] if len(sinks) == 1 else ""


def _print_result(client: Client, target: str, later: str | None) -> None:
    """Print the beginning of a job's stdout, and say where the rest is."""
    room = SHOWN_OUTPUT
    for piece in client.log_pieces(target):
        if piece.stream != 1:
            continue
        write_piece(piece._replace(data=piece.data[:room]))
        room -= len(piece.data)
        if room < 0:
            where = "" if later is None else f": titan logs {shell_word(target)}{later}"
            print(f"titan: {target} has written more than {SHOWN_OUTPUT // 1024} KiB{where}", file=sys.stderr)
            return


def print_failures(client: Client, run: RunStatus, later: str | None, *, output: bool = True) -> None:
    """Print the dead jobs and the commands that show more. `output`: print the end of each job's
    stderr."""
    dead = [job for job in run.jobs if job.state == "DEAD"]
    for job in dead[:5]:
        where = f"{run.run}/{job.id}"
        print(
            f"\n{where} is DEAD after {job.attempt} attempt{'s' if job.attempt != 1 else ''}: {one_line(job.reason)}",
            file=sys.stderr,
        )
        for line in _last_lines(client, where) if output else ():
            print(f"  {line}", file=sys.stderr)
        if later is not None:
            print(f"  (titan logs {shell_word(where)}{later}, titan status {shell_word(where)}{later})", file=sys.stderr)
    if len(dead) > 5:
        hint = "" if later is None else f": titan dlq {run.run}{later}"
        print(f"\nand {len(dead) - 5} more dead jobs{hint}", file=sys.stderr)


def _last_lines(client: Client, target: str) -> list[str]:
    """Return the last lines of a job's stderr."""
    end = b""
    for stream, data in client.logs(target):
        if stream == 2:
            end = (end + data)[-TAIL_BYTES:]
    return end.decode(errors="replace").splitlines()[-TAIL_LINES:]
