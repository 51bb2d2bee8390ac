"""`titan history`: the file that keeps runs after they left the master's memory."""

from __future__ import annotations

import json
from pathlib import Path

import click

from titan.cli.options import DEFAULT_HOME, home_option, json_option
from titan.errors import NotFound


@click.group()
def history() -> None:
    """Old runs: how many there are, and making them anew from the journal. `titan runs` lists them
    with the others."""


@history.command()
@home_option("The master's home.")
@json_option
def stats(home: Path | None, as_json: bool) -> None:
    """How many runs and jobs are kept, and what they take."""
    from titan.master.history.database import History

    path = _home(home) / "history.sqlite"
    if not path.exists():
        raise NotFound(f"{path} is not there: no run has left the memory of a master of that home yet")
    kept = History(path, set_aside=False)
    try:
        runs, jobs, size = kept.size()
    finally:
        kept.close()
    if as_json:
        print(json.dumps({"runs": runs, "jobs": jobs, "bytes": size}))
    else:
        print(f"{runs:,} runs with {jobs:,} jobs, {size / 1e6:,.1f} MB with their output")


@history.command()
@home_option("The home of a master that does not run.")
@json_option
def rebuild(home: Path | None, as_json: bool) -> None:
    """Make the history anew from the journal, as far back as that goes. The master must be stopped.

    What is in the history and no longer in the journal stays. A journal that goes back to its
    beginning is kept with `titan master --set keep_journal=1`.
    """
    from titan.master.history.rebuild import rebuild as rebuild_history

    done = rebuild_history(_home(home))
    if as_json:
        print(json.dumps({"runs": done.runs, "complete": done.from_the_beginning}))
    else:
        print(f"{done.runs:,} runs; the journal goes back to {'its beginning' if done.from_the_beginning else 'a snapshot'}")


def _home(home: Path | None) -> Path:
    found = home or DEFAULT_HOME
    if not (found / "store").is_dir():
        raise NotFound(f"{found} is no home of a master: {found / 'store'} is not there: say --home")
    return found
