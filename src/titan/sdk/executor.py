"""`TitanExecutor`: the standard library's interface of executors, for calls on the cluster.

Owns the calls that wait because `max_workers` calls of the executor are open, and the initializer
of an executor's calls. It must not know how calls are sent.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, Protocol, TypeVar, cast

from titan.errors import CallerError
from titan.sdk.call_future import CallFuture, cancel_unstarted
from titan.sdk.calls import Calls, Entry
from titan.sdk.functions import name_of
from titan.sdk.tasks import Options, Task

T = TypeVar("T")


class Caller(Protocol):
    """Client, as its executor knows it."""

    def _submitter(self) -> Calls: ...

    def _settle_calls(self) -> None:
        """Wait until the master has acknowledged all submitted calls.

        Raises CallsNotAcknowledged.
        """


class TitanExecutor(Executor):
    """Executor of the standard library's interface, whose calls run on the cluster.

    See Client.executor.
    """

    def __init__(
        self,
        client: Caller,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if max_workers is not None and (not isinstance(max_workers, int) or isinstance(max_workers, bool) or max_workers < 1):
            raise CallerError(f"executor: max_workers must be None or a positive integer, not {max_workers!r}")
        if initializer is not None and not callable(initializer):
            raise CallerError(f"executor: initializer must be a function, not {initializer!r}")
        Options().changed(options or {})
        self._client = client
        self._limit = max_workers
        self._initialize = None if initializer is None else _Initializer(initializer, tuple(initargs))
        self._options = dict(options or {})
        self._changed = threading.Condition()
        self._is_shut_down = False
        self._unfinished: dict[CallFuture[Any], None] = {}
        self._open: dict[CallFuture[Any], None] = {}
        """Submitted calls that are not over."""
        self._held: deque[tuple[Calls, Entry, int]] = deque()
        """Calls that wait for others of this executor, with their tickets."""
        self._pid = os.getpid()
        _executors.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]:
        """Submit `fn(*args, **kwargs)`. Return its future at once. Raises like Client.call."""
        calls = self._client._submitter()
        entry = calls.prepare(fn if self._initialize is None else self._initialize.before(fn), args, kwargs, self._options)
        future = entry[3]
        with self._changed:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._unfinished[future] = None
            full = self._limit is not None and len(self._open) >= self._limit
            if not full:
                self._open[future] = None
            else:
                self._held.append((calls, entry, calls.unacknowledged.hold([entry[0].function.name])))
        if not full:
            calls.hand_in(entry)
        future.add_done_callback(self._on_done)
        return future

    def _on_done(self, done: Future[Any]) -> None:
        with self._changed:
            self._unfinished.pop(cast("CallFuture[Any]", done), None)
            self._open.pop(cast("CallFuture[Any]", done), None)
            ready = []
            while self._held and len(self._open) < (self._limit or 0):
                ready.append(self._held.popleft())
                if not ready[-1][1][3].done():
                    self._open[ready[-1][1][3]] = None
        for calls, entry, ticket in ready:
            if entry[3] in self._open:
                calls.hand_in(entry)
            calls.unacknowledged.acknowledge(ticket)
        with self._changed:
            self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down like the standard library's executors, with one difference.

        `cancel_futures` cancels the calls that do not run yet, and leaves the running ones.
        `wait=False` still waits until the master has acknowledged all calls. Then they run without
        this program. With `max_workers` a call is submitted when an earlier one has ended. Raises
        CallsNotAcknowledged.
        """
        with self._changed:
            self._is_shut_down = True
            unfinished = list(self._unfinished)
        if cancel_futures:
            cancel_unstarted(unfinished)
        if wait:
            for future in unfinished:
                with contextlib.suppress(CancelledError):
                    future.exception()
        else:
            self._client._settle_calls()

    def _drain(self) -> None:
        """Wait until all calls are submitted, at the end of the program."""
        if self._pid == os.getpid():  # a fork has no thread that submits them
            with self._changed:
                self._changed.wait_for(lambda: not self._held)


class _Initializer:
    """Function that runs once in each process, before the first call of an executor there."""

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._token = secrets.token_hex(8)
        self._known: weakref.WeakKeyDictionary[Callable[..., Any], Any] = weakref.WeakKeyDictionary()

    def before(self, fn: Callable[..., T]) -> Callable[..., T]:
        """Return a function that runs the initializer if it has not run, and then `fn`."""
        try:
            if fn not in self._known:
                self._known[fn] = self._made(fn)
            return cast("Callable[..., T]", self._known[fn])
        except TypeError:  # not hashable, or no weak reference to it is possible
            return self._made(fn)

    def _made(self, fn: Callable[..., T]) -> Callable[..., T]:
        plain: Callable[..., T] = fn.function if isinstance(fn, Task) else fn
        initialize, arguments, token = self._function, self._arguments, self._token

        def run(*args: Any, **kwargs: Any) -> T:
            """Run on the worker, where only the runner's module can be imported."""
            import sys
            from concurrent.futures import BrokenExecutor

            _titan_wrapper = None  # tracebacks leave this frame out
            done = vars(sys.modules["_titan_runner"]).setdefault("initialized", {})
            if token not in done:
                try:
                    initialize(*arguments)
                except Exception as error:
                    raise BrokenExecutor(f"the initializer failed: {type(error).__name__}: {error}") from error
                done[token] = None
            return plain(*args, **kwargs)

        run.__qualname__ = name_of(plain)
        return cast("Callable[..., T]", Task(run, fn._options, fn._after)) if isinstance(fn, Task) else run


_executors: weakref.WeakSet[TitanExecutor] = weakref.WeakSet()


@atexit.register
def _drain_all() -> None:
    for executor in list(_executors):
        executor._drain()
