"""`titan replay`: the cluster at a past time, and the events between two times."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from titan.cli.ask import print_job, print_run, print_runs
from titan.cli.dlq import print_dead
from titan.cli.gates import print_gates
from titan.cli.moments import local, moment_of
from titan.cli.options import home_option, json_option
from titan.cli.schedule import print_schedules
from titan.cli.services import print_services
from titan.cli.table import wide_option
from titan.cli.workers import print_workers
from titan.core.state.state import State
from titan.errors import NotFound
from titan.gateway.schedule_rows import schedule_row
from titan.master import views
from titan.master.event_format import fields_of, is_about, text
from titan.master.handlers.failures import gates
from titan.master.replay import END, Playback, open_playback
from titan.model.demand import demand_text
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk.address import default_home
from titan.sdk.decisions import OpenGate, open_gate
from titan.sdk.schedules import ScheduleStatus, schedule_status
from titan.sdk.services import ServiceStatus, service_status
from titan.sdk.status import (
    DeadJob,
    RunStatus,
    RunSummary,
    WorkerStatus,
    dead_job,
    job_dict,
    job_status,
    run_summary,
    worker_status,
)

ROWS = 1000


@click.command()
@click.argument("target", required=False, default="", metavar="[RUN|RUN/JOB]")
@click.option("--at", metavar="TIME|SEQ", help="2026-01-31T12:00, 12:00:30, -10m, seconds since the epoch, a sequence, or end.")
@click.option("--events", is_flag=True, help="Print the events from --from to --to, one per line.")
@click.option("--from", "begin", metavar="TIME|SEQ", help="With --events.  [default: the journal's beginning]")
@click.option("--to", "end", metavar="TIME|SEQ", help="With --events.  [default: the end]")
@click.option("--all", "show_all", is_flag=True, help="Print every job, however many.")
@home_option("The master's home; it may be running.  [default: .titan]")
@wide_option
@json_option
def replay(
    target: str,
    at: str | None,
    events: bool,
    begin: str | None,
    end: str | None,
    show_all: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show the cluster, a run or a job at a past time. The data come from the journal of a home, in
    which nothing is written.

    The journal does not record logs, nor which workers were connected.
    """
    if events is (at is not None) or (not events and (begin is not None or end is not None)):
        raise click.UsageError("pass either --at TIME|SEQ, or --events with --from and --to")
    folder, now = home or default_home(), time.time()
    run, job = split_job(target) if "/" in target else (target, "")
    if events:
        _print_events(folder, run, job, begin, end, now, as_json=as_json)
        return
    moment = moment_of("--at", at or "", now)
    playback = open_playback(folder, moment, now)
    state = playback.run(moment)
    when = moment.at or playback.at
    if target:
        _show_run(state, playback, run, job, when, show_all=show_all, as_json=as_json)
    else:
        _show_cluster(folder, _overview(state), playback, when, as_json=as_json)


# -- the cluster -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Overview:
    runs: list[RunSummary]
    workers: list[WorkerStatus]
    queue: dict[str, int]
    """Demand -> number of jobs queued with it."""
    dead: list[DeadJob]
    gates: list[OpenGate]
    services: list[ServiceStatus]
    schedules: list[ScheduleStatus]
    saved: list[str]
    """Names of the saved pipelines."""
    counts: dict[str, int]
    """Total numbers of the items. The lists hold at most ROWS of each."""


def _overview(state: State) -> _Overview:
    queue = {demand_text(demand): lane.count for demand, lane in state.lanes.items() if lane.count}
    for worker, lane in state.pinned.items():
        if lane.count:
            queue[f"worker {state.worker_name(worker)}"] = lane.count
    return _Overview(
        runs=[run_summary(row) for row in views.runs(state, msg.ListRuns(0, ROWS))],
        workers=[worker_status(row) for row in views.workers(state, msg.ListWorkers(0)).workers],
        queue=queue,
        dead=[dead_job(row) for row in views.dead_jobs(state, msg.ListDead(0, "", ROWS))],
        gates=[open_gate(row) for row in gates(state, msg.ListGates(0, "", ROWS)).gates],
        services=[service_status(row) for row in views.services(state, msg.ListServices(0, "", ROWS)).services],
        schedules=[schedule_status(schedule_row(state.schedules[name])) for name in sorted(state.schedules)],
        saved=sorted(state.saved),
        counts={"runs": len(state.runs), "jobs": len(state.jobs), "dead": len(state.dead), "store_keys": state.store.size()},
    )


