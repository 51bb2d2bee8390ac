"""docs/json.md lists the keys that --json prints. Each command is run, and its keys are compared
with the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.cli.group import titan

PAGE = (Path(__file__).parents[2] / "docs/json.md").read_text()
ROW = re.compile(r"^\| `titan ([^`]+)` \| (.+) \|$", re.MULTILINE)
COMMANDS = dict(ROW.findall(PAGE))
WRONG = [("status", "--bogus"), ("statsu",), ("run",), ("runs", "--limit", "0"), ("run", "--slots", "x", "a.py")]
RUNS = "name: more\njobs:\n  - {id: a, command: 'true'}\n"
CASES: dict[str, tuple[str, ...]] = {
    "run": ("run", "--", "true"),
    "attach": ("attach", "done"),
    "submit": ("submit", "p.yaml"),
    "wait": ("wait", "done"),
    "rerun": ("rerun", "done"),
    "cancel": ("cancel", "more"),
    "add": ("add", "open", "add.yaml"),
    "save": ("save", "other", "p.yaml"),
    "save --list": ("save", "--list"),
    "save --remove": ("save", "--remove", "other"),
    "status": ("status",),
    "status RUN": ("status", "done"),
    "status RUN/JOB": ("status", "done/a"),
    "runs": ("runs",),
    "ps": ("ps",),
    "logs RUN/JOB": ("logs", "done/a"),
    "logs RUN": ("logs", "several"),
    "why": ("why", "open/gate"),
    "gates": ("gates",),
    "approve": ("approve", "several/yes"),
    "reject": ("reject", "several/no"),
    "dlq list": ("dlq",),
    "dlq show": ("dlq", "show", "failed/a"),
    "dlq retry": ("dlq", "retry", "failed/a"),
    "dlq purge": ("dlq", "purge", "--all"),
    "services": ("services",),
    "replace": ("replace", "open/web"),
    "stop": ("stop", "open/web"),
    "push": ("push", "p.yaml"),
    "files RUN/JOB": ("files", "done/a"),
    "files RUN/JOB PATH": ("files", "done/a", "left", "-o", "left_files"),
    "artifacts": ("artifacts",),
    "artifact put": ("artifact", "put", "k2", "p.yaml"),
    "artifact get": ("artifact", "get", "k2", "got"),
    "artifact rm": ("artifact", "rm", "k2"),
    "schedule add": ("schedule", "add", "s2", "p.yaml", "--every", "1h"),
    "schedule show": ("schedule", "show", "s2"),
    "schedule pause": ("schedule", "pause", "s2"),
    "schedule resume": ("schedule", "resume", "s2"),
    "schedule list": ("schedule", "list"),
    "schedule run": ("schedule", "run", "s2"),
    "schedule remove": ("schedule", "remove", "s2"),
    "secret set": ("secret", "set", "TOKEN", "--file", "p.yaml"),
    "secret list": ("secret", "list"),
    "secret remove": ("secret", "remove", "TOKEN"),
    "workers": ("workers",),
    "scale": ("scale",),
    "disk": ("disk",),
    "token create": ("token", "create", "ci", "--home", "home"),
    "token list": ("token", "list", "--home", "home"),
    "token remove": ("token", "remove", "ci", "--home", "home"),
    "simulate": ("simulate", "p.yaml"),
    "validate": ("validate", "p.yaml"),
    "workers drain": ("workers", "drain", "w2"),
    "workers stop": ("workers", "stop", "w2"),
    "history stats": ("history", "stats", "--home", "home"),
}
"""Row of the page -> command line. They run in this order, in one cluster."""
UNRUN = {"open", "result", "events", "replay", "store", "history rebuild", "journal inspect", "journal verify", "journal repair"}
"""Rows that have no fixed set of keys, or whose command needs a stopped master or a dashboard."""


def keys_of(section: str) -> set[str]:
    """Return the keys in the page's table of an object."""
    heading = section.replace("-", " ")
    table = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    texts = {name.lower(): text for name, text in zip(table[1::2], table[2::2], strict=True)}
    rows = [line.split("|")[1] for line in texts[heading].splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def promised(text: str) -> set[str]:
    """Return the keys that a row of the page promises: those of the object that it links to, and
    its own."""
    objects = re.match(r"(?:list of )?\[[^]]+\]\(#([\w-]+)\)", text)
    return (keys_of(objects[1]) if objects else set()) | set(re.findall(r"`(\w+)`", text))


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    base = tmp_path_factory.mktemp("json") / "c"
    with cluster(base, "w1", "w2", slots=6, settings=QUIET, options=("--scale", "GPU=0..1")) as made:
        (made.base / "p.yaml").write_text(RUNS)
        (made.base / "add.yaml").write_text(RUNS.replace("id: a", "id: z"))
        made.client.publish("k", made.base / "p.yaml")
        gates = [Job(name, type="gate") for name in ("yes", "no")]
        service = Job("web", type="service", command="exec sleep 1000", health="none", keep=True)
        made.client.submit(DAG("done", [Job("a", command="echo out; echo x >left")])).wait(60)
        made.client.submit(DAG("failed", [Job("a", command="exit 3", retries=0)])).wait(60)
        made.client.submit(DAG("several", [Job("a", command="echo out"), *gates]))
        made.client.submit(DAG("open", [Job("gate", type="gate"), service]))
        until(lambda: len(made.client.gates()) == 3, "the gates are open")
        until(lambda: [s.state for s in made.client.services()] == ["READY"], "the service is READY")
        until(lambda: made.states(made.client.runs(dag="several")[0].run)["a"] == "COMPLETED", "job a is COMPLETED")
        yield made


def test_the_keys_of_each_command_are_those_of_the_page(c: Cluster) -> None:
    wrong = {}
    for row, words in CASES.items():
        done = c.cli(words[0], *words[1:], "--json") if "--" not in words else c.cli(words[0], "--json", *words[1:])
        assert done.returncode == 0, (words, done)
        value: Any = json.loads(done.stdout.splitlines()[0] if row.startswith("logs") else done.stdout)
        found = set(value[0] if isinstance(value, list) else value)
        if found | {"skipped"} != promised(COMMANDS[row]) | {"skipped"}:
            wrong[row] = found ^ promised(COMMANDS[row])
    assert not wrong


def commands_with_json(group: click.Group, name: str = "") -> Iterator[str]:
    ctx = click.Context(group)
    for word in group.list_commands(ctx):
        command = group.get_command(ctx, word)
        assert command is not None
        if any("--json" in parameter.opts for parameter in command.params):
            yield f"{name}{word}"
        if isinstance(command, click.Group):
            yield from commands_with_json(command, f"{name}{word} ")


def test_the_page_has_each_command_with_json() -> None:
    known = {re.sub(r" (RUN.*|--.*)", "", row) for row in COMMANDS}
    assert set(commands_with_json(titan)) == known
    assert set(COMMANDS) == set(CASES) | UNRUN


@pytest.mark.parametrize(
    "words", [("status", "--bogus"), ("statsu",), ("run",), ("runs", "--limit", "0"), ("run", "--slots", "x", "a.py")]
)
def test_an_error_of_usage_is_one_line_of_json(c: Cluster, words: tuple[str, ...]) -> None:
    done = c.cli(words[0], "--json", *words[1:])
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    error = json.loads(line)["error"]
    assert (error["code"], error["retryable"]) == ("caller", False)
    assert error["message"]


def test_runs_of_a_group_are_found_by_both_names_of_the_option(c: Cluster) -> None:
    run = c.json("submit", "--agent-run-id", "g7", "p.yaml")["run"]
    assert [row["run"] for row in c.json("runs", "--group", "g7")] == [run]
    assert [row["agent_run_id"] for row in c.json("runs", "--agent-run-id", "g7")] == ["g7"]
