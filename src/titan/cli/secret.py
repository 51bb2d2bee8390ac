"""`titan secret`: values that jobs are given and nobody is shown."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from titan.cli.ask import print_table
from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.errors import CallerError
from titan.host.core_dumps import forbid_core_dumps
from titan.model.secrets import MAX_VALUE

_HOME = "Of a private cluster, if none answers.  [default: .titan here]"


@click.group()
def secret() -> None:
    """Values that jobs get in their environment. Sealed on the master's disk, masked in what jobs
    print, shown to nobody."""


@secret.command("set")
@click.argument("name")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), metavar="F", help="Read the value from a file.")
@master_option
@home_option("Of a private cluster, if none answers; made if need be.  [default: .titan here, if it is there]")
@json_option
def set_(name: str, file: Path | None, master: str | None, home: Path | None, as_json: bool) -> None:
    """Keep a value under NAME, which is the variable that jobs find it in: from a file, from stdin,
    or asked for.

    A newline at the end of a single line is taken off. What runs keeps the value it has, what
    starts later has this one.
    """
    forbid_core_dumps()
    value = _value(name, file)
    with open_client(master, home=home, offline=True, make=True) as client:
        done = client.secrets.set(name, value)
    print(json.dumps(asdict(done)) if as_json else f"secret {done.name} is set, version {done.version}")


@secret.command("list")
@master_option
@home_option(_HOME)
@json_option
def list_(master: str | None, home: Path | None, as_json: bool) -> None:
    """The names, when each was set, and how often."""
    with open_client(master, home=home, offline=True) as client:
        found = client.secrets.list()
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
    elif not found:
        print("no secrets")
    else:
        rows = [(one.name, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.set_at)), str(one.version)) for one in found]
        print_table(("NAME", "SET", "VERSION"), rows)


@secret.command()
@click.argument("name")
@master_option
@home_option(_HOME)
@json_option
def remove(name: str, master: str | None, home: Path | None, as_json: bool) -> None:
    """Forget a secret. What runs keeps it; a job that starts later and asks for it is DEAD at once."""
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
    """Without the newline that `echo` and editors put behind a single line."""
    if data.endswith(b"\n") and data.count(b"\n") == 1:
        return data[:-2] if data.endswith(b"\r\n") else data[:-1]
    return data
