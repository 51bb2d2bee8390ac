"""`titan master` and `titan worker`: the two processes of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import click
import msgspec

from titan.cli.keeping import keep_options, retention_of
from titan.cli.options import MASTER_HELP, file_path, folder_path, home_option, parent_options, start_logging
from titan.errors import CallerError
from titan.host.privacy import seclude
from titan.model.dag import MAX_CPUS
from titan.model.demand import MAX_GPUS
from titan.model.names import CAPABILITY_RULE, NAME_RULE, is_capability, is_name
from titan.model.settings import Settings
from titan.model.sizes import size_of
from titan.sdk.address import default_home

PASSWORD = "TITAN_STORE_PASSWORD"
"""The environment variable with the store's password."""


@click.command()
@home_option("Directory of the journal, logs and artifacts.  [default: .titan]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=9090, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 takes a free one.")
@click.option(
    "--fsync",
    type=click.Choice(["always", "everysec", "no"]),
    default="always",
    show_default=True,
    help="Sync the journal before each answer, once a second, or when the kernel does.",
)
@click.option("--journal", type=click.Choice(["disk", "none"]), default="disk", show_default=True, help="none: keep no journal.")
@click.option(
    "--set", "assignments", multiple=True, metavar="NAME=VALUE", help="An interval or limit, e.g. loss_s=10; may be repeated."
)
@click.option("--scale", multiple=True, metavar="TAG=MIN..MAX", help="Start burst workers here while jobs wait, e.g. GENERAL=0..8.")
@click.option("--burst-slots", type=click.IntRange(1, 65536), help="Jobs at once on each burst worker.  [default: 1]")
@click.option(
    "--burst-idle",
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="Idle time after which a burst worker is retired.  [default: 45]",
)
@click.option("--accept-clock", is_flag=True, help="Confirm the clock, though it is far ahead of the last time in the journal.")
@click.option("--insecure", is_flag=True, help="Listen on an address that others can reach.")
@click.option(
    "--webhook-secret-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key that signs the webhooks of gates.  [default: TITAN_WEBHOOK_SECRET, else webhook.secret in the home]",
)
@click.option(
    "--webhook-allow",
    multiple=True,
    metavar="HOST[:PORT]|RANGE",
    help="Allow webhooks to this target only; may be repeated.  [default: every host but this machine and link-local ones]",
)
@click.option(
    "--secrets-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File whose first line encrypts the secrets.  [default: TITAN_SECRETS_PASSPHRASE, else a key file]",
)
@click.option(
    "--secrets-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Key file that encrypts the secrets.  [default: secrets.key in the home, created with the first secret]",
)
@click.option("--store-port", type=click.IntRange(0, 65535), help="Port of TitanStore for Redis clients; 0 takes a free one.")
@click.option(
    "--store-password-file",
    type=file_path,
    metavar="FILE",
    help=f"File whose first line is the password for AUTH. The variable {PASSWORD} does the same.",
)
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@parent_options
def master(
    home: Path | None,
    host: str,
    port: int,
    fsync: str,
    journal: str,
    assignments: tuple[str, ...],
    scale: tuple[str, ...],
    burst_slots: int | None,
    burst_idle: float | None,
    accept_clock: bool,
    insecure: bool,
    webhook_secret_file: Path | None,
    webhook_allow: tuple[str, ...],
    secrets_passphrase_file: Path | None,
    secrets_key_file: Path | None,
    store_port: int | None,
    store_password_file: Path | None,
    quiet: bool,
    parent_fd: int | None,
    ready_fd: int | None,
) -> None:
    """Run a master. SIGTERM or Ctrl-C ends it; workers keep their jobs and wait for the next
    master."""
    from titan.journal import SyncPolicy
    from titan.master.interpreter_settings import freeze_imports
    from titan.master.server import Master
    from titan.master.vault import find_key
    from titan.master.webhooks.targets import rule

    freeze_imports()
    start_logging(quiet=quiet)
    seclude()
    policy = SyncPolicy(fsync) if journal == "disk" else None
    burst = (f"{name}={value}" for name, value in (("burst_slots", burst_slots), ("burst_idle_s", burst_idle)) if value is not None)
    settings = msgspec.structs.replace(_settings((*assignments, *burst)), scale=_rules(scale))

    server = Master(
        home or default_home(),
        host=host,
        port=port,
        policy=policy,
        settings=settings,
        accept_clock=accept_clock,
        insecure=insecure,
        webhook_secret_file=webhook_secret_file,
        webhook_allow=[rule(text) for text in webhook_allow],
        store_port=store_port,
        store_password=store_password(store_password_file),
        secrets_key=find_key(secrets_passphrase_file, secrets_key_file),
    )
    run_server(server, parent_fd, ready_fd)


