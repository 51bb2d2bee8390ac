"""`titan submit`, `titan wait`, and the part of `titan run` that follows its forks."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from titan.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED
from titan.cli.follow import follow, report_lost_output
from titan.cli.follow import submit as submit_dag
from titan.cli.job_options import JobOptions, dag_of, is_pipeline, job_options, take_job_options
from titan.cli.local_cluster import LocalCluster
from titan.cli.options import DEFAULT_HOME, deadline_option, group_option, json_option, master_option
from titan.cli.prefork import ForkedServers
from titan.cli.session import is_local, open_client
from titan.cli.terminal import one_line
from titan.errors import MasterUnreachable, NotFound, TitanError
from titan.host.remove_folder import remove_folder
from titan.model.names import match_name
from titan.protocol.messages import Pipeline
from titan.sdk.address import VARIABLE
from titan.sdk.client import Client
from titan.sdk.job import DAG
from titan.sdk.run import Run
from titan.sdk.status import RunStatus, RunSummary, WorkerStatus
from titan.sdk.unmet import asks_for_resources, describe_unmet

TAIL_LINES = 20
SHOWN_OUTPUT = 256 * 1024


def execute(
    forks: ForkedServers,
    *,
    master: str | None,
    workers: int,
    slots: int | None,
    home: Path | None,
    ephemeral: bool,
    exit_code: str,
    job: JobOptions,
    deadline: float | None,
    group: str,
    quiet: bool,
    as_json: bool,
    arguments: tuple[str, ...],
) -> NoReturn:
    """Execute `titan run`; see `titan.cli.run_command`."""
    make = partial(dag_of, arguments, job, deadline=deadline, group=group)
    named = may_be_saved(arguments)
    dag, base_folder = (None, Path.cwd()) if named else make()
    with _client_or_cluster(master, home, base_folder, workers=workers, slots=slots, ephemeral=ephemeral, forks=forks) as cluster:
        client = cluster.client
        saved = saved_of(client, arguments[0]) if named else None
        if saved is None:
            in_place = _runs_in_place(cluster, arguments, job)
            if dag is None or in_place:
                dag = make(in_place=in_place)[0]
            handle, about = submit_dag(client, dag, quiet=quiet or as_json), _About.of(dag)
        else:
            handle, about = client.pipelines.run(arguments[0], agent_run_id=group, deadline=deadline), _About.of_saved(saved)
        try:
            if not (quiet or as_json):
                print(f"run {handle.id} of {about.name}, {about.size:,} job{'s' if about.size != 1 else ''}", file=sys.stderr)
                if dag is not None:
                    _print_unmet(client, dag, private=cluster.private)
            summary = _follow_run(client, handle, about, quiet=quiet, as_json=as_json)
        except KeyboardInterrupt:
            if cluster.failures:
                _give_up(handle, cluster.failures[0])
            print("\ntitan: interrupted, cancelling the run", file=sys.stderr)
            with contextlib.suppress(TitanError, KeyboardInterrupt):
                handle.cancel()
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # the reader of the output has gone, which ends any command in a pipe
            with contextlib.suppress(TitanError):
                handle.cancel()
            raise
        _conclude(cluster, summary, about, quiet=quiet, as_json=as_json)
        lost = report_lost_output(client, summary)
        code = 0 if summary.ok and not lost else EXIT_FAILED
        if code and not summary.ok and exit_code == "job" and saved is None and not is_pipeline(arguments[0]):
            code = _code_of_job(client, summary) or code
    click.get_current_context().exit(code)


def _runs_in_place(cluster: _Cluster, arguments: tuple[str, ...], job: JobOptions) -> bool:
    """Return whether a single script or command runs in the caller's folder: if no other machine
    can get it, and no option names a folder."""
    return job.cwd is None and not is_pipeline(arguments[0]) and (cluster.private or is_local(cluster.client))


def _code_of_job(client: Client, summary: RunSummary) -> int:
    """Return the exit code of the only job of a run; 0 if it has none."""
    if summary.count != 1:
        return 0
    (job,) = client.status(summary.run).jobs
    return job.exit_code or 0


@click.command(context_settings={"ignore_unknown_options": True})
@job_options
@deadline_option
@group_option
@master_option
@json_option
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE [ARGS]... | NAME | -- COMMAND [ARGS]..."
)
def submit(
    deadline: float | None, group: str, master: str | None, as_json: bool, arguments: tuple[str, ...], **options: Any
) -> None:
    """Submit a pipeline, a script or a command, and return at once. A pipeline is a .yaml file or
    the NAME of a saved one. The run outlives this terminal, and restarts of the master.

    A script or command runs in an empty folder on a worker, unless --cwd names a folder there.
    """
    make = partial(dag_of, arguments, take_job_options(options, retries=3), deadline=deadline, group=group)
    named = may_be_saved(arguments)
    dag = None if named else make()[0]
    with open_client(master) as client:
        if named and saved_of(client, arguments[0]) is not None:
            handle = client.pipelines.run(arguments[0], agent_run_id=group, deadline=deadline)
            print(json.dumps({"run": handle.id}) if as_json else handle.id, flush=True)
            return
        dag = dag or make()[0]
        handle = submit_dag(client, dag, quiet=as_json)
        print(json.dumps({"run": handle.id}) if as_json else handle.id, flush=True)
        if not as_json:
            _print_unmet(client, dag, private=False)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--timeout", type=float, help="Stop waiting after this many seconds; the run goes on.  Exit code 1.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@master_option
@json_option
def wait(run_id: str, timeout: float | None, quiet: bool, master: str | None, as_json: bool) -> None:
    """Follow a run until it is over. Exit with 0 if every job COMPLETED, else 1."""
    with open_client(master) as client:
        if timeout is not None:
            try:
                summary = client.run(run_id).wait(timeout)
            except TimeoutError:
                print(f"titan: run {run_id} is not over after {timeout:g} s; it is still running", file=sys.stderr)
                click.get_current_context().exit(EXIT_FAILED)
        else:
            summary = follow(client, run_id, quiet=quiet or as_json)
        if as_json:
            print(json.dumps(asdict(summary)))
        elif not summary.ok:
            _print_failures(client, client.status(run_id), _master_option(master))
        lost = report_lost_output(client, summary)
    click.get_current_context().exit(0 if summary.ok and not lost else EXIT_FAILED)


class _About(NamedTuple):
    """Facts about a running DAG, for display."""

    name: str
    size: int
    first: str
    last: str
    """The only job without children, "" if there are several. Its output is the run's output."""

    @classmethod
    def of(cls, dag: DAG) -> _About:
        return cls(dag.name, dag.size, dag.jobs[0].id, _only_sink([(job.id, job.parents) for job in dag.jobs]))

    @classmethod
    def of_saved(cls, pipeline: Pipeline) -> _About:
        dag = pipeline.dag
        return cls(dag.name, len(dag.ids), dag.ids[0], _only_sink(list(zip(dag.ids, dag.parents, strict=True))))


