"""Submitted calls that the master has not acknowledged yet, and the error that lists lost ones.

A call is submitted when `call`, `map`, `compute` or `submit` returns. Leaving a client's `with`
block, shutting down an executor and the end of the program each wait until the master has all
submitted calls on disk. Once they are on disk, the calls run without the client. This module owns
the list of such calls and the wait at the end of the program. It must not know how calls are sent.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from titan.errors import CallsNotAcknowledged
from titan.sdk.loop_thread import run_in_loop

CLOSE_TIMEOUT_S = 30.0
MAX_NAMED = 5
"""Maximum number of functions that an error message names."""
MAX_REFUSED = 1_000
"""Maximum number of refused submissions to report at the end; the newest are kept."""


class UnacknowledgedCalls:
    """The unacknowledged calls of one client. The code that uses it also guards its own related
    state with `lock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.lock = threading.Lock()
        self._timeout_s = timeout_s
        self._loop = loop
        self._pid = os.getpid()
        self._numbers = 0
        self._open: dict[int, Callable[[], Iterable[str]]] = {}
        self._refused: deque[tuple[Callable[[], Iterable[str]], BaseException]] = deque(maxlen=MAX_REFUSED)
        self._all_acknowledged = asyncio.Event()
        _open_clients[id(self)] = self

    def add(self, names: Callable[[], Iterable[str]]) -> int:
        """Add calls that await acknowledgement, and return their ticket. The caller holds the lock.

        `names()` returns the names of their functions, one per call.
        """
        self._numbers += 1
        self._open[self._numbers] = names
        return self._numbers

    def hold(self, names: list[str]) -> int:
        """Add calls that are submitted later, and return their ticket."""
        with self.lock:
            return self.add(lambda: names)

    def acknowledge(self, ticket: int) -> None:
        """Remove acknowledged calls. Runs in the loop's thread, like `refuse`."""
        with self.lock:
            if self._open.pop(ticket, None) is not None and not self._open:
                self._all_acknowledged.set()

    def refuse(self, ticket: int, error: BaseException, unretrieved: Callable[[], Iterable[str]]) -> None:
        """Remove calls that will not run, and keep their error.

        `unretrieved()` returns the functions of those calls whose error the program has not
        retrieved.
        """
        with self.lock:
            if ticket in self._open:
                self._refused.append((unretrieved, error))
        self.acknowledge(ticket)

    def is_open(self, ticket: int) -> bool:
        return ticket in self._open

    async def wait_async(self) -> None:
        """Wait until all submitted calls are acknowledged.

        Raises CallsNotAcknowledged for calls that are not acknowledged in time, and for refused
        ones.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                while self._open:
                    self._all_acknowledged.clear()
                    await self._all_acknowledged.wait()
        except TimeoutError:
            raise self.loss(f"within {self._timeout_s:g} s (close_timeout_s)") from None
        lost = self._take_refused()
        if lost is not None:
            raise lost

    def wait(self) -> None:
        """Wait like `wait_async`, in a thread other than the loop's.

        Ctrl-C ends the wait, and the interrupt gets a note about the lost calls.
        """
        # A fork does not have the loop's thread.
        if self._pid != os.getpid() or not (self._open or self._refused):
            return
        try:
            run_in_loop(self._loop, self.wait_async())
        except KeyboardInterrupt as interrupt:
            if self._open:
                interrupt.add_note(str(self.loss("before the interrupt")))
            raise

    def loss(self, when: str) -> CallsNotAcknowledged:
        with self.lock:
            calls = Counter(name for names in self._open.values() for name in names())
        return CallsNotAcknowledged(
            f"{_counted(calls)} not acknowledged by the master {when}. They may or may not run. "
            "Find their runs with `titan status`, and submit the missing ones again",
            dict(calls),
        )

    def forget(self) -> None:
        """Stop tracking the client, which is closed."""
        _open_clients.pop(id(self), None)

    def _take_refused(self) -> CallsNotAcknowledged | None:
        refused = [(Counter(unretrieved()), error) for unretrieved, error in self._refused]
        self._refused.clear()
        calls = sum((names for names, _ in refused), Counter[str]())
        if not calls:
            return None
        cause = next(error for names, error in refused if names)
        lost = CallsNotAcknowledged(
            f"{_counted(calls)} refused by the master and will not run: {type(cause).__name__}: {cause}", dict(calls)
        )
        lost.__cause__ = cause
        return lost

    # -- the end of the program --------------------------------------------------------------------
    def finish(self) -> None:
        """Wait at the end of the program. Raises CallsNotAcknowledged."""
        if self._pid != os.getpid():
            return
        if self._loop.is_running():
            self.wait()
        elif self._open:
            raise self.loss("before the client's event loop ended")


def _counted(calls: Counter[str]) -> str:
    """
    >>> _counted(Counter({"square": 2, "cube": 1}))
    '3 calls (2 of square, 1 of cube) were'
    """
    named = [f"{count:,} of {name}" for name, count in calls.most_common(MAX_NAMED)]
    if len(calls) > MAX_NAMED:
        named.append(f"{len(calls) - MAX_NAMED:,} other functions")
    count = calls.total()
    return f"{count:,} {'call' if count == 1 else 'calls'} ({', '.join(named)}) {'was' if count == 1 else 'were'}"


_open_clients: dict[int, UnacknowledgedCalls] = {}
"""Unacknowledged calls of the clients that are not closed, by object id."""
at_end: dict[int, Callable[[], None]] = {}
"""id of a client -> its clean-up function, which is called at the end of the program, after the
wait for acknowledgements.

A thread that runs an event loop in C must end before the interpreter is finalized. If such a thread
takes the interpreter's lock during finalization, the process crashes.
"""


@atexit.register
def _at_exit() -> None:
    _finish_all()
    for end in list(at_end.values()):
        with contextlib.suppress(Exception):
            end()


def _finish_all() -> None:
    for calls in list(_open_clients.values()):
        try:
            calls.finish()
        except BaseException as e:
            notes = getattr(e, "__notes__", ())
            if sys.stderr is not None:
                sys.stderr.write(f"titan: {' '.join(notes) or f'{type(e).__name__}: {e}'}\n")
                _fail_exit()


def _fail_exit() -> None:
    """Let the program exit with a status other than 0, after all other clean-up.

    An exit handler cannot set the status. Python exits with 120 if the last flush of its streams
    fails, and prints no message if that stream is stderr. So the stream is replaced by one whose
    last flush fails.
    """
    if not isinstance(sys.stderr, _Failing):
        sys.stderr = _Failing(sys.stderr)


class _Failing:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def flush(self) -> None:
        self._stream.flush()
        try:
            name = sys._getframe(1).f_code.co_name
        except ValueError:  # no Python frame calls this: the interpreter is finalizing
            name = "flush_streams"  # treated like the final flush of a job's script
        if name == "flush_streams":
            raise OSError("calls were lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
