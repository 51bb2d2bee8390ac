"""`titan submit`, `titan wait`, and the part of `titan run` that follows its forks."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click

from titan.cli.exits import EXIT_FAILED, EXIT_INTERRUPTED
from titan.cli.follow import follow, report_absence, report_lost_output, services_left
from titan.cli.follow import submit as submit_dag
from titan.cli.job_options import JobOptions, callers_environment, dag_of, dags_of, job_options, take_job_options
from titan.cli.local_cluster import LocalCluster
from titan.cli.options import deadline_option, exit_code_option, group_option, json_option, master_option, no_cache_option
from titan.cli.outcome import About, code_of_job, conclude, follow_run, print_failures
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, is_pipeline, pipeline_options, take_pipeline_options
from titan.cli.prefork import ForkedServers
from titan.cli.seconds import SECONDS
from titan.cli.session import is_local, open_client
from titan.cli.sharing import SharedHome
from titan.cli.stdin import handed_on, is_piped
from titan.cli.targets import find_run
from titan.errors import MasterUnreachable, NotFound, TitanError
from titan.host.temporary_folder import temporary_folder
from titan.model.causes import UNNEEDED
from titan.model.names import match_name, shell_word
from titan.protocol.messages import Pipeline
from titan.sdk.address import HOME_VARIABLE, VARIABLE, address_of_home, default_home
from titan.sdk.client import Client
from titan.sdk.job import DAG
from titan.sdk.run import Run
from titan.sdk.status import RunSummary, WorkerStatus
from titan.sdk.unmet import asks_for_resources, describe_unmet

DEFAULT_WORKERS = 1
_FIXED = "applies only to a pipeline file: {name} was saved with its values; `titan save --replace {name} FILE` changes them"


def execute(
    forks: ForkedServers,
    *,
    master: str | None,
    workers: int | None,
    slots: int | None,
    keeping: Sequence[str],
    home: Path | None,
    ephemeral: bool,
    exit_code: str,
    job: JobOptions,
    pipeline: PipelineOptions,
    deadline: float | None,
    group: str,
    no_cache: bool,
    quiet: bool,
    as_json: bool,
    arguments: tuple[str, ...],
) -> NoReturn:
    """Execute `titan run`; see `titan.cli.run_command`."""
    named = may_be_saved(arguments)
    if named:
        job.check()  # before a private cluster starts
    dag = None if named else dag_of(arguments, job, pipeline, deadline=deadline, group=group)
    with (
        contextlib.ExitStack() as stack,
        _client_or_cluster(
            master, home, workers=workers, slots=slots, keeping=keeping, ephemeral=ephemeral, forks=forks
        ) as cluster,
    ):
        client = cluster.client
        saved = saved_of(client, arguments[0]) if named else None
        single = saved is None and not is_pipeline(arguments[0])
        if saved is None:
            if dag is None or single:
                place = stack.enter_context(_placed(cluster, arguments, job, single=single))
                dag = dag_of(arguments, place.options, pipeline, deadline=deadline, group=group, in_place=place.here)
            handle, about = submit_dag(client, dag, quiet=quiet or as_json, cache=not no_cache), About.of(dag)
        else:
            pipeline.refuse(_FIXED.format(name=arguments[0]))
            handle = client.pipelines.run(arguments[0], agent_run_id=group, deadline=deadline, cache=not no_cache)
            about = About.of_saved(saved)
        if not cluster.private:
            report_absence(client, f"titan attach {handle.id}{cluster.later or ''}")
        try:
            if not (quiet or as_json):
                jobs = f"{about.size:,} job{'s' if about.size != 1 else ''}"
                print(f"run {handle.id} of {about.name}, {jobs}, on {cluster.name}", file=sys.stderr)
                if dag is not None:
                    _print_unmet(client, dag, private=cluster.private)
                if dag is not None and single and not place.here:
                    _print_elsewhere(dag, job)
            summary = follow_run(client, handle, about, quiet=quiet, as_json=as_json)
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
        code = conclude(client, summary, about, later=cluster.later, quiet=quiet, as_json=as_json)
        if code and not summary.ok and exit_code == "job" and single:
            code = code_of_job(client, summary) or code
    click.get_current_context().exit(code)


class _Place(NamedTuple):
    """Where a single script or command runs."""

    here: bool
    """In the caller's folder, with its environment."""
    options: JobOptions


@contextmanager
def _placed(cluster: _Cluster, arguments: tuple[str, ...], job: JobOptions, *, single: bool) -> Iterator[_Place]:
    """Decide where a single script or command runs, and prepare its input and environment.

    It runs in the caller's folder if no other machine can get it and no option names a folder.
    """
    if not single:
        yield _Place(False, job)
        return
    local = cluster.private or cluster.joined or is_local(cluster.client)
    here = local and job.cwd is None and not job.project
    if here and not cluster.private:  # a worker that somebody else has started has another environment
        job = replace(job, base_env=callers_environment())
    if job.no_stdin or not is_piped():
        yield _Place(here, job)
        return
    with handed_on(in_place=here or (local and job.cwd is not None), repeatable=job.may_repeat) as path:
        yield _Place(here, replace(job, stdin=path))


