"""Tables at 80 columns: every command that prints one, with long names of everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from support.cluster import QUIET, TITAN, Cluster, cluster
from support.terminal import in_terminal, without_colours
from support.waiting import until
from titan import DAG, Job
from titan.cli.group import titan

LONG = "a-name-as-long-as-people-give-them-when-it-has-to-say-everything"
TABLES = {
    "status": ("status",),
    "runs": ("runs",),
    "ps": ("ps",),
    "services": ("services",),
    "gates": ("gates",),
    "dlq list": ("dlq",),
    "workers": ("workers",),
    "scale": ("scale",),
    "disk": ("disk",),
    "artifacts": ("artifacts",),
    "save": ("save", "--list"),
    "files": ("files", f"last/says-{LONG}"),
    "secret list": ("secret", "list"),
    "token list": ("token", "list", "--home", "home"),
    "schedule list": ("schedule", "list"),
    "simulate": ("simulate", "p.yaml", "--jobs"),
    "replay": ("replay", "--home", "home", "--at", "end"),
}
"""Command with an option --wide -> how the tests call it."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("tables") / "c"
    with cluster(base, cut("worker"), slots=4, settings=QUIET, options=("--scale", "GPU=0..1")) as made:
        fill(made)
        yield made


def fill(c: Cluster) -> None:
    """Give each command something to list."""
    says = Job(f"says-{LONG}", command=f'touch "file-{LONG}"; titan context status "{LONG}"; exit 3', retries=0)
    gate = Job(f"gate-{LONG}", type="gate", message=f"Is this {LONG}?")
    server = Job(f"web-{LONG}", type="service", command="exec sleep 1000", health="none")
    run = c.client.submit(DAG(f"dag-{LONG}", [says, gate, server]))
    (c.base / "p.yaml").write_text(f"name: dag-{LONG}\njobs:\n  - {{id: job-{LONG}, command: 'true'}}\n")
    c.client.publish(f"key-{LONG}", c.base / "p.yaml")
    assert c.cli("save", cut("saved"), "p.yaml").returncode == 0
    assert c.cli("schedule", "add", cut("nightly"), "p.yaml", "--cron", "0 3 * * *").returncode == 0
    assert c.cli("token", "create", cut("token"), "--home", "home").returncode == 0
    assert c.cli("secret", "set", cut("secret").replace("-", "_"), stdin="value").returncode == 0
    until(lambda: {job.state for job in run.status().jobs} == {"DEAD", "PAUSED", "RUNNING"}, "each job is in its last state")
    until(lambda: [service.state for service in c.client.services()] == ["READY"], "the service is READY")


def cut(kind: str) -> str:
    """Return a name of 64 characters, the maximum that every kind of name allows."""
    return f"{kind}-{LONG}"[:64]


def on_terminal(c: Cluster, *args: str, **more: str) -> str:
    return in_terminal([*TITAN, *args], env=c.environment({"TERM": "xterm", "PWD": str(c.base), **more}), cwd=c.base)


def table_of(text: str) -> list[str]:
    """Return the lines of all tables in a command's output. A table begins with a line of heads."""
    lines: list[str] = []
    for part in text.split("\n\n"):
        rows = part.splitlines()
        first = next((i for i, row in enumerate(rows) if row.startswith("\x1b[1m")), len(rows))
        lines += rows[first:]
    return lines


def commands_with(option: str, group: click.Group, name: str = "") -> Iterator[str]:
    ctx = click.Context(group)
    for word in group.list_commands(ctx):
        command = group.get_command(ctx, word)
        assert command is not None
        if any(option in parameter.opts for parameter in command.params):
            yield f"{name}{word}"
        if isinstance(command, click.Group):
            yield from commands_with(option, command, f"{name}{word} ")


def test_each_command_with_a_table_is_tested_here() -> None:
    assert set(commands_with("--wide", titan)) == set(TABLES)
    folder = Path(str(titan.callback and titan.callback.__code__.co_filename)).parent
    printing = {path.name for path in folder.glob("*.py") if "print_table(" in path.read_text()}
    offering = {path.name for path in folder.glob("*.py") if "@wide_option" in path.read_text()}
    assert printing - {"table.py"} <= offering


@pytest.mark.parametrize("name", TABLES)
def test_a_table_fits_eighty_columns_with_colours(c: Cluster, name: str) -> None:
    shown = on_terminal(c, *TABLES[name])
    lines = [without_colours(line) for line in table_of(shown)]
    assert len(lines) > 1, shown
    assert max(map(len, lines)) <= 80, lines
    assert any(".." in line for line in lines) or name in ("scale", "simulate"), "something long is cut"


@pytest.mark.parametrize("name", TABLES)
def test_a_pipe_gets_whole_cells_without_colours(c: Cluster, name: str) -> None:
    piped = c.cli(*TABLES[name], env={"COLUMNS": "80"})
    assert piped.returncode == 0, piped
    assert "\x1b" not in piped.stdout
    assert name == "scale" or LONG[:40] in piped.stdout.replace("_", "-")


def test_wide_prints_whole_cells_on_a_terminal(c: Cluster) -> None:
    assert f"dag-{LONG}" in on_terminal(c, "runs", "--wide")
    assert f"dag-{LONG}" not in on_terminal(c, "runs")


def test_states_have_colours_unless_the_environment_forbids_them(c: Cluster) -> None:
    assert "\x1b[31mDEAD" in on_terminal(c, "status", "last")
    assert "\x1b" not in on_terminal(c, "runs", NO_COLOR="1")
    assert "\x1b" not in on_terminal(c, "runs", TERM="dumb")
