"""Runs as users name them: by id, by the beginning of an id, as `last`, or by the name of a DAG."""

from __future__ import annotations

import difflib
import re

from titan.cli.terminal import one_line
from titan.errors import CallerError, NotFound
from titan.sdk.client import Client
from titan.sdk.status import RunSummary

SEARCHED = 10_000
"""Newest runs among which the beginning of an id is searched."""
SHOWN = 5
LAST = "last"
_ID = re.compile(r"1[0-9a-z]{11}")
_PREFIX = re.compile(r"1[0-9a-z]{2,10}")


def find_target(client: Client, text: str) -> str:
    """Return `RUN` or `RUN/JOB` with the id of the run. Raises NotFound, CallerError."""
    run, slash, job = text.partition("/")
    return f"{find_run(client, run)}{slash}{job}"


def find_job(client: Client, text: str, command: str) -> str:
    """Return `RUN/JOB`. For a run with a single job, the job may be left out. Raises NotFound,
    CallerError. The error shows `command`, the command to type."""
    target = find_target(client, text)
    if "/" in target:
        return target
    summary, jobs = next(client.changes(target))
    if summary.count == 1:
        return f"{target}/{jobs[0].id}"
    names = ", ".join(one_line(job.id) for job in jobs[:SHOWN])
    raise CallerError(f"run {target} has {summary.count:,} jobs: `{command} {target}/JOB`, for example {names}")


def find_run(client: Client, text: str) -> str:
    """Return the id of a run.

    - An id is returned as it is.
    - `last` is the newest run.
    - Three or more characters may be the beginning of an id of the newest 10,000 runs.
    - Any other text is the name of a DAG: its newest run.

    Raises NotFound, and CallerError for a beginning that several ids have.
    """
    if _ID.fullmatch(text):
        return text
    if text == LAST:
        newest = client.runs(limit=1)
        if not newest:
            raise NotFound("there is no run yet: start one with `titan run` or `titan submit`")
        return newest[0].run
    if _PREFIX.fullmatch(text):
        matching = [run for run in client.runs(limit=SEARCHED) if run.run.startswith(text)]
        if len(matching) == 1:
            return matching[0].run
        if matching:
            raise CallerError(f"{len(matching)} runs begin with {text!r}: {_listed(matching)}")
    of_dag = client.runs(limit=1, dag=text)
    if of_dag:
        return of_dag[0].run
    names = {run.dag for run in client.runs(limit=1000)}
    near = difflib.get_close_matches(text, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else "`titan runs` lists them"
    raise NotFound(f"there is no run {text!r}, and no DAG of that name has a run: {hint}")


def _listed(runs: list[RunSummary]) -> str:
    more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    return ", ".join(f"{run.run} of {run.dag}" for run in runs[:SHOWN]) + more