def _print_elsewhere(dag: DAG, job: JobOptions) -> None:
    """Say that the caller's folder does not travel, unless an option says where the job runs."""
    if job.cwd is None and not job.project:
        what = "the script" if dag.jobs[0].file else "the command"
        print(
            f"titan: {what} runs in an empty folder of its own, on another machine: --project sends this folder along",
            file=sys.stderr,
        )


@click.command(cls=PipelineCommand, context_settings={"ignore_unknown_options": True})
@pipeline_options
@job_options
@deadline_option
@group_option
@no_cache_option
@master_option
@json_option
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE [ARGS]... | NAME | -- COMMAND [ARGS]..."
)
def submit(
    deadline: float | None,
    group: str,
    no_cache: bool,
    master: str | None,
    as_json: bool,
    arguments: tuple[str, ...],
    **options: Any,
) -> None:
    """Submit a pipeline, a script or a command, and return at once. A pipeline is a .yaml file, of
    which each document becomes a run, or the NAME of a saved one. The run outlives this terminal,
    and restarts of the master.

    A script or command runs in an empty folder on a worker, unless --cwd names a folder there.
    """
    job, pipeline = take_job_options(options, retries=3), take_pipeline_options(options)
    with contextlib.ExitStack() as stack:
        if not (job.no_stdin or is_pipeline(arguments[0])) and is_piped():
            job = replace(job, stdin=stack.enter_context(handed_on(in_place=False, repeatable=True)))
        make = partial(dags_of, arguments, job, pipeline, deadline=deadline, group=group)
        named = may_be_saved(arguments)
        dags = None if named else make()
        client = stack.enter_context(open_client(master))
        if named and saved_of(client, arguments[0]) is not None:
            pipeline.refuse(_FIXED.format(name=arguments[0]))
            handle = client.pipelines.run(arguments[0], agent_run_id=group, deadline=deadline, cache=not no_cache)
            print(json.dumps({"run": handle.id}) if as_json else handle.id, flush=True)
            return
        for dag in dags or make():
            handle = submit_dag(client, dag, quiet=as_json, cache=not no_cache)
            print(json.dumps({"run": handle.id}) if as_json else handle.id, flush=True)
            if not as_json:
                _print_unmet(client, dag, private=False)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@exit_code_option
@master_option
@json_option
def attach(run_id: str, quiet: bool, exit_code: str, master: str | None, as_json: bool) -> None:
    """Follow a run as `titan run` does, from its beginning: the output of its only job, else the
    states of its jobs. Ctrl-C leaves the run as it is."""
    with open_client(master) as client:
        run_id = find_run(client, run_id)
        summary, jobs = next(client.changes(run_id))
        about = About(summary.dag, summary.count, jobs[0].id if summary.count == 1 else "", "")
        report_absence(client, f"titan attach {run_id}{_master_option(master)}")
        try:
            summary = follow_run(client, client.run(run_id), about, quiet=quiet, as_json=as_json)
        except KeyboardInterrupt:
            later = _master_option(master)
            print(f"\ntitan: the run goes on (titan attach {run_id}{later}, titan cancel {run_id}{later})", file=sys.stderr)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        code = conclude(client, summary, about, later=_master_option(master), quiet=quiet, as_json=as_json)
        if code and not summary.ok and exit_code == "job":
            code = code_of_job(client, summary) or code
    click.get_current_context().exit(code)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="DURATION",
    help="Stop waiting after this time (90, 90s, 1h30m); the run goes on.  Exit code 1.",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@master_option
@json_option
def wait(run_id: str, timeout: float | None, quiet: bool, master: str | None, as_json: bool) -> None:
    """Follow a run until it is over, or until only READY services are left: those with `keep`. Exit
    with 0 if every job COMPLETED, else 1."""
    with open_client(master) as client:
        run_id = find_run(client, run_id)
        later = _master_option(master)
        report_absence(client, f"titan wait {run_id}{later}")
        if timeout is not None:
            try:
                summary = client.run(run_id).wait(timeout, services=False)
            except TimeoutError:
                print(f"titan: run {run_id} is not over after {timeout:g} s; it is still running", file=sys.stderr)
                click.get_current_context().exit(EXIT_FAILED)
        else:
            summary = follow(client, run_id, quiet=quiet or as_json, services=False)
        ok = summary.ok or (not summary.over and _all_completed(client, summary))
        if as_json:
            print(json.dumps(summary.to_dict()))
        elif not ok:
            print_failures(client, client.status(run_id), later)
        if not (summary.over or quiet or as_json):
            left = services_left(client, run_id)
            print(f"titan: services of {run_id} go on: {left}; stop them: titan stop {run_id}{later}", file=sys.stderr)
        lost = report_lost_output(client, summary)
    click.get_current_context().exit(0 if ok and not lost else EXIT_FAILED)


