"""`titan store`: a standalone TitanStore, or a command for the store in a master."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from titan.cli.options import file_path, home_option, json_option, master_option, parent_options, start_logging
from titan.cli.replies import json_value, lines
from titan.cli.serve import PASSWORD, run_server, store_password
from titan.cli.session import open_client
from titan.errors import CallerError
from titan.host.privacy import seclude

STORE_HOME = Path(".titan-store")


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, metavar="[COMMAND [ARGS]...]")
@home_option("Directory of its journal.  [default: .titan-store]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=6379, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
@click.option(
    "--fsync", type=click.Choice(["always", "everysec", "no"]), default="always", show_default=True, help="As for `titan master`."
)
@click.option("--journal", type=click.Choice(["disk", "none"]), default="disk", show_default=True, help="none: keep no journal.")
@click.option(
    "--config", "options", multiple=True, metavar="NAME=VALUE", help="As CONFIG SET, e.g. maxmemory=1gb; may be repeated."
)
@click.option(
    "--password-file",
    type=file_path,
    metavar="FILE",
    help="File whose first line is the password for AUTH. The variable TITAN_STORE_PASSWORD does the same.",
)
@click.option("--insecure", is_flag=True, help="Listen on an address that others can reach.")
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@master_option
@json_option
@parent_options
def store(
    command: tuple[str, ...],
    home: Path | None,
    host: str,
    port: int,
    fsync: str,
    journal: str,
    options: tuple[str, ...],
    password_file: Path | None,
    insecure: bool,
    quiet: bool,
    master: str | None,
    as_json: bool,
    parent_fd: int | None,
    ready_fd: int | None,
) -> None:
    """Execute a COMMAND in the store of a master, or run a standalone store. A COMMAND is written
    as for redis-cli; exit code 1 if the key does not exist. Without a COMMAND, any Redis client can
    use the standalone store.

    titan store set greeting "hello"; titan store get greeting; titan store --port 6379
    """
    if command:
        _ask(master, command, as_json=as_json)
        return
    from titan.journal import SyncPolicy
    from titan.master.store.server import StoreServer

    start_logging(quiet=quiet)
    seclude()
    config: dict[str, str] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise CallerError(f"--config {text}: write NAME=VALUE, for example maxmemory=1gb")
        if name.lower() == "requirepass":
            raise CallerError(
                f"--config requirepass: every user of this machine can read command lines: use --password-file or {PASSWORD}"
            )
        config[name] = value
    server = StoreServer(
        home or STORE_HOME,
        host=host,
        port=port,
        policy=SyncPolicy(fsync) if journal == "disk" else None,
        insecure=insecure,
        password=store_password(password_file),
        config=config,
    )
    run_server(server, parent_fd, ready_fd)


def _ask(master: str | None, command: tuple[str, ...], *, as_json: bool) -> None:
    with open_client(master) as client:
        reply = client.store.execute(*(argument.encode(errors="surrogateescape") for argument in command))
    if as_json:
        print(json.dumps(json_value(reply)))
    else:
        for line in lines(reply):
            # values come from other programs: they are escaped on a terminal, and printed byte for
            # byte into a pipe
            if sys.stdout.isatty():
                print(line.decode("utf-8", "backslashreplace"))
            else:
                sys.stdout.buffer.write(line + b"\n")
    if reply is None:
        sys.exit(1)
