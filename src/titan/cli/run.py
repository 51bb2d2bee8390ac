"""`titan submit`, `titan wait`, and the part of `titan run` that follows its forks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from titan.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED
from titan.cli.follow import follow, report_lost_output
from titan.cli.follow import submit as submit_dag
from titan.cli.local_cluster import LocalCluster
from titan.cli.options import DEFAULT_HOME, deadline_option, group_option, json_option, master_option, python_option
from titan.cli.prefork import ForkedServers
from titan.cli.session import open_client
from titan.cli.terminal import one_line
from titan.errors import CallerError, MasterUnreachable, NotFound, TitanError
from titan.host.remove_folder import remove_folder
from titan.model.names import match_name
from titan.protocol.messages import Pipeline
from titan.sdk.address import VARIABLE
from titan.sdk.client import Client
from titan.sdk.job import DAG, Job
from titan.sdk.run import Run
from titan.sdk.status import RunStatus, RunSummary, WorkerStatus
from titan.sdk.unmet import asks_for_resources, describe_unmet

TAIL_LINES = 20
SHOWN_OUTPUT = 256 * 1024
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def execute(
    forks: ForkedServers,
    *,
    master: str | None,
    workers: int,
    slots: int | None,
    home: Path | None,
    ephemeral: bool,
    retries: int,
    requirement: tuple[str, ...],
    cpus: float,
    memory: str,
    gpus: int,
    limits: tuple[str, ...],
    secrets: tuple[str, ...],
    python: str | None,
    deadline: float | None,
    group: str,
    quiet: bool,
    as_json: bool,
    arguments: tuple[str, ...],
) -> NoReturn:
    """Execute `titan run`; see `titan.cli.run_command`."""
    demand = _Demand(requirement or ("GENERAL",), cpus, memory, gpus, secrets)
    make = partial(dag_of, retries=retries, demand=demand, python=python, deadline=deadline, limits=limits, group=group)
    named = may_be_saved(arguments)
    dag, base_folder = (None, Path.cwd()) if named else make(arguments)
    with _client_or_cluster(master, home, base_folder, workers=workers, slots=slots, ephemeral=ephemeral, forks=forks) as cluster:
        client = cluster.client
        saved = saved_of(client, arguments[0]) if named else None
        if saved is None:
            dag = dag or make(arguments)[0]
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
    click.get_current_context().exit(0 if summary.ok and not lost else EXIT_FAILED)


@click.command()
@click.argument("file", metavar="FILE|NAME")
@python_option
@deadline_option
@group_option
@master_option
@json_option
def submit(file: str, python: str | None, deadline: float | None, group: str, master: str | None, as_json: bool) -> None:
    """Submit a pipeline or script, and return at once. A pipeline is a file or the NAME of a saved
    one. The run outlives this terminal, and restarts of the master."""
    named = may_be_saved((file,))
    dag = None if named else dag_of((file,), retries=3, python=python, deadline=deadline, group=group)[0]
    with open_client(master) as client:
        if named and saved_of(client, file) is not None:
            handle = client.pipelines.run(file, agent_run_id=group, deadline=deadline)
            print(json.dumps({"run": handle.id}) if as_json else handle.id, flush=True)
            return
        dag = dag or dag_of((file,), retries=3, python=python, deadline=deadline, group=group)[0]
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


class _Demand(NamedTuple):
    """Resources and secrets that a single file or command needs."""

    requirement: tuple[str, ...] = ("GENERAL",)
    cpus: float = 0.0
    memory: str = "0"
    gpus: int = 0
    secrets: tuple[str, ...] = ()


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
def dag_of(
    arguments: tuple[str, ...],
    *,
    retries: int,
    python: str | None,
    deadline: float | None,
    demand: _Demand | None = None,
    limits: tuple[str, ...] = (),
    group: str = "",
) -> tuple[DAG, Path]:
    """Return the DAG, and the folder in which a private cluster has its home.

    `deadline` and `group` override those of the pipeline.
    """
    dag, base_folder = _dag_of(arguments, retries=retries, demand=demand or _Demand(), python=python, limits=limits)
    if group:
        dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, dag.deadline, group)
    if deadline is not None:
        dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, deadline, dag.agent_run_id)
    return dag, base_folder


def _dag_of(
    arguments: tuple[str, ...], *, retries: int, demand: _Demand, python: str | None, limits: tuple[str, ...] = ()
) -> tuple[DAG, Path]:
    first, *args = arguments
    path = Path(first)
    if first.endswith((".yaml", ".yml")):
        from titan.sdk.pipeline import load_pipeline

        if python is not None:
            raise CallerError(f"--python is for a single .py file: in {first} write python: {python}")
        if limits:
            raise CallerError(f"--limit is for a single file or command: in {first} write limits: {{memory: 512MiB}} with a job")
        if demand.secrets:
            raise CallerError(
                f"--secret is for a single file or command: in {first} write secrets: [{demand.secrets[0]}] with a job"
            )
        if args:
            raise CallerError(f"a pipeline takes no arguments: remove {' '.join(args)!r}")
        return load_pipeline(path), path.resolve().parent
    if path.is_dir():
        raise CallerError(f"{first} is a folder: pass a pipeline, a script or a command")
    name = _NOT_IN_NAMES.sub("-", path.name).strip("-.")[:100] or "job"
    if path.is_file() and (path.suffix in (".py", ".sh", ".jar") or "/" in first):
        job = Job(name, file=path, args=args, retries=retries, python=python, limits=_limits_of(limits), **demand._asdict())
        return DAG(path.name, [job]), path.resolve().parent
    if path.suffix in (".py", ".sh", ".jar") and not shutil.which(first):
        raise CallerError(f"file {first} does not exist")
    if python is not None:
        raise CallerError(f"--python is for a .py file: {first} would be run as a command")
    if not shutil.which(first):
        _refuse_typos(first, path)
    job = Job(name, command=list(arguments), retries=retries, limits=_limits_of(limits), **demand._asdict())
    return DAG(" ".join(arguments)[:200].encode("ascii", "replace").decode() or "command", [job]), Path.cwd()


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


def _limits_of(texts: tuple[str, ...]) -> dict[str, str | float] | None:
    for text in texts:
        if "=" not in text:
            raise CallerError(f"--limit {text}: write NAME=AMOUNT, for example memory=512MiB")
    return {name: amount for name, _, amount in (text.partition("=") for text in texts)} or None


def _refuse_typos(first: str, path: Path) -> None:
    """Raise an error if `first` looks like a typo of an option, a file or a shell command.

    Any other unknown command passes, because the worker may have it.
    """
    if first.startswith("-"):
        raise click.NoSuchOption(first, ctx=click.get_current_context())
    if path.is_file():
        raise CallerError(f"{first} is a file, not a command: to run it, write ./{first}")
    if any(c.isspace() for c in first):
        raise CallerError(f"there is no command named {first!r}: remove the quotes, or use: titan run -- sh -c {first!r}")


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
