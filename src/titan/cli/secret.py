"""`titan secret`: values that jobs get and no command shows."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.errors import CallerError
from titan.host.core_dumps import forbid_core_dumps
from titan.model.secrets import MAX_VALUE, new_name_problem

_HOME = "Home of a private cluster, for when no master answers.  [default: .titan here]"


@click.group()
def secret() -> None:
    """Manage values that jobs get in their environment. They are encrypted on the master's disk,
    masked in the output of jobs, and never shown."""


@secret.command("set")
@click.argument("name")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), metavar="F", help="Read the value from a file.")
@master_option
@home_option("Home of the cluster, if no master answers; created if missing.  [default: TITAN_HOME, else .titan here]")
@json_option
def set_(name: str, file: Path | None, master: str | None, home: Path | None, as_json: bool) -> None:
    """Set a secret, from a file, from stdin, or from a prompt. Jobs find it in the environment
    variable NAME.

    If the value is a single line, the newline at its end is removed. Running jobs keep the old
    value; jobs that start later get the new one.
    """
    forbid_core_dumps()
    if problem := new_name_problem(name):
        raise CallerError(problem)
    value = _value(name, file)
    with open_client(master, home=home, offline=True, make=True) as client:
        stored = client.secrets.set(name, value)
    print(json.dumps(asdict(stored)) if as_json else f"secret {stored.name} is set, version {stored.version}")


@secret.command("list")
@master_option
@home_option(_HOME)
@wide_option
@json_option
def list_(master: str | None, home: Path | None, as_json: bool) -> None:
    """List the names, the time at which each was set, and its version."""
    with open_client(master, home=home, offline=True) as client:
        found = client.secrets.list()
    if as_json:
        print(json.dumps([asdict(secret) for secret in found]))
    elif not found:
        print("no secrets")
    else:
        rows = [
            (secret.name, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(secret.set_at)), str(secret.version))
            for secret in found
        ]
        print_table(("NAME", "SET", "VERSION"), rows)


@secret.command()
@click.argument("name")
@master_option
@home_option(_HOME)
@json_option
def remove(name: str, master: str | None, home: Path | None, as_json: bool) -> None:
    """Remove a secret. Running jobs keep it. A job that starts later and needs it is DEAD at
    once."""
    with open_client(master, home=home, offline=True) as client:
        client.secrets.remove(name)
    print(json.dumps({"name": name, "removed": True}) if as_json else f"secret {name} is removed")


def _value(name: str, file: Path | None) -> bytes:
    if file is not None:
        try:
            with file.open("rb") as source:
                return _trimmed(source.read(MAX_VALUE + 3))
        except OSError as e:
            raise CallerError(f"--file {file} cannot be read: {e.strerror}") from e
    if sys.stdin.isatty():
        asked: str = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return asked.encode("utf-8", "surrogateescape")
    return _trimmed(sys.stdin.buffer.read(MAX_VALUE + 3))


def _trimmed(data: bytes) -> bytes:
    """Return `data` without the newline that `echo` and editors add to a single line."""
    if data.endswith(b"\n") and data.count(b"\n") == 1:
        return data[:-2] if data.endswith(b"\r\n") else data[:-1]
    return data