@click.command()
@click.option("--master", "address", metavar="HOST:PORT", help=MASTER_HELP)
@home_option("Directory of the sandboxes.  [default: .titan/workers/NAME]")
@click.option("--slots", type=click.IntRange(1, 65536), help="Number of jobs that run at once.  [default: the number of CPUs]")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="TAG",
    help="Capability of the worker; may be repeated.  [default: GENERAL]",
)
@click.option("--cpus", type=click.FloatRange(0, MAX_CPUS), help="CPUs for all its jobs together.  [default: the number of CPUs]")
@click.option("--memory", metavar="SIZE", help="Memory for all its jobs together, in bytes or as 16GiB.  [default: the host's]")
@click.option("--gpus", type=click.IntRange(0, MAX_GPUS), help="GPUs for its jobs.  [default: the NVIDIA GPUs of the host]")
@click.option("--name", metavar="N", help="Name of the worker in the cluster.  [default: the host's]")
@click.option(
    "--shared",
    type=folder_path,
    metavar="DIR",
    help="Directory of shared files; the same for all workers of a node.  [default: in the home]",
)
@click.option("--log-limit", default=16, show_default=True, type=click.IntRange(1, 4096), help="MiB kept of each stream of a job.")
@click.option("--preload", default="", metavar="NAMES", help="Modules to import before Python scripts start: numpy,pandas")
@click.option(
    "--file-cache", metavar="SIZE", help="Size of the cache for files of jobs.  [default: 10GiB, or 80 % of the free disk]"
)
@keep_options
@click.option(
    "--advertise",
    default="",
    metavar="HOST",
    help="Host name under which others reach its services.  [default: as the master sees it]",
)
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@parent_options
def worker(
    address: str | None,
    home: Path | None,
    slots: int | None,
    capabilities: tuple[str, ...],
    cpus: float | None,
    memory: str | None,
    gpus: int | None,
    name: str | None,
    shared: Path | None,
    log_limit: int,
    preload: str,
    file_cache: str | None,
    keep: str | None,
    keep_size: str | None,
    advertise: str,
    quiet: bool,
    parent_fd: int | None,
    ready_fd: int | None,
) -> None:
    """Run a worker. On SIGTERM or Ctrl-C it finishes its running jobs; on a second one it stops
    them at once and hands them back."""
    from titan.sdk.address import find_address
    from titan.worker.devices import find_resources
    from titan.worker.shell import Worker

    start_logging(quiet=quiet)
    seclude()
    chosen = name or socket.gethostname().partition(".")[0]
    if not is_name(chosen):
        raise CallerError(f"{chosen!r} is not a valid name for a worker: a name is {NAME_RULE}")
    if chosen.startswith("burst-") and parent_fd is None:
        raise CallerError(
            f"{chosen!r}: names that begin with burst- are reserved for workers that a master starts: pass another --name"
        )
    for capability in capabilities:
        if not is_capability(capability):
            raise CallerError(f"{capability!r} is not a valid capability: a capability is {CAPABILITY_RULE}")
    try:
        size = None if memory is None else size_of(memory)
    except ValueError as error:
        raise CallerError(f"--memory {memory}: {error}") from None
    server = Worker(
        find_address(address),
        home or default_home() / "workers" / chosen,
        name=chosen,
        slots=slots or len(os.sched_getaffinity(0)),
        capabilities=capabilities or ("GENERAL",),
        shared=shared,
        log_limit=log_limit << 20,
        advertise=advertise,
        preload=tuple(name.strip() for name in preload.split(",") if name.strip()),
        resources=find_resources(cpus=cpus, memory=size, gpus=gpus),
        file_cache=_cache_size(file_cache),
        retention=retention_of(keep, keep_size),
    )

    async def serve() -> None:
        _on_signals(server.request_drain, server.request_quit)
        _watch_parent(parent_fd, server.request_quit)
        _report_ready(ready_fd, chosen)
        await server.run()

    _run(serve())


