"""Regular upkeep of a worker: remove old files from its home, and record the time there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from titan.host.clock import SteadyClock, note_time
from titan.worker.files.retention import Retention
from titan.worker.files.sandbox import Swept, Workspace
from titan.worker.state_machine.attempt import Held

log = logging.getLogger("titan.worker")


async def keep_swept(
    workspace: Workspace,
    home: Path,
    clock: SteadyClock,
    retention: Retention,
    held: Mapping[int, Held],
    on_removed: Callable[[str], Any],
) -> None:
    """Run the upkeep until cancelled. `on_removed(hash)` is called for each removed artifact. A
    failure is logged, and the next try follows after the usual pause."""
    while True:
        in_use = {attempt.assignment.run for attempt in held.values()}
        swept = Swept(0, [])
        try:
            swept = await asyncio.to_thread(workspace.sweep, retention, in_use, clock.confirmed())
        except OSError as e:
            log.warning("old files cannot be removed, the next try is in %.0f s: %s", retention.pause_s, e)
        for hash_ in swept.artifacts:
            on_removed(hash_)
        if swept.folders or swept.artifacts:
            log.info("%d folders of old runs and %d artifacts were removed", swept.folders, len(swept.artifacts))
        try:
            note_time(home, clock.now())  # after the sweep, which may have freed the space that this write needs
        except OSError as e:
            log.warning("the time cannot be recorded in %s: %s", home, e)
        await asyncio.sleep(retention.pause_s)
