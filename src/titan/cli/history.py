"""`titan history`: the database of runs that have left the master's memory."""

from __future__ import annotations

import json
from pathlib import Path

import click

from titan.cli.options import home_option, json_option
from titan.errors import NotFound
from titan.sdk.address import default_home


@click.group()
def history() -> None:
    """Count old runs, or rebuild their history from the journal. `titan runs` lists them with the
    others."""


@history.command()
@home_option("The master's home.")
@json_option
def stats(home: Path | None, as_json: bool) -> None:
    """Print the number of runs and jobs in the history, and its size."""
    from titan.master.history.database import History

    path = _home(home) / "history.sqlite"
    if not path.exists():
        raise NotFound(f"{path} does not exist: no run of this home has moved to the history yet")
    database = History(path, set_aside=False)
    try:
        runs, jobs, size = database.size()
    finally:
        database.close()
    if as_json:
        print(json.dumps({"runs": runs, "jobs": jobs, "bytes": size}))
    else:
        print(f"{runs:,} runs with {jobs:,} jobs, {size / 1e6:,.1f} MB with their output")


@history.command()
@home_option("The home of a stopped master.")
@json_option
def rebuild(home: Path | None, as_json: bool) -> None:
    """Rebuild the history from the journal, as far back as the journal goes. Stop the master first.

    Runs that are in the history but no longer in the journal stay. To keep the whole journal, start
    the master with `--set keep_journal=1`.
    """
    from titan.master.history.rebuild import rebuild as rebuild_history

    done = rebuild_history(_home(home))
    if as_json:
        print(json.dumps({"runs": done.runs, "complete": done.from_the_beginning}))
    else:
        print(f"{done.runs:,} runs; the journal goes back to {'its beginning' if done.from_the_beginning else 'a snapshot'}")


def _home(home: Path | None) -> Path:
    folder = home or default_home()
    if not (folder / "store").is_dir():
        raise NotFound(f"{folder} is not the home of a master: {folder / 'store'} does not exist: pass --home DIRECTORY")
    return folder
