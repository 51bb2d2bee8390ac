"""What a worker does once an hour: it removes what is old in its home, and notes what time it is
there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from titan.host.clock import SteadyClock, note_time
from titan.worker.files.sandbox import Swept, Workspace
from titan.worker.state_machine.attempt import Held

log = logging.getLogger("titan.worker")

SWEEP_S = 3600.0


async def keep_swept(
    workspace: Workspace, home: Path, clock: SteadyClock, keep_s: float, held: Mapping[int, Held], on_removed: Callable[[str], Any]
) -> None:
    """Until it is cancelled. `on_removed(hash)`: an artifact is not here any more. What cannot be
    done is told, and tried again."""
    while True:
        in_use = {one.assignment.run for one in held.values()}
        swept = Swept(0, [])
        try:
            swept = await asyncio.to_thread(workspace.sweep, keep_s, in_use, clock.confirmed())
        except OSError as e:
            log.warning("what is old cannot be removed, which is tried again in %.0f s: %s", SWEEP_S, e)
        for hash_ in swept.artifacts:
            on_removed(hash_)
        if swept.folders or swept.artifacts:
            log.info("%d folders of old runs and %d artifacts were removed", swept.folders, len(swept.artifacts))
        try:
            note_time(home, clock.now())  # behind the sweep, which may make the room for it
        except OSError as e:
            log.warning("what time it is cannot be noted in %s: %s", home, e)
        await asyncio.sleep(SWEEP_S)
