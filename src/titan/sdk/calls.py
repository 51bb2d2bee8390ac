"""Calls of Python functions as jobs: what is pickled, how calls become submissions, and how results find their way back.

Calls that are made close together travel as one submission; a map goes in chunks of thousands, so that the first run while the last
are still pickled. Each submission collects its own results and is repeated under its key if the connection breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import pickle
import secrets
import site
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from titan.errors import CallerError, ConnectionLost, JobFailed, LimitExceeded, TitanError
from titan.model.dag import MAX_PAYLOAD_BYTES, DagSpec, JobTemplate
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

if TYPE_CHECKING:
    from titan.sdk.client import Client

T = TypeVar("T")
SUBMISSION = 4096
"""Calls in one submission."""
PIECE_BYTES = 1 << 20


class RemoteTraceback(Exception):
    """The cause of an exception that a call raised: the traceback of the process where it ran, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class Function:
    """A function that travels."""

    __slots__ = ("hash", "name", "pickled")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.pickled = pickle_by_value(function)
        self.hash = hashlib.sha256(self.pickled).hexdigest()
        self.name = str(getattr(function, "__qualname__", None) or type(function).__qualname__)[:200]


def pickle_by_value(function: Callable[..., Any]) -> bytes:
    """With what it needs of modules that are not installed: the worker has the installed ones, and not the caller's own.

    Raises CallerError.
    """
    import cloudpickle

    own = [module for name, module in list(sys.modules.items()) if _is_own(name, module)]
    registered = []
    try:
        for module in own:
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
        pickled: bytes = cloudpickle.dumps(function, 5)
        return pickled
    except Exception as e:
        raise CallerError(f"{function!r} cannot be sent to a worker: {type(e).__name__}: {e}") from e
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _installed() -> tuple[str, ...]:
    places = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(f"{place}/" for place in places if place)


_INSTALLED = _installed()


def _is_own(name: str, module: ModuleType) -> bool:
    if name == "__main__" or name.partition(".")[0] == "titan" or not isinstance(module, ModuleType) or module.__name__ != name:
        return False
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not file.startswith(_INSTALLED)


def value_of(state: int, value: bytes, reason: str) -> Any:
    """What a call returned. Raises what it raised, JobFailed or CancelledError."""
    if state == JobState.COMPLETED:
        return pickle.loads(memoryview(value)[1:]) if value else None
    if state == JobState.CANCELLED:
        raise CancelledError(reason)
    if value[:1] == b"e":
        raise error_of(pickle.loads(memoryview(value)[1:]))
    raise JobFailed(reason or "the job is DEAD")


def error_of(description: tuple[bytes | None, str, str, str]) -> BaseException:
    """The exception that a call raised, as far as it exists here, with the remote traceback as its cause."""
    pickled, kind, text, trace = description
    error: BaseException | None = None
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(pickled)
    if not isinstance(error, BaseException):
        error = JobFailed(f"{kind}: {text}" if kind != "Refused" else text)
    error.__cause__ = RemoteTraceback(trace)
    return error


