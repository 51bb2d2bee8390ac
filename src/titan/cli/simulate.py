"""`titan simulate`: predict the duration of a pipeline on workers that need not exist."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from titan.cli.durations import Durations, Measurements, checked_seconds, durations_of, read_durations, read_recordings
from titan.cli.fleet import Capacity, fleets
from titan.cli.job_options import JobOptions, dag_of
from titan.cli.options import folder_path, json_option, master_option
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, pipeline_options
from titan.cli.seconds import SECONDS
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.errors import CallerError, MasterUnreachable
from titan.master.interpreter_settings import tune_interpreter
from titan.model.dag import DagSpec
from titan.model.demand import demand_text
from titan.predict.engine import Timeline, predict
from titan.predict.plan import Group, Pipeline, Plan
from titan.predict.verdict import Verdict, judge
from titan.sdk.address import VARIABLE, default_home
from titan.sdk.needs import memory_of
from titan.sdk.outline import outline

SHOWN = 20
PROGRESS_EVERY_S = 1.0


@click.command(cls=PipelineCommand)
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.option("--workers", multiple=True, default=("1",), show_default=True, metavar="N[:SLOTS[:TAG+TAG]]",
              help="May be repeated. 1..8 predicts for each N and compares.")  # fmt: skip
@click.option(
    "--slots", type=click.IntRange(1, 65_536), help="Slots of workers without a number of their own.  [default: the number of CPUs]"
)
@click.option("--each", multiple=True, metavar="NAME=AMOUNT", help="Resource of each worker: cpus=8, memory=32GiB or gpus=1.")
@click.option("--cpus", type=float, metavar="N",
              help="All workers share one machine of N CPUs; 0: each has its own.  [default: as recorded]")  # fmt: skip
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Learn from this run; may be repeated.  [default: the newest]")
@click.option(
    "--last", default=5, show_default=True, type=click.IntRange(1, 100), help="Number of runs of this name to learn from."
)
@click.option("--from-home", type=folder_path, metavar="HOME",
              help="Learn from a private cluster's home.  [default: .titan here, if no master answers]")  # fmt: skip
@click.option("--durations", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="JSON or YAML: {job id or pattern: seconds}. Overrides recorded durations.")  # fmt: skip
@click.option(
    "--default-duration",
    type=SECONDS,
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Duration of jobs without any record.",
)
@click.option(
    "--gate-wait", type=SECONDS, default=0.0, show_default=True, metavar="SECONDS", help="Time until each gate is approved."
)
@pipeline_options
@click.option("--jobs", "show_jobs", is_flag=True, help="Print each job's start and end.")
@master_option
@wide_option
@json_option
def simulate(
    pipeline: Path, workers: tuple[str, ...], slots: int | None, each: tuple[str, ...], cpus: float | None, runs: tuple[str, ...],
    last: int, from_home: Path | None, file: Path | None, default_duration: float, gate_wait: float,
    params: tuple[str, ...], show_jobs: bool, master: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Predict the duration of a pipeline on given workers. The prediction uses earlier durations of
    its jobs, and runs nothing.

    The simulation uses the real scheduler and a clock that does not wait. From earlier runs it
    takes the duration of each job, its CPU time, and the overheads between jobs. A recorded failure
    happens again.
    """
    default_s, gate_wait_s = checked_seconds(default_duration), checked_seconds(gate_wait)
    compared = fleets(workers, slots or os.cpu_count() or 1, _capacity(each))
    dag = dag_of((str(pipeline),), JobOptions(), PipelineOptions(params), deadline=None)
    spec, parents = outline(dag)
    from_file = read_durations(file) if file is not None else {}
    measurements = _read_measurements(spec, parents, runs, last, master, from_home, needed=not from_file)
    durations = durations_of(spec, measurements.durations, from_file, default_s)
    shared = _shared_cpus(cpus, measurements)
    graph = Pipeline(spec.name, spec.templates, spec.ids, spec.template_of, parents, spec.deadline_s)
    if len(spec.ids) > SHOWN:
        tune_interpreter()
    predictions = []
    for groups in compared:
        plan = Plan(graph, durations.jobs, groups, measurements.overheads, shared, gate_wait_s, time.time())
        began = time.perf_counter()
        timeline = predict(plan, _progress(quiet=as_json))
        predictions.append(_Prediction(plan, timeline, judge(plan, timeline), time.perf_counter() - began))
    growing = [job.id for job in dag.jobs if job.expand is not None or job.pipeline is not None]
    about = _about(durations, measurements, default_s, shared, growing)
    if as_json:
        _print_json(predictions, about, spec)
    elif len(predictions) > 1:
        _print_sources(about)
        _print_comparison(predictions)
    else:
        _print_sources(about)
        _print_prediction(predictions[0], spec, show_jobs=show_jobs)


