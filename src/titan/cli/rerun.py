"""`titan rerun`: submit a run again; `titan push`: upload a file for later runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from titan.cli.options import file_path, json_option, master_option, no_cache_option
from titan.cli.session import open_client
from titan.cli.targets import find_target


@click.command()
@click.argument("target", metavar="RUN|RUN/JOB")
@click.option("--new-files", is_flag=True, help="Read the pipeline, and the files of its jobs, again from where they were.")
@no_cache_option
@master_option
@json_option
def rerun(target: str, new_files: bool, no_cache: bool, master: str | None, as_json: bool) -> None:
    """Submit a run again as a new run, with the files and arguments that it had; print the id of
    the new run. With RUN/JOB: only that job and the jobs that depend on it.

    With --new-files, today's pipeline file and today's scripts run, if they are on this machine. To
    run only the DEAD jobs of a run again, within the same run, use `titan dlq retry RUN`.
    """
    with open_client(master) as client:
        target = find_target(client, target)
        run = client.rerun(target, new_files=new_files, cache=not no_cache)
    print(json.dumps({"run": run.id, "of": target}) if as_json else run.id)


@click.command()
@click.argument("file", type=file_path)
@click.option("--name", default="", metavar="NAME", help="Name on the master, may have folders.  [default: that of the file]")
@master_option
@json_option
def push(file: Path, name: str, master: str | None, as_json: bool) -> None:
    """Upload a file to the master's perm_files/. Jobs use it as `file: perm:NAME`; an older file of
    this name is replaced for later runs."""
    with open_client(master) as client:
        stored = client.push(file, name)
    print(json.dumps({"name": stored}) if as_json else f"{file} is perm:{stored} now")