def _cache_size(text: str | None) -> int:
    """Return the value of --file-cache in bytes, 0 without the option. Raises CallerError."""
    from titan.worker.files.cache import cache_size

    try:
        return 0 if text is None else cache_size(text)
    except ValueError as error:
        raise CallerError(f"--file-cache {text}: {error}") from None


def _settings(assignments: tuple[str, ...]) -> Settings:
    """Return the defaults with each NAME=VALUE applied; the last value of a name wins.

    Raises CallerError.
    """
    chosen: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise CallerError(f"--set {text}: write NAME=VALUE, for example loss_s=10")
        if name == "scale":
            raise CallerError(f"--set {text}: use --scale TAG=MIN..MAX instead")
        if name not in Settings.__struct_fields__:
            names = ", ".join(field for field in Settings.__struct_fields__ if field != "scale")
            raise CallerError(f"--set {text}: unknown setting {name!r}: use one of {names}")
        chosen[name] = value
    for name, value in chosen.items():
        try:
            number = getattr(msgspec.convert({name: value}, Settings, strict=False), name)
        except msgspec.ValidationError:
            kind = "an integer" if isinstance(getattr(Settings(), name), int) else "a number"
            raise CallerError(f"--set {name}={value}: the value must be {kind}") from None
        if not 0 < number < math.inf:
            raise CallerError(f"--set {name}={value}: the value must be above 0")
    return msgspec.convert(chosen, Settings, strict=False)


def _rules(texts: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return {name of the rule: (least, most)} for all --scale options. Raises CallerError."""
    from titan.scheduling.scale import rule_of

    found: dict[str, tuple[int, int]] = {}
    for text in texts:
        try:
            rule = rule_of(text)
        except ValueError as e:
            raise CallerError(f"--scale {e}") from None
        bad = [capability for capability in rule.capabilities if not is_capability(capability)]
        if bad:
            raise CallerError(f"--scale {text}: {bad[0]!r} is not a valid capability: a capability is {CAPABILITY_RULE}")
        if rule.name in found:
            raise CallerError(f"--scale {text}: there is another rule for {rule.name}: remove one of them")
        found[rule.name] = (rule.least, rule.most)
    return found


def store_password(path: Path | None) -> str:
    """Return the password for AUTH: the first line of a file, or the variable PASSWORD.

    Removes the variable from the environment. Raises CallerError.
    """
    password = os.environ.pop(PASSWORD, "")
    if password and path is not None:
        raise CallerError(f"the store's password is in {path} and in {PASSWORD}: use only one of them")
    return password or first_line(path)


def first_line(path: Path | None) -> str:
    """Return the first line of a file with a secret, "" without a file.

    Raises CallerError if the line is empty.
    """
    if path is None:
        return ""
    line = path.read_text().partition("\n")[0].strip()
    if not line:
        raise CallerError(f"the first line of {path} is empty: write the password there")
    return line


class Server(Protocol):
    """A server that runs until `request_stop`."""

    @property
    def address(self) -> str: ...
    async def start(self) -> None: ...
    async def run(self) -> None: ...
    async def stop(self) -> None: ...
    def request_stop(self) -> None: ...


def run_server(server: Server, parent_fd: int | None, ready_fd: int | None) -> None:
    async def serve() -> None:
        await server.start()
        try:
            _on_signals(server.request_stop, server.request_stop)
            _watch_parent(parent_fd, server.request_stop)
            _report_ready(ready_fd, server.address)
            await server.run()
        finally:
            await server.stop()

    _run(serve())


def _run(work: Coroutine[Any, Any, None]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _on_signals(first: Callable[[], None], second: Callable[[], None]) -> None:
    """Call `first` on the first SIGTERM or SIGINT, and `second` on each later one."""
    calls = [first]

    def on_signal() -> None:
        (calls.pop() if calls else second)()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


def _watch_parent(fd: int | None, stop: Callable[[], None]) -> None:
    """Call `stop` when the parent process ends, which holds the other end of the pipe `fd`."""
    if fd is None:
        return
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(fd, 4096):
                loop.remove_reader(fd)
                stop()

    loop.add_reader(fd, on_readable)


def _report_ready(fd: int | None, text: str) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(fd, text.encode() + b"\n")
        os.close(fd)