def _show_cluster(folder: Path, overview: _Overview, playback: Playback, when: float, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"seq": playback.seq, "at": when, **asdict(overview), "runs": [run.to_dict() for run in overview.runs]}))
        return
    alive = [w for w in overview.workers if w.state == "ALIVE"]
    slots, held = sum(w.slots for w in alive), sum(min(w.held, w.slots) for w in alive)
    print(f"{folder} at {local(when)}, sequence {playback.seq:,}")
    print(f"{len(alive)} of {len(overview.workers)} workers alive, {held} of {slots} slots busy")
    if overview.runs:
        print_runs(overview.runs[:20], when)
    counts = overview.counts
    print(
        f"{counts['runs']:,} runs with {counts['jobs']:,} jobs in the master's memory, {counts['store_keys']:,} keys in the store"
    )
    waiting = ", ".join(f"{count:,} for {demand}" for demand, count in list(overview.queue.items())[:20])
    print(f"queue: {waiting or 'empty'}")
    if overview.workers:
        print()
        print_workers(overview.workers, with_heard=False)
    if overview.dead:
        print(f"\n{counts['dead']:,} in the dead letter queue")
        print_dead(overview.dead[:20])
    if overview.gates:
        print()
        print_gates(overview.gates, when)
    if overview.services:
        print()
        print_services(overview.services, when)
    if overview.schedules:
        print()
        print_schedules(overview.schedules, when)
    if overview.saved:
        print(f"\nsaved pipelines: {', '.join(overview.saved)}")


# -- a run or a job --------------------------------------------------------------------------------
def _show_run(state: State, playback: Playback, run: str, job: str, when: float, *, show_all: bool, as_json: bool) -> None:
    try:
        found = views.find_run(state, run)
    except NotFound:
        raise NotFound(
            f"run {run[:80]!r} was not in the master's memory at {local(when)}: it was submitted later, or had moved to the"
            f" history (`titan status {run[:80]}`)"
        ) from None
    moment = {"seq": playback.seq, "at": when}
    if job:
        answer = views.run_status(state, msg.GetRun(0, run, job))
        job_row = job_status(answer.jobs[0])
        if as_json:
            print(json.dumps({**moment, "run": run, **job_dict(job_row), "story": answer.story}))
        else:
            print(f"{run}/{job} at {local(when)}, sequence {playback.seq:,}")
            print_job(job_row, answer.story, when)
        return
    jobs = [job_status(views.job_row(state, state.jobs[n])) for n in found.numbers()]
    summary = run_summary(views.run_row(found))
    status = RunStatus(summary.run, summary.dag, summary.state, jobs, summary)
    if as_json:
        print(json.dumps({**moment, **status.to_dict()}))
    else:
        print(f"at {local(when)}, sequence {playback.seq:,}")
        print_run(status, show_all=show_all, now=when)


# -- events ----------------------------------------------------------------------------------------
def _print_events(folder: Path, run: str, job: str, begin: str | None, end: str | None, now: float, *, as_json: bool) -> None:
    last = moment_of("--to", end, now) if end else END
    first = moment_of("--from", begin, now) if begin else None
    playback = open_playback(folder, first, now)
    for step in playback.play(last):
        if first is not None and (step.seq < first.seq if first.seq else step.at < first.at):
            continue
        if run and not is_about(playback.state, step.event, run, job):
            continue
        fields = fields_of(playback.state, step.event, run=run, job=job)
        name = type(step.event).__name__
        if as_json:
            print(json.dumps({"seq": step.seq, "at": step.at, "event": name, **fields}, default=_encoded))
        else:
            print(f"{step.seq}  {local(step.at)}  {name}  {text(fields)}".rstrip())


def _encoded(value: Any) -> Any:
    return msgspec.to_builtins(value)
