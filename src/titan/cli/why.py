"""`titan why`: the reasons why a job does not run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from titan.cli.options import home_option, json_option, master_option
from titan.cli.session import open_client
from titan.cli.targets import find_job

MAX_ROWS = 20


@click.command()
@click.argument("target", metavar="RUN/JOB")
@click.option("--all", "show_all", is_flag=True, help="Print every worker.")
@master_option
@home_option("Ask the master of this home; if none runs, read the home.")
@json_option
def why(target: str, show_all: bool, master: str | None, home: Path | None, as_json: bool) -> None:
    """Explain why a job does not run, and why no worker takes it."""
    with open_client(master, home=home, offline=True) as client:
        target = find_job(client, target, "titan why")
        explanation = client.why(target)
        if as_json:
            print(json.dumps(explanation.to_dict()))
            return
        print(f"{explanation.run}/{explanation.job} is {explanation.state}")
        for reason in explanation.reasons:
            print(f"  {reason.text.replace('HOST:PORT', client.address)}")
        shown = explanation.workers if show_all else explanation.workers[:MAX_ROWS]
        width = max((len(w.worker) for w in shown), default=0)
        for worker in shown:
            print(f"  {worker.worker.ljust(width)}  {'; '.join(reason.text for reason in worker.reasons)}")
        hidden = len(explanation.workers) - len(shown)
        if hidden or explanation.left_off:
            hint = " (--all)" if hidden else ""
            print(f"  and {hidden + explanation.left_off} more workers{hint}")
