"""Whether the history has the runs that left the state, and how those come back that it has not.

Owns the comparison at the start of a master, and the process that makes runs anew from the journal.
It must not know how runs are kept. A history that was deleted, emptied or set aside as damaged is
noticed by the runs that the state says it has.
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
"""So many runs that are lost are named."""


def lost_runs(archived: Sequence[str], there: set[str], *, fresh: bool) -> list[str]:
    """Which of `archived`, the oldest first, should be in a history that has those of `there`.

    The oldest leave it by age and size, so those before the first that is there are no loss, unless
    the file is `fresh`.
    """
    if fresh:
        return [run for run in archived if run not in there]
    begin = next((at for at, run in enumerate(archived) if run in there), len(archived))
    return [run for run in archived[begin:] if run not in there]


async def restore_history(state: State, history: History, home: Path) -> list[str]:
    """Makes anew what is missing, as far as the journal goes back; says so, and returns what stays
    missing."""
    archived = [run for run, _ in state.archived.values()]
    lost = await _lost(history, archived, fresh=history.fresh)
    if not lost:
        return []
    log.warning("%d finished runs are not in the history %s: it is made anew from the journal", len(lost), history.path)
    said = await run_beside(REBUILD, str(home), str(os.getpid()))
    still = await _lost(history, lost, fresh=True)
    if still:
        names = ", ".join(still[:NAMED]) + (", ..." if len(still) > NAMED else "")
        log.error(
            "%d finished runs are lost with the history (%s): the journal does not go back so far%s; their output is still in %s."
            " Put history.sqlite back from a backup, with the master stopped",
            len(still), names, f" ({said})" if said else "", home / "logs",
        )  # fmt: skip
    else:
        log.warning("all of %d runs are in the history again", len(lost))
    return still


async def _lost(history: History, archived: list[str], *, fresh: bool) -> list[str]:
    try:
        there = await asyncio.to_thread(history.there, archived)
    except EnvironmentFault as error:
        log.error("%s", error)
        return []
    return lost_runs(archived, there, fresh=fresh)
