"""Calls that were handed in: which of them the master has not acknowledged yet, and what is said of
those that were lost.

A call is handed in when `call`, `map`, `compute` or `submit` returns. Leaving a client, shutting an
executor down and the end of the program wait until the master has all of them on disk; then they
run, whoever is there. Owns that account and the wait at the end of the program; must not know how
calls are sent.
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
from concurrent.futures import Future
from typing import Any, TypeVar

from titan.errors import CallsNotAcknowledged
from titan.sdk.lending import runner_of_call, slot_lent

T = TypeVar("T")
CLOSE_TIMEOUT_S = 30.0
NAMED = 5
"""Functions that a message names."""
REFUSED = 1_000
"""Submissions that were refused and are told of at the end; the newest."""


class CallFuture(Future[T]):
    """The future of a call. `job` is RUN/JOB once the master has acknowledged it: the result is
    there too, for any client."""

    place: tuple[str, str] | None = None
    seen = False
    """Somebody has looked at what came of it."""

    @property
    def job(self) -> str | None:
        return f"{self.place[0]}/{self.place[1]}" if self.place is not None else None

    def result(self, timeout: float | None = None) -> T:
        try:
            if self.done() or runner_of_call() is None:
                return super().result(timeout)
            with slot_lent():
                return super().result(timeout)
        finally:
            self.seen = self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            if self.done() or runner_of_call() is None:
                return super().exception(timeout)
            with slot_lent():
                return super().exception(timeout)
        finally:
            self.seen = self.done()


class HandedIn:
    """The account of one client. Its lock is for the caller's own state beside it too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self.lock = threading.Lock()
        self._timeout_s = timeout_s
        self._loop = loop
        self._pid = os.getpid()
        self._numbers = 0
        self._open: dict[int, Callable[[], Iterable[str]]] = {}
        self._refused: deque[tuple[Callable[[], Iterable[str]], BaseException]] = deque(maxlen=REFUSED)
        self._emptied = asyncio.Event()
        _watched[id(self)] = self

    def add(self, names: Callable[[], Iterable[str]]) -> int:
        """Calls that wait for the master's word, as a ticket; with the lock held. `names()`: their
        functions', one per call."""
        self._numbers += 1
        self._open[self._numbers] = names
        return self._numbers

    def acknowledge(self, ticket: int) -> None:
        """In the loop's thread, like the next."""
        with self.lock:
            if self._open.pop(ticket, None) is not None and not self._open:
                self._emptied.set()

    def refuse(self, ticket: int, error: BaseException, unseen: Callable[[], Iterable[str]]) -> None:
        """They will not run. `unseen()`: the functions of those of which nobody has looked at the
        error."""
        with self.lock:
            if ticket in self._open:
                self._refused.append((unseen, error))
        self.acknowledge(ticket)

    def waits(self, ticket: int) -> bool:
        return ticket in self._open

    async def settled(self) -> None:
        """Until all that was handed in is acknowledged. Raises CallsNotAcknowledged for what is not
        then, and what was refused."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while self._open:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            raise self.loss(f"within {self._timeout_s:g} s (close_timeout_s)") from None
        lost = self._take_refused()
        if lost is not None:
            raise lost

    def wait(self) -> None:
        """As `settled`, for a thread that is not the loop's. Ctrl-C ends it, with a note of what is
        lost."""
        # a fork has none of the threads
        if self._pid != os.getpid() or not (self._open or self._refused):
            return
        future = asyncio.run_coroutine_threadsafe(self.settled(), self._loop)
        try:
            future.result()
        except KeyboardInterrupt as interrupt:
            future.cancel()
            if self._open:
                interrupt.add_note(str(self.loss("before the interrupt")))
            raise

    def loss(self, when: str) -> CallsNotAcknowledged:
        with self.lock:
            calls = Counter(name for names in self._open.values() for name in names())
        told = (
            f"{_counted(calls)} not acknowledged by the master {when}: whether they run is not known. "
            "`titan status` lists the runs that it has; hand the others in again"
        )
        return CallsNotAcknowledged(told, dict(calls))

    def forget(self) -> None:
        """The client is closed."""
        _watched.pop(id(self), None)

    def _take_refused(self) -> CallsNotAcknowledged | None:
        found = [(Counter(unseen()), error) for unseen, error in self._refused]
        self._refused.clear()
        calls = sum((names for names, _ in found), Counter[str]())
        if not calls:
            return None
        cause = next(error for names, error in found if names)
        lost = CallsNotAcknowledged(
            f"{_counted(calls)} not taken by the master and will not run: {type(cause).__name__}: {cause}", dict(calls)
        )
        lost.__cause__ = cause
        return lost

    # -- the end of the program --------------------------------------------------------------------
    def finish(self) -> None:
        """Raises CallsNotAcknowledged."""
        if self._pid != os.getpid():
            return
        if self._loop.is_running():
            self.wait()
        elif self._open:
            raise self.loss("before its event loop ended")


def _counted(calls: Counter[str]) -> str:
    """
    >>> _counted(Counter({"square": 2, "cube": 1}))
    '3 calls (2 of square, 1 of cube) were'
    """
    named = [f"{count:,} of {name}" for name, count in calls.most_common(NAMED)]
    if len(calls) > NAMED:
        named.append(f"{len(calls) - NAMED:,} other functions")
    count = calls.total()
    return f"{count:,} {'call' if count == 1 else 'calls'} ({', '.join(named)}) {'was' if count == 1 else 'were'}"


_watched: dict[int, HandedIn] = {}
"""The accounts of clients that were not closed."""
at_end: dict[int, Callable[[], None]] = {}
"""Clean-up at the end of the program, after the wait, by the id of its client.

A thread that runs an event loop in C must not be there when the interpreter is taken down: taking
its lock then is a crash."""


@atexit.register
def _at_exit() -> None:
    _finish_all()
    for end in list(at_end.values()):
        with contextlib.suppress(Exception):
            end()


def _finish_all() -> None:
    for account in list(_watched.values()):
        try:
            account.finish()
        except BaseException as e:
            notes = getattr(e, "__notes__", ())
            if sys.stderr is not None:
                sys.stderr.write(f"titan: {' '.join(notes) or f'{type(e).__name__}: {e}'}\n")
                _fail_exit()


def _fail_exit() -> None:
    """Let the program end with a status that is not 0, after all else that is done at its end.

    An exit handler cannot say so itself. Python's status is 120 if the last flush of its streams
    fails, which it says nothing of for stderr: so that flush, and no other, is made to fail.
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
        except ValueError:  # no code of Python calls: the interpreter ends
            name = "flush_streams"  # which does it for a script of a job
        if name == "flush_streams":
            raise OSError("calls were lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
