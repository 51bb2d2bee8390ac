"""`titan dashboard`, `titan open`, `titan token`: the HTTP API, links to it, and tokens for it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from titan.cli.options import home_option, json_option, master_option
from titan.cli.signals import interrupt_on_sigterm
from titan.cli.table import print_table, wide_option
from titan.errors import EnvironmentFault, MasterUnreachable
from titan.host.home_lock import is_locked
from titan.sdk.address import address_of_home, default_home, find_address

if TYPE_CHECKING:
    from titan.dashboard.access import Access

DEFAULT_PORT = 9080
_HOME = "Home of the dashboard's key and tokens.  [default: TITAN_HOME, else .titan here]"
_role = click.option(
    "--role",
    type=click.Choice(["viewer", "operator"]),
    default="operator",
    show_default=True,
    help="viewer: may only read.",
)


@contextmanager
def _extra() -> Iterator[None]:
    """Say how to install what the dashboard needs, if it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("litestar", "uvicorn", "itsdangerous"):
            raise
        raise EnvironmentFault(
            f"the dashboard needs the package {error.name}: pip install 'titan-orchestrator[dashboard]'"
        ) from error


@click.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--name", "names", multiple=True, metavar="HOST", help="Further host name, for a proxy in front. May be repeated.")
@master_option
@home_option(_HOME)
def dashboard(port: int, names: tuple[str, ...], master: str | None, home: Path | None) -> None:
    """Serve the HTTP API of a cluster on this machine, and print a link to it. Ctrl-C stops it.

    It listens on 127.0.0.1. From another machine, use ssh -L 9080:127.0.0.1:9080 HOST, or a proxy
    with TLS and --name.
    """
    folder = home or default_home()
    address = master or address_of_home(folder) or "{}:{}".format(*find_address(None))
    with _extra():
        from titan.dashboard.server import open_port, serve
    listener = open_port(port)
    bound = listener.getsockname()[1]

    def ready() -> None:
        print(f"titan: the HTTP API of {address} is at {_link(folder, bound, 'operator')}", file=sys.stderr, flush=True)
        print("titan: the link works once, for 60 s; another: titan open", file=sys.stderr, flush=True)

    interrupt_on_sigterm()
    try:
        serve(address, folder, listener, names=names, ready=ready)
    except KeyboardInterrupt:
        print("titan: the dashboard stops", file=sys.stderr)


@click.command("open")
@_role
@home_option(_HOME)
@json_option
def open_(role: str, home: Path | None, as_json: bool) -> None:
    """Print a link that signs a browser in to the HTTP API. It works once, for 60 s."""
    folder = home or default_home()
    try:
        port = int(json.loads((folder / "dashboard" / "dashboard.json").read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        port = 0
    if not port or not is_locked(folder / "dashboard" / "lock"):
        raise MasterUnreachable(f"no dashboard runs on {folder}: start one with `titan dashboard`")
    link = _link(folder, port, role)
    print(json.dumps({"link": link}) if as_json else link)


def _link(folder: Path, port: int, role: str) -> str:
    from titan.dashboard.access import Role
    from titan.sdk.identity import actor

    return f"http://127.0.0.1:{port}/login?link={_access(folder).new_link(actor(), Role(role))}"


def _access(folder: Path) -> Access:
    with _extra():
        from titan.dashboard.access import Access

        return Access(folder)


@click.group()
def token() -> None:
    """Manage the API tokens of programs. A token is sent as `Authorization: Bearer TOKEN`."""


@token.command()
@click.argument("name")
@_role
@home_option(_HOME)
@json_option
def create(name: str, role: str, home: Path | None, as_json: bool) -> None:
    """Make a token and print it. It is shown only now."""
    from titan.sdk.identity import actor

    access = _access(home or default_home())
    from titan.dashboard.access import Role

    text = access.new_token(name, Role(role), actor())
    print(json.dumps({"name": name, "role": role, "token": text}) if as_json else text)


@token.command("list")
@home_option(_HOME)
@wide_option
@json_option
def list_(home: Path | None, as_json: bool) -> None:
    """List the tokens, without their texts."""
    found = _access(home or default_home()).tokens()
    if as_json:
        keys = ("name", "role", "created_at", "created_by")
        print(json.dumps([{key: getattr(token, key) for key in keys} for token in found]))
    elif not found:
        print("no tokens")
    else:
        made = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(token.created_at)) for token in found]
        rows = [(token.name, str(token.role), at, token.created_by) for token, at in zip(found, made, strict=True)]
        print_table(("NAME", "ROLE", "CREATED", "BY"), rows)


@token.command()
@click.argument("name")
@home_option(_HOME)
@json_option
def remove(name: str, home: Path | None, as_json: bool) -> None:
    """Remove a token. Programs that use it are refused at once."""
    _access(home or default_home()).remove_token(name)
    print(json.dumps({"removed": name}) if as_json else f"token {name} removed")
