"""`titan gates`, `titan approve`, `titan reject`: list gates, and decide them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click

from titan.cli.options import json_option, master_option
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option
from titan.cli.targets import find_target
from titan.cli.terminal import one_line
from titan.sdk.decisions import OpenGate

F = TypeVar("F", bound=Callable[..., Any])


@click.command()
@click.argument("run", required=False, default="")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 10_000))
@master_option
@wide_option
@json_option
def gates(run: str, limit: int, master: str | None, as_json: bool) -> None:
    """List the gates that wait for a decision, oldest first."""
    with open_client(master) as client:
        found = client.gates(run, limit)
    if as_json:
        print(json.dumps([asdict(gate) for gate in found]))
        return
    if not found:
        print("no open gates")
        return
    print_gates(found, time.time())


def print_gates(found: Sequence[OpenGate], now: float) -> None:
    rows = []
    for gate in found:
        failed = gate.webhook not in ("", "due", "delivered")
        message = one_line(gate.message) + (f" (webhook: {gate.webhook})" if failed else "")
        rows.append((f"{gate.run}/{gate.job}", gate.dag, _time_left(gate.expires_at - now), message))
    print_table(("GATE", "DAG", "LEFT", "MESSAGE"), rows, spare=("DAG",))


def _decision_options(command: F) -> F:
    command = click.argument("gate", required=False, default="", metavar="[RUN/GATE]")(command)
    command = click.option("--by", metavar="NAME", help="Your name.  [default: your login name]")(command)
    command = click.option("--comment", default="", metavar="TEXT", help="The reason; it is kept in the gate's story.")(command)
    command = click.option("--token", metavar="TOKEN", help="The token from the gate's webhook, instead of RUN/GATE.")(command)
    return json_option(master_option(command))


@click.command()
@_decision_options
def approve(gate: str, by: str | None, comment: str, token: str | None, master: str | None, as_json: bool) -> None:
    """Approve an open gate: the jobs that wait for it run."""
    _decide(gate, by, comment, token, master, approve=True, as_json=as_json)


@click.command()
@_decision_options
def reject(gate: str, by: str | None, comment: str, token: str | None, master: str | None, as_json: bool) -> None:
    """Reject an open gate: the jobs that wait for it are cancelled, and its run is FAILED."""
    _decide(gate, by, comment, token, master, approve=False, as_json=as_json)


def _decide(
    gate: str, by: str | None, comment: str, token: str | None, master: str | None, *, approve: bool, as_json: bool
) -> None:
    if bool(gate) is bool(token):
        raise click.UsageError("pass either RUN/GATE (`titan gates` lists the open gates) or --token TOKEN")
    with open_client(master) as client:
        gate = find_target(client, gate) if gate else gate
        decision = (client.approve if approve else client.reject)(gate, by=by, comment=comment, token=token)
    if as_json:
        print(json.dumps(asdict(decision)))
    else:
        print(f"{decision.run}/{decision.job} {'approved' if decision.approved else 'rejected'} by {decision.by}")


def _time_left(seconds: float) -> str:
    for limit, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * limit:
            return f"{seconds / limit:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