class _Prediction:
    def __init__(self, plan: Plan, timeline: Timeline, verdict: Verdict, took_s: float) -> None:
        self.plan = plan
        self.timeline = timeline
        self.verdict = verdict
        self.took_s = took_s

    @property
    def rate(self) -> float:
        """Simulated jobs per second."""
        return len(self.plan.pipeline.ids) / max(self.took_s, 1e-9)


# -- options ---------------------------------------------------------------------------------------
def _capacity(texts: Sequence[str]) -> Capacity:
    amounts: dict[str, Any] = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        try:
            if not equals or name not in Capacity._fields:
                raise ValueError
            amounts[name] = memory_of(amount) if name == "memory" else float(amount) if name == "cpus" else int(amount)
            if not 0 <= amounts[name] < 1 << 60:
                raise ValueError
        except (ValueError, CallerError):
            raise click.UsageError(f"--each {text[:80]!r}: write cpus=8, memory=32GiB or gpus=1") from None
    return Capacity(**amounts)


def _shared_cpus(cpus: float | None, measurements: Measurements) -> float:
    if cpus is None:
        return measurements.shared_cpus
    if not 0 <= cpus <= 65_536:
        raise click.UsageError(f"--cpus {cpus:g}: must be 0 to 65,536")
    return cpus


def _read_measurements(
    spec: DagSpec, parents: list[tuple[int, ...]], runs: tuple[str, ...], last: int, master: str | None, home: Path | None,
    *, needed: bool,
) -> Measurements:  # fmt: skip
    """Return the recordings from the named master, home or runs; a missing one is an error.

    Without such an option, use the default master or home if it exists.
    """
    if home is not None or master or runs or os.environ.get(VARIABLE):
        with open_client(master, home=home, offline=True) as client:
            return read_recordings(client, spec, parents, runs, last)
    if needed:
        with suppress(MasterUnreachable), open_client(None) as client:
            measurements = read_recordings(client, spec, parents, (), last)
            if measurements.runs:
                return measurements
        folder = default_home()
        if (folder / "store").is_dir():
            with open_client(None, home=folder, offline=True) as client:
                return read_recordings(client, spec, parents, (), last)
    return Measurements()


def _progress(*, quiet: bool) -> Callable[[int, int], None] | None:
    if quiet:
        return None
    printed = began = time.monotonic()

    def print_progress(done: int, count: int) -> None:
        nonlocal printed
        now = time.monotonic()
        if now - printed >= PROGRESS_EVERY_S:
            printed = now
            print(f"{done:,} of {count:,} jobs, {done / (now - began):,.0f} per second", file=sys.stderr, flush=True)

    return print_progress


# -- output ----------------------------------------------------------------------------------------
def _about(durations: Durations, measurements: Measurements, default_s: float, shared: float, growing: list[str]) -> dict[str, Any]:
    o = measurements.overheads
    return {
        "runs": measurements.runs,
        "recorded": durations.recorded,
        "from_file": durations.from_file,
        "alike": durations.alike,
        "assumed": len(durations.assumed),
        "assumed_jobs": durations.assumed[:SHOWN],
        "default_duration": default_s,
        "overheads": {"begin": o.begin_s, "link": o.link_s, "turn": o.turn_s, "measured": bool(measurements.runs)},
        "shared_cpus": shared,
        "growing": growing,
    }


def _print_sources(about: dict[str, Any]) -> None:
    parts = []
    if about["from_file"]:
        parts.append(f"{about['from_file']:,} from the file")
    if about["recorded"]:
        runs = about["runs"]
        parts.append(f"{about['recorded']:,} recorded ({len(runs)} run{'s' if len(runs) != 1 else ''}, the newest {runs[0]})")
    if about["alike"]:
        parts.append(f"{about['alike']:,} from other jobs of the same template")
    if about["assumed"]:
        names = ", ".join(about["assumed_jobs"][:5]) + (", ..." if about["assumed"] > 5 else "")
        parts.append(f"{about['assumed']:,} ASSUMED to take {about['default_duration']:g} s (--default-duration): {names}")
    print("durations: " + "; ".join(parts or ["none needed"]))
    o = about["overheads"]
    how = "measured" if o["measured"] else "assumed"
    print(
        f"overheads, {how}: first start {o['begin'] * 1000:.1f} ms, parent to child {o['link'] * 1000:.1f} ms,"
        f" next on a worker {o['turn'] * 1000:.1f} ms"
    )
    if about["growing"]:
        print(f"NOT predicted: the jobs that these jobs add to the run: {', '.join(about['growing'][:5])}")
    where = (
        f"the workers share one machine of {about['shared_cpus']:g} CPUs"
        if about["shared_cpus"]
        else "each worker has its own machine"
    )
    print(f"{where} (--cpus)")