class Calls:
    """The calls of one client. Methods may be called from any thread; the connection's loop does the work."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._functions: weakref.WeakKeyDictionary[Callable[..., Any], Function] = weakref.WeakKeyDictionary()
        self._staged: dict[str, asyncio.Future[None]] = {}
        self._lock = threading.Lock()
        self._pending: list[tuple[Function, bytes, Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[int, Callable[[BaseException], None]] = {}
        self._numbers = 0

    def function(self, function: Callable[..., Any]) -> Function:
        """Pickled once as long as the function lives."""
        try:
            known = self._functions.get(function)
            if known is None:
                known = self._functions[function] = Function(function)
            return known
        except TypeError:  # neither hashable nor weakly referable
            return Function(function)

    # -- single calls ---------------------------------------------------------------------------------------------------
    def submit(self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        entry = (self.function(function), pack_arguments(args, kwargs), Future[Any]())
        with self._lock:
            self._pending.append(entry)
            first = len(self._pending) == 1
        if first:
            self._loop.call_soon_threadsafe(self._flush)
        return entry[2]

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
        for at in range(0, len(pending), SUBMISSION):
            part = pending[at : at + SUBMISSION]
            functions = list({f.hash: f for f, _, _ in part}.values())
            self._start(functions, [f.hash for f, _, _ in part], [p for _, p, _ in part], _Futures([f for _, _, f in part]))

    # -- maps -----------------------------------------------------------------------------------------------------------
    def map(
        self, function: Callable[..., T], iterables: tuple[Iterable[Any], ...], chunksize: int | str, timeout: float | None
    ) -> Iterator[T]:
        if not iterables:
            raise CallerError("map: give at least one iterable")
        size = 1 if chunksize == "auto" else chunksize
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise CallerError(f'map: chunksize must be "auto" or a positive integer, not {chunksize!r}')
        until = None if timeout is None else time.monotonic() + timeout
        rows: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        return self._map(function, rows, until) if size == 1 else self._map_chunks(function, rows, size, until)

    def _map(self, function: Callable[..., T], rows: Iterator[tuple[Any, ...]], until: float | None) -> Iterator[T]:
        known = self.function(function)
        batches: list[_Slots] = []
        while part := list(islice(rows, SUBMISSION)):
            payloads = [pack_arguments(args, {}) for args in part]
            slots = _Slots(len(part))
            batches.append(slots)
            self._loop.call_soon_threadsafe(self._start, [known], [known.hash] * len(part), payloads, slots)
        return _results(batches, until)

    def _map_chunks(
        self, function: Callable[..., T], rows: Iterator[tuple[Any, ...]], size: int, until: float | None
    ) -> Iterator[T]:
        def run(chunk: list[tuple[Any, ...]]) -> list[T]:
            return [function(*args) for args in chunk]

        chunks = iter(lambda: list(islice(rows, size)), [])
        lists = self._map(run, ((chunk,) for chunk in chunks), until)
        return (value for values in lists for value in values)

    # -- submissions ----------------------------------------------------------------------------------------------------
    def _start(self, functions: list[Function], hashes: list[str], payloads: list[bytes], sink: _Futures | _Slots) -> None:
        """One submission of calls; in the loop's thread."""
        task = self._loop.create_task(self._run(functions, hashes, payloads, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._numbers += 1
        number = self._numbers
        self._open[number] = sink.fail
        task.add_done_callback(lambda _: self._open.pop(number, None))

    async def _run(self, functions: list[Function], hashes: list[str], payloads: list[bytes], sink: _Futures | _Slots) -> None:
        try:
            for function in functions:
                await self._stage(function)
            position = {f.hash: i for i, f in enumerate(functions)}
            name = functions[0].name if len(functions) == 1 else f"{len(functions)} functions"
            count = len(payloads)
            spec = DagSpec(
                name="".join(c if c.isprintable() else "?" for c in name) or "call",
                version="",
                templates=[JobTemplate(function=f.hash, retries=0) for f in functions],
                ids=[str(i) for i in range(count)],
                template_of=[position[h] for h in hashes],
                args=[()] * count,
                parents=[()] * count,
                payloads=payloads,
            )
            await self._collect(spec, sink)
        except asyncio.CancelledError:
            sink.fail(ConnectionLost("the client was closed"))
            raise
        except BaseException as e:
            sink.fail(e)

    async def _collect(self, spec: DagSpec, sink: _Futures | _Slots) -> None:
        key = secrets.token_hex(16)
        while True:
            try:
                async for message, _ in self._connection.stream(lambda n: msg.Submit(n, key, spec, True)):
                    if isinstance(message, msg.Values):
                        sink.take(message)
                        if message.last:
                            return
                    elif isinstance(message, msg.Submitted):
                        sink.accepted(partial(self._cancel, message.run))
            except ConnectionLost:
                await self._connection.reopen()

    def _cancel(self, run: str, job: str) -> None:
        async def cancel() -> None:
            with contextlib.suppress(TitanError):
                await self._connection.call(lambda n: msg.Cancel(n, run, job))

        def begin() -> None:
            task = self._loop.create_task(cancel())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(begin)

    async def _stage(self, function: Function) -> None:
        """Sends the function to the master once."""
        staged = self._staged.get(function.hash)
        if staged is None:
            staged = self._staged[function.hash] = self._loop.create_future()
            try:
                await self._upload(function)
                staged.set_result(None)
            except BaseException as e:
                del self._staged[function.hash]
                staged.set_exception(e)
                staged.exception()
                raise
        await asyncio.shield(staged)

    async def _upload(self, function: Function) -> None:
        hash_, data = function.hash, function.pickled
        answer = await self._connection.call(lambda n: msg.Stage(n, [hash_], [len(data)]))
        assert isinstance(answer, msg.Staged)
        while answer.missing:

            async def pieces() -> Any:
                for at in range(0, max(1, len(data)), PIECE_BYTES):
                    yield at, data[at : at + PIECE_BYTES]

            try:
                await self._connection.put(lambda n, at, _: msg.Put(n, hash_, len(data), at), pieces())
                return
            except ConnectionLost:
                await self._connection.reopen()

    def abandon(self) -> None:
        """The client is closed: what has no result gets none."""
        error = ConnectionLost("the client was closed")
        for fail in list(self._open.values()):
            fail(error)
        with self._lock:
            pending, self._pending = self._pending, []
        _Futures([future for _, _, future in pending]).fail(error)


def pack_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """The payload of a call: the pickle of `args`, or of (args, kwargs) where there are some or `args` looks like such a pair."""
    is_pair = len(args) == 2 and type(args[0]) is tuple and type(args[1]) is dict
    what = (args, kwargs) if kwargs or is_pair else args
    try:
        payload = pickle.dumps(what, 5)
    except Exception:
        import cloudpickle

        try:
            payload = cloudpickle.dumps(what, 5)
        except Exception as e:
            raise CallerError(f"the arguments cannot be sent to a worker: {type(e).__name__}: {e}") from e
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise LimitExceeded(f"the arguments of a call take {len(payload):,} bytes; the limit is {MAX_PAYLOAD_BYTES:,}: pass a file")
    return payload


class _Futures:
    """Where the results of single calls go."""

    def __init__(self, futures: list[Future[Any]]) -> None:
        self._futures = futures

    def accepted(self, cancel: Callable[[str], None]) -> None:
        for i, future in enumerate(self._futures):
            future.add_done_callback(partial(_cancel_job, cancel, str(i)))

    def take(self, it: msg.Values) -> None:
        for position, state, value, reason in zip(it.positions, it.states, it.values, it.reasons, strict=True):
            future = self._futures[position]
            if future.done() or not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(value_of(state, value, reason))
            except BaseException as e:
                future.set_exception(e)

    def fail(self, error: BaseException) -> None:
        for future in self._futures:
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)


def _cancel_job(cancel: Callable[[str], None], job: str, future: Future[Any]) -> None:
    if future.cancelled():
        cancel(job)


class _Slots:
    """Where the results of a part of a map go; one thread waits for them in order."""

    def __init__(self, count: int) -> None:
        self.rows: list[tuple[int, bytes, str] | None] = [None] * count
        self.error: BaseException | None = None
        self._news = threading.Event()

    def accepted(self, cancel: Callable[[str], None]) -> None:
        pass

    def take(self, it: msg.Values) -> None:
        rows = self.rows
        for position, state, value, reason in zip(it.positions, it.states, it.values, it.reasons, strict=True):
            rows[position] = (state, value, reason)
        self._news.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self._news.set()

    def row(self, at: int, until: float | None) -> tuple[int, bytes, str]:
        while True:
            self._news.clear()
            row = self.rows[at]
            if row is not None:
                self.rows[at] = None
                return row
            if self.error is not None:
                raise self.error
            if not self._news.wait(None if until is None else max(0.0, until - time.monotonic())):
                raise TimeoutError("a result is not there yet")


def _results(batches: list[_Slots], until: float | None) -> Iterator[Any]:
    batches.reverse()
    while batches:
        slots = batches.pop()
        for at in range(len(slots.rows)):
            row = slots.rows[at]
            yield value_of(*(row if row is not None else slots.row(at, until)))


class TitanExecutor(Executor):
    """Calls on the cluster behind the interface of the standard library."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._shut = False
        self._unfinished: dict[Future[Any], None] = {}

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        with self._lock:
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            future = self._client.call(fn, *args, **kwargs)
            self._unfinished[future] = None
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._unfinished.pop(future, None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            self._shut = True
            unfinished = list(self._unfinished)
        if cancel_futures:
            for future in unfinished:
                future.cancel()
        if wait:
            for future in unfinished:
                with contextlib.suppress(BaseException):
                    future.exception()
