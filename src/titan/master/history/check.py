"""Check of the history at a master's start, and restoration of missing runs from the journal.

The state knows which runs were moved to the history. The check finds runs that are missing because
the history was deleted, emptied, or replaced after damage. This module owns the comparison and the
process that rebuilds runs. It must not know how runs are stored.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from titan.core.state.state import State
from titan.errors import EnvironmentFault
from titan.master.child_process import run_beside
from titan.master.history.database import History
from titan.master.history.rebuild import MODULE as REBUILD

log = logging.getLogger("titan.master")

NAMED = 3
"""Maximum number of lost runs that an error names."""


def lost_runs(archived: Sequence[str], there: set[str], *, fresh: bool) -> list[str]:
    """Return the archived runs that are missing in a history that has the runs `there`.

    `archived` is sorted, the oldest run first. The history drops its oldest runs by age and size,
    so missing runs before its oldest run are no loss. In a `fresh` file every missing run is a
    loss.
    """
    if fresh:
        return [run for run in archived if run not in there]
    begin = next((at for at, run in enumerate(archived) if run in there), len(archived))
    return [run for run in archived[begin:] if run not in there]


async def restore_history(state: State, history: History, home: Path) -> list[str]:
    """Restore missing runs as far as the journal goes back. Return the runs that stay missing.

    Logs how many runs were missing and which runs stay missing.
    """
    archived = [run for run, _ in state.archived.values()]
    lost = await _lost(history, archived, fresh=history.fresh)
    if not lost:
        return []
    log.warning("%d finished runs are missing in the history %s: it is rebuilt from the journal", len(lost), history.path)
    problem = await run_beside(REBUILD, str(home), str(os.getpid()))
    still = await _lost(history, lost, fresh=True)
    if still:
        names = ", ".join(still[:NAMED]) + (", ..." if len(still) > NAMED else "")
        log.error(
            "%d finished runs are lost with the history (%s): the journal does not go back so far%s; their output is still in %s."
            " To restore them, stop the master and put history.sqlite back from a backup",
            len(still), names, f" ({problem})" if problem else "", home / "logs",
        )  # fmt: skip
    else:
        log.warning("all %d runs are in the history again", len(lost))
    return still


async def _lost(history: History, archived: list[str], *, fresh: bool) -> list[str]:
    try:
        there = await asyncio.to_thread(history.there, archived)
    except EnvironmentFault as error:
        log.error("%s", error)
        return []
    return lost_runs(archived, there, fresh=fresh)