def _workers_text(groups: list[Group]) -> str:
    return " and ".join(
        f"{g.count} x {g.slots}" + ("" if g.capabilities == ("GENERAL",) else f" {'+'.join(g.capabilities)}") for g in groups
    )


def _print_prediction(p: _Prediction, spec: DagSpec, *, show_jobs: bool) -> None:
    timeline, verdict = p.timeline, p.verdict
    tally = ", ".join(f"{n:,} {state}" for state, n in timeline.tally.items())
    print(f"\n{_workers_text(p.plan.groups)} slots: {timeline.makespan_s:.2f} s, {timeline.state}; {tally}")
    least = min(verdict.least_s, timeline.makespan_s)
    print(f"utilisation {verdict.utilisation:.0%}; no number of workers takes less than {least:.2f} s")
    print(f"limited by {verdict.limited_by}: {verdict.why}")
    if verdict.chain:
        print(f"\ncritical path, {len(verdict.chain):,} jobs:")
        links = verdict.chain if len(verdict.chain) <= SHOWN else [*verdict.chain[: SHOWN // 2], *verdict.chain[-SHOWN // 2 :]]
        names = {"parent": "its parent", "slot": "its slot", "begin": ""}
        rows = [(spec.ids[k.job], f"{k.start_s:.2f}", f"{k.end_s:.2f}", names[k.waited]) for k in links]
        print_table(("JOB", "START", "END", "WAITED FOR"), rows)
        if len(links) < len(verdict.chain):
            print(f"only the first and last {SHOWN // 2} jobs are shown; --json prints all")
    if show_jobs:
        print()
        rows = [
            (name, f"w{timeline.workers[i]}" if timeline.workers[i] else "", _at(timeline.starts[i]), _at(timeline.ends[i]))
            for i, name in enumerate(spec.ids)
        ]
        print_table(("JOB", "WORKER", "START", "END"), rows)
    print(f"\n{len(spec.ids):,} jobs simulated in {p.took_s:.2f} s: {p.rate:,.0f} per second", file=sys.stderr)


def _print_comparison(predictions: list[_Prediction]) -> None:
    first = predictions[0].timeline.makespan_s
    rows = [
        (
            _workers_text(p.plan.groups),
            f"{p.timeline.makespan_s:.2f} s",
            f"{first / p.timeline.makespan_s:.2f}" if p.timeline.makespan_s else "",
            f"{p.verdict.utilisation:.0%}",
            p.verdict.limited_by,
            p.timeline.state,
        )
        for p in predictions
    ]
    print()
    print_table(("WORKERS", "MAKESPAN", "SPEED-UP", "UTILISATION", "LIMITED BY", "STATE"), rows)


def _at(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds >= 0 else ""


def _print_json(predictions: list[_Prediction], about: dict[str, Any], spec: DagSpec) -> None:
    """Print one line per job, so that a million jobs are never a single text in memory."""
    out = sys.stdout
    out.write(json.dumps({"pipeline": spec.name, "jobs": len(spec.ids), "durations": about})[:-1] + ', "predictions": [')
    for i, p in enumerate(predictions):
        out.write((",\n" if i else "\n") + json.dumps(_summary(p, spec))[:-1] + ', "jobs": [')
        timeline = p.timeline
        for n, name in enumerate(spec.ids):
            row = {
                "id": name,
                "worker": f"w{timeline.workers[n]}" if timeline.workers[n] else None,
                "start": timeline.starts[n] if timeline.starts[n] >= 0 else None,
                "end": timeline.ends[n] if timeline.ends[n] >= 0 else None,
            }
            out.write((",\n" if n else "\n") + json.dumps(row))
        out.write("]}")
    out.write("]}\n")


def _summary(p: _Prediction, spec: DagSpec) -> dict[str, Any]:
    timeline, verdict = p.timeline, p.verdict
    return {
        "workers": [
            {"count": g.count, "slots": g.slots, "capabilities": g.capabilities, "cpus": g.cpus, "memory": g.memory, "gpus": g.gpus}
            for g in p.plan.groups
        ],
        "makespan": timeline.makespan_s,
        "state": timeline.state,
        "tally": timeline.tally,
        "attempts": timeline.attempts,
        "utilisation": verdict.utilisation,
        "least": verdict.least_s,
        "limited_by": verdict.limited_by,
        "why": verdict.why,
        "waited": {demand_text(demand): seconds for demand, seconds in timeline.waited_s.items()},
        "cpu_full": timeline.cpu_full_s,
        "chain": [{"id": spec.ids[k.job], "start": k.start_s, "end": k.end_s, "waited_for": k.waited} for k in verdict.chain],
        "simulated_in": p.took_s,
        "jobs_per_second": p.rate,
    }