# -- the DAG to run --------------------------------------------------------------------------------
def may_be_saved(arguments: tuple[str, ...]) -> bool:
    """Return whether there is a single argument that may name a saved pipeline and is no file."""
    first, *rest = arguments
    is_file = "/" in first or first.endswith((".yaml", ".yml", ".py", ".sh", ".jar")) or Path(first).exists()
    return not rest and not is_file and match_name(first) is not None


def saved_of(client: Client, name: str) -> Pipeline | None:
    try:
        return client.pipelines.get(name)
    except NotFound:
        return None


# -- the cluster that runs it ----------------------------------------------------------------------
class _Cluster(NamedTuple):
    client: Client
    private: bool
    failures: list[str]
    """The reason why the private cluster failed, if it did. The main thread is interrupted then."""
    later: str | None
    """Options with which a later command finds the run; None if the cluster is removed."""


@contextmanager
def _client_or_cluster(
    master: str | None,
    home: Path | None,
    base_folder: Path,
    *,
    workers: int,
    slots: int | None,
    ephemeral: bool,
    forks: ForkedServers,
) -> Iterator[_Cluster]:
    if home is None or master:
        try:
            client = Client(master)
            client.open()
        except MasterUnreachable:
            if master or os.environ.get(VARIABLE):
                raise
        else:
            with contextlib.closing(client):
                yield _Cluster(client, False, [], _master_option(master))
            return
    folder = home or base_folder / DEFAULT_HOME
    scratch = tempfile.mkdtemp(prefix="titan-") if ephemeral else None
    try:
        with (
            LocalCluster(Path(scratch) if scratch else folder, workers=workers, slots=slots, forks=forks) as cluster,
            Client(cluster.address) as client,
        ):
            failures: list[str] = []

            def give_up(why: str) -> None:
                failures.append(why)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

            cluster.watch_in_thread(give_up)
            yield _Cluster(client, True, failures, None if ephemeral else _home_option(folder))
    finally:
        if scratch:
            remove_folder(scratch, ignore_errors=True)