def _all_completed(client: Client, summary: RunSummary) -> bool:
    """Return whether no job of an open run is DEAD, and none is CANCELLED that was needed."""
    if summary.tally.get("CANCELLED"):
        cancelled = [job for job in client.status(summary.run).jobs if job.state == "CANCELLED"]
        if any(job.cause not in {cause.name for cause in UNNEEDED} for job in cancelled):
            return False
    return not summary.tally.get("DEAD")


# -- the DAG to run --------------------------------------------------------------------------------
def may_be_saved(arguments: tuple[str, ...]) -> bool:
    """Return whether there is a single argument that may name a saved pipeline and is no file."""
    first, *rest = arguments
    is_file = "/" in first or first.endswith((".yaml", ".yml", ".py", ".sh", ".jar")) or Path(first).exists()
    return not rest and not is_file and match_name(first) is not None


def saved_of(client: Client, name: str) -> Pipeline | None:
    """Return the saved pipeline of a name, None if there is none. Raises NotFound if the name looks
    like a typo of one and is no command here."""
    try:
        return client.pipelines.get(name)
    except NotFound:
        if not shutil.which(name) and (near := difflib.get_close_matches(name, [p.name for p in client.pipelines.list()], 1)):
            raise NotFound(f"there is no command and no saved pipeline {name!r}: did you mean `titan run {near[0]}`?") from None
        return None


# -- the cluster that runs it ----------------------------------------------------------------------
class _Cluster(NamedTuple):
    client: Client
    private: bool
    name: str
    """The cluster's address, or the home of a private cluster, for a message."""
    failures: list[str]
    """The reason why the private cluster failed, if it did. The main thread is interrupted then."""
    later: str | None
    """Options with which a later command finds the run; None if the cluster is removed."""
    joined: bool = False
    """The cluster is that of another command in the same home."""


@contextmanager
def _client_or_cluster(
    master: str | None,
    home: Path | None,
    *,
    workers: int | None,
    slots: int | None,
    keeping: Sequence[str],
    ephemeral: bool,
    forks: ForkedServers,
) -> Iterator[_Cluster]:
    existing = _existing(master, home)
    if existing is not None:
        with contextlib.closing(existing):
            _print_ignored(existing.address, workers=workers, slots=slots, keeping=keeping)
            yield _Cluster(existing, False, existing.address, [], _master_option(master))
        return
    with contextlib.ExitStack() as stack:
        if ephemeral:
            folder = stack.enter_context(temporary_folder())
            name, later, users = "a private cluster, which is removed afterwards", None, None
        else:
            folder = home or default_home()
            name, later = f"a private cluster (home {_short(folder)})", _home_option(folder)
            users = SharedHome(folder)
            stack.callback(users.close)
        starting = stack.enter_context(contextlib.ExitStack())
        if users is not None:
            starting.enter_context(users.starting())
            if address := address_of_home(folder):
                starting.close()
                _print_ignored(address, workers=workers, slots=slots, keeping=keeping)
                with Client(address) as client:
                    yield _Cluster(client, False, f"the cluster that runs in {_short(folder)}", [], later, joined=True)
                return
        count = DEFAULT_WORKERS if workers is None else workers
        cluster = LocalCluster(folder, workers=count, slots=slots, worker_options=keeping, forks=forks)
        stack.enter_context(cluster)
        starting.close()
        client = stack.enter_context(Client(cluster.address))
        failures: list[str] = []

        def give_up(why: str) -> None:
            failures.append(why)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        cluster.watch_in_thread(give_up)
        try:
            yield _Cluster(client, True, name, failures, later)
        finally:
            if users is not None and not failures and not users.take_alone():
                client.close()
                cluster.pass_on()


def _existing(master: str | None, home: Path | None) -> Client | None:
    """Return a client of the master that an option, the environment or this machine's default port
    names. None if the run is for the cluster of a home, or if no master answers. Raises
    MasterUnreachable for a named master that does not answer."""
    named = bool(master or (home is None and os.environ.get(VARIABLE)))
    if not named and (home is not None or os.environ.get(HOME_VARIABLE) or address_of_home(default_home())):
        return None
    client = Client(master)
    try:
        client.open()
    except MasterUnreachable:
        if named:
            raise
        return None
    return client


def _print_ignored(address: str, *, workers: int | None, slots: int | None, keeping: Sequence[str]) -> None:
    """Report options of a private cluster that an existing cluster ignores."""
    options = [name for name, value in (("--workers", workers), ("--slots", slots)) if value is not None]
    ignored = " and ".join(options + [option for option in keeping if option.startswith("--")])
    if ignored:
        print(f"titan: ignored, because the run goes to {address} and not to a private cluster: {ignored}", file=sys.stderr)


def _short(folder: Path) -> str:
    """Return the path as it is typed here."""
    full = folder.absolute()
    return str(full.relative_to(Path.cwd())) if full.is_relative_to(Path.cwd()) else str(full)


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
    return "" if folder.resolve() == default_home().resolve() else f" --home {shell_word(str(folder))}"


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
