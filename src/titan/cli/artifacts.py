"""`titan artifacts` and `titan artifact`: published files, and outputs of jobs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from titan.cli.cells import clock_text
from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.targets import find_run
from titan.errors import EnvironmentFault, NotFound
from titan.model.sizes import size_text
from titan.sdk.artifacts import Artifact
from titan.sdk.client import Client

_HOME = "Ask the master of this home; if none runs, read the home."


@click.command()
@click.argument("prefix", required=False, default="")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 10_000))
@master_option
@home_option(_HOME)
@wide_option
@json_option
def artifacts(prefix: str, limit: int, master: str | None, home: Path | None, as_json: bool) -> None:
    """List the published files whose keys begin with PREFIX. With a RUN as PREFIX, list the files
    that it published and the outputs of its jobs."""
    with open_client(master, home=home, offline=True) as client:
        found = client.artifacts(prefix, limit)
        if not found and prefix:
            named = _of_named_run(client, prefix)
            found = client.artifacts(named, limit) if named else found
    if as_json:
        print(json.dumps([asdict(info) for info in found]))
        return
    if not found:
        print("no artifacts" + (f" of {prefix}" if prefix else "; for those of a run: titan artifacts RUN"))
        return
    rows = [
        (f"{a.key}/" if a.is_folder else a.key, size_text(a.size), a.hash[:12], clock_text(a.published_at), a.by or "a client")
        for a in found
    ]
    print_table(("KEY", "SIZE", "HASH", "AT", "BY"), rows)


def _of_named_run(client: Client, key: str) -> str:
    """Return the key with its first part (`last`, a DAG's name, the beginning of an id) replaced by
    the id of that run. Return "" if it names no run or is already a full id. Raises CallerError for
    a beginning that several ids have."""
    name, slash, rest = key.partition("/")
    try:
        run = find_run(client, name)
    except NotFound:
        return ""
    return "" if run == name else f"{run}{slash}{rest}"


def _find(client: Client, key: str, version: str) -> Artifact:
    """Return a shared artifact, else one of the run that the key's first part names."""
    try:
        return client.artifact(key, version=version)
    except NotFound:
        named = _of_named_run(client, key) if "/" in key else ""
        if not named:
            raise
        return client.artifact(named, version=version)


@click.group()
def artifact() -> None:
    """Get, put or remove a published file or folder."""


@artifact.command()
@click.argument("key")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--version", default="", metavar="HASH", help="An older version, by the beginning of its hash.")
@master_option
@home_option(_HOME)
@json_option
def get(key: str, path: Path, version: str, master: str | None, home: Path | None, as_json: bool) -> None:
    """Write the artifact KEY or RUN/KEY, or the output RUN/JOB.OUTPUT, to PATH."""
    with open_client(master, home=home, offline=True) as client:
        found = _find(client, key, version)
        try:
            found.download(path)
        except OSError as error:
            raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}") from None
    if as_json:
        print(json.dumps({"key": found.key, "hash": found.hash, "size": found.size, "path": str(path)}))
    else:
        print(f"{path}: {found.key}, {size_text(found.size)}, {found.hash[:12]}")


@artifact.command()
@click.argument("key")
@click.argument("path", type=click.Path(path_type=Path))
@master_option
@json_option
def put(key: str, path: Path, master: str | None, as_json: bool) -> None:
    """Publish the file or folder PATH as the shared KEY."""
    with open_client(master) as client:
        try:
            info = client.publish(key, path)
        except OSError as error:
            raise EnvironmentFault(f"{path} cannot be read: {error.strerror or error}") from None
    print(json.dumps(asdict(info)) if as_json else f"{info.key}: {size_text(info.size)}, {info.hash[:12]}")


@artifact.command()
@click.argument("key")
@master_option
@json_option
def rm(key: str, master: str | None, as_json: bool) -> None:
    """Remove the shared KEY with all its versions. Artifacts of a run are removed with the run."""
    with open_client(master) as client:
        client.remove_artifact(key)
    print(json.dumps({"removed": key}) if as_json else f"{key} is removed")