def _give_up(handle: Run, why: str) -> NoReturn:
    """Cancel the run, because the private cluster has failed, and exit."""
    print(f"\ntitan: {why}: the run has failed", file=sys.stderr)
    if not why.startswith("the master"):
        with contextlib.suppress(TitanError, KeyboardInterrupt):
            handle.cancel()
    raise click.exceptions.Exit(EXIT_FAILED)


def _master_option(master: str | None) -> str:
    return f" --master {master}" if master else ""


def _home_option(folder: Path) -> str:
    return "" if folder.resolve() == DEFAULT_HOME.resolve() else f" --home {shlex.quote(str(folder))}"


# -- output ----------------------------------------------------------------------------------------
def _print_unmet(client: Client, dag: DAG, *, private: bool) -> None:
    """Report demands that no worker can meet, since a run that waits for them seems to hang.

    The workers of a private cluster have not registered yet, so their facts are computed here.
    """
    for line in describe_unmet(dag, _own_workers(dag) if private else client.workers(), client.address):
        print(f"titan: {line}", file=sys.stderr)


def _own_workers(dag: DAG) -> list[WorkerStatus]:
    """Return the status with which a private cluster's workers will register."""
    resources: dict[str, str | int | float] = {}
    if asks_for_resources(dag):
        from titan.worker.devices import find_resources
        from titan.worker.translation import facts

        resources = facts(find_resources())
    return [WorkerStatus("", "ALIVE", ("GENERAL",), 1, 0, 0.0, 0.0, resources)]


def _follow_run(client: Client, handle: Run, dag: _About, *, quiet: bool, as_json: bool) -> RunSummary:
    if dag.size == 1 and not as_json:
        _copy_output(client, f"{handle.id}/{dag.first}", follow_=True)
        return handle.wait()
    return follow(client, handle.id, quiet=quiet or as_json)


def _conclude(cluster: _Cluster, summary: RunSummary, dag: _About, *, quiet: bool, as_json: bool) -> None:
    client = cluster.client
    if as_json:
        print(json.dumps(client.status(summary.run).to_dict()))
        return
    took = (summary.finished_at or 0.0) - summary.submitted_at
    if not summary.ok:
        _print_failures(client, client.status(summary.run), cluster.later)
    elif dag.size > 1 and dag.last:
        _copy_output(client, f"{summary.run}/{dag.last}", follow_=False)
    if not quiet:
        tally = ", ".join(f"{n} {state}" for state, n in summary.tally.items())
        print(f"run {summary.run} {summary.state} in {took:.2f} s: {tally}", file=sys.stderr)


def _only_sink(jobs: list[tuple[str, tuple[str, ...]]]) -> str:
    parents = {parent for _, parents in jobs for parent in parents}
    sinks = [name for name, _ in jobs if name not in parents]
    return sinks[0] if len(sinks) == 1 else ""


def _copy_output(client: Client, target: str, *, follow_: bool) -> None:
    shown = 0
    for stream, data in client.logs(target, follow=follow_):
        out = (sys.stdout if stream == 1 else sys.stderr).buffer
        if not follow_:
            if stream != 1:
                continue
            data = data[: SHOWN_OUTPUT - shown]  # noqa: PLW2901
            shown += len(data)
        out.write(data)
        out.flush()


def _print_failures(client: Client, run: RunStatus, later: str | None) -> None:
    """Print the dead jobs, the end of each job's stderr, and the commands that show more."""
    dead = [job for job in run.jobs if job.state == "DEAD"]
    for job in dead[:5]:
        where = f"{run.run}/{job.id}"
        print(
            f"\n{where} is DEAD after {job.attempt} attempt{'s' if job.attempt != 1 else ''}: {one_line(job.reason)}",
            file=sys.stderr,
        )
        output = b"".join(data for stream, data in client.logs(where) if stream == 2)
        lines = output.decode(errors="replace").splitlines()
        for line in lines[-TAIL_LINES:]:
            print(f"  {line}", file=sys.stderr)
        if later is not None:
            print(f"  (titan logs {where}{later}, titan status {where}{later})", file=sys.stderr)
    if len(dead) > 5:
        hint = "" if later is None else f": titan dlq {run.run}{later}"
        print(f"\nand {len(dead) - 5} more dead jobs{hint}", file=sys.stderr)
