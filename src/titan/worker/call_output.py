"""Output of calls. A call that printed gets a folder and logs, like any other attempt. A call that
did not print gets none.

Owns those logs, and the lines in them that report output that could not be written. This module
must not know how calls run.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from titan.model.failure import OUTPUT_LOST
from titan.worker.files.disk import why_lost
from titan.worker.files.sandbox import Workspace
from titan.worker.log_pump import LogPump
from titan.worker.state_machine.attempt import Held

log = logging.getLogger("titan.worker")


class CallOutput:
    def __init__(self, held: Mapping[int, Held], workspace: Workspace, pump: LogPump) -> None:
        self._held = held
        self._workspace = workspace
        self._pump = pump

    def take(self, lease: int, stream: int, data: bytes) -> str:
        """Write output of a call to its log. Return the reason if the output is lost, "" if it was
        written."""
        held = self._held.get(lease)
        if held is None:
            return ""
        try:
            paths = self._pump.paths(lease)
            if paths is None:
                place = self._workspace.prepare(held.assignment)
                self._workspace.give_back(place, lease)  # the call runs in the folder of its runner
                paths = place.stdout, place.stderr
                self._pump.open(held.assignment, *paths)
            with open(paths[stream - 1], "ab") as file:
                file.write(data)
                end = file.tell()
        except OSError as e:
            log.warning("the log of lease %d, stream %d, cannot be written: %s", lease, stream, e)
            return why_lost(e.errno or 0)
        self._pump.on_output(lease, stream, end - len(data), data)
        return ""

    def ended(self, lease: int, lost: str) -> None:
        """Record that no more output of a call follows. `lost` is the reason why some output is
        lost, "" if no output is lost."""
        held = self._held.get(lease)
        if lost and held is not None:
            if self._pump.paths(lease) is None:  # the disk had no room for a log of this call
                self._pump.open(held.assignment, "", "")
            self._pump.add(lease, f"[titan: {OUTPUT_LOST}{lost}]\n".encode())
        self._pump.on_ended(lease)
