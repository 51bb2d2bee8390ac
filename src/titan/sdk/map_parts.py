"""Parts of a map: each is one submission, whose results a thread reads in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence

from titan.errors import TitanError
from titan.protocol import messages as msg
from titan.sdk.call_jobs import CallJobs
from titan.sdk.progress_bar import MapProgress
from titan.sdk.slot_release import slot_released

CANCEL_S = 10.0
"""Seconds for which the cancellation of an interrupted map waits for the master."""


class MapPart:
    """Receiver of the results of a part of a map. One thread waits for them in order."""

    def __init__(self, count: int, name: str, progress: MapProgress | None = None, calls: Sequence[int] = ()) -> None:
        """`calls`: number of calls in each row; empty: one in each."""
        self._progress = progress
        self._calls = calls
        self._arrived = bytearray(count)
        self.rows: list[tuple[int, bytes, str] | None] = [None] * count
        self.error: BaseException | None = None
        self.run = ""
        """Run of the part once the master has acknowledged it."""
        self.settled = asyncio.Event()
        """Set when the part is acknowledged or has failed."""
        self._name = name
        self._error_raised = False
        self._changed = threading.Event()

    def accepted(self, run: str) -> None:
        self.run = run
        self.settled.set()

    def names(self) -> list[str]:
        return [self._name] * len(self.rows)

    def unretrieved(self) -> list[str]:
        return [] if self._error_raised else self.names()

    def take(self, message: msg.Values) -> None:
        rows = self.rows
        for position, state, value, reason in zip(message.positions, message.states, message.values, message.reasons, strict=True):
            rows[position] = (state, value, reason)
        self._changed.set()
        if self._progress is not None:
            new = [position for position in message.positions if not self._arrived[position]]
            for position in new:
                self._arrived[position] = 1
            self._progress.arrived(sum(self._calls[position] for position in new) if self._calls else len(new))

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.settled.set()
        self._changed.set()

    def row(self, at: int, deadline: float | None) -> tuple[int, bytes, str]:
        """Wait for the result at a position, and return (state, value, reason).

        Raises TimeoutError, and the error of the submission.
        """
        while True:
            self._changed.clear()
            row = self.rows[at]
            if row is not None:
                return row
            if self.error is not None:
                self._error_raised = True
                raise self.error
            with slot_released():
                arrived = self._changed.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not arrived:
                raise TimeoutError("the result did not arrive before the timeout")


class Map:
    """One map. `detached`: its calls go on after an interrupt."""

    def __init__(self, *, detached: bool, progress: MapProgress | None = None, always: bool = False) -> None:
        self.progress = progress
        self.always = always
        """Show the progress also if stderr is no terminal."""
        self.parts: list[MapPart] = []
        self.detached = detached

    def cancel_after(self, interrupt: BaseException, jobs: CallJobs) -> None:
        """Cancel the calls that are not over, and note their number at the interrupt.

        A second interrupt ends the wait for the master.
        """
        if self.detached:
            return
        self.detached = True
        try:
            count = jobs.wait(cancel_parts(self.parts, jobs))
        except (TitanError, TimeoutError) as error:
            interrupt.add_note(f"the calls of the map could not be cancelled ({error}): use `titan runs` and `titan cancel RUN`")
            return
        if count:
            interrupt.add_note(
                f"{count:,} {'call' if count == 1 else 'calls'} of the map cancelled; map(..., detach=True) leaves them"
            )


async def cancel_parts(parts: Iterable[MapPart], jobs: CallJobs) -> int:
    """Cancel the open calls of these parts. Return their number.

    Raises TitanError, TimeoutError.
    """

    async def cancel(part: MapPart) -> int:
        await part.settled.wait()
        return await jobs.cancel(part.run) if part.run else 0

    return sum(await asyncio.wait_for(asyncio.gather(*map(cancel, parts)), CANCEL_S))
