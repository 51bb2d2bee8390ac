"""Calls of Python functions as jobs: their submissions, and the delivery of their results.

Calls that are made close together form one submission. A map is submitted in chunks of thousands,
so that the first calls run while the last are still being pickled. Each submission collects its own
results. It is repeated under its idempotency key if the connection breaks.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from titan.errors import CallerError, ConnectionLost, JobFailed, NotFound
from titan.model.dag import MAX_SECONDS, DagSpec, JobTemplate
from titan.model.states import JobState
from titan.model.values import BY_CONTENT_BYTES, INLINE_BYTES, artifact_of, size_of
from titan.protocol import messages as msg
from titan.sdk import uploads
from titan.sdk.call_future import CallFuture
from titan.sdk.call_jobs import CallJobs
from titan.sdk.compute import Computed, Settle
from titan.sdk.connection import Connection
from titan.sdk.functions import Content, Function, Parcel, error_of, name_of, pack_arguments, parcelled, printable, value_of
from titan.sdk.map_parts import Map, MapPart
from titan.sdk.progress_bar import MapProgress, checked
from titan.sdk.run import submitted_here
from titan.sdk.slot_release import nested_priority
from titan.sdk.tasks import Options, Task, TaskCall, plan, template_of_task
from titan.sdk.unacknowledged import UnacknowledgedCalls

T = TypeVar("T")
SUBMISSION = 4096
"""Calls in one submission."""
SUBMISSION_BYTES = 32 << 20
"""Large arguments after which a submission of a map ends."""
FETCHES = 4
"""Large values to fetch at the same time."""
PREFETCH_BYTES = 64 << 20
"""Large values to fetch before a map's consumer needs them."""


CLOSED = "the client was closed before the result arrived: the call continues, and its run keeps the result (`titan status`)"

UNKNOWN = "the client was closed before the master acknowledged the call: check with `titan status` whether it runs"


class Calls:
    """The calls of one client.

    Methods may be called from any thread. The connection's loop does the work.
    """

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, close_timeout_s: float) -> None:
        self._connection = connection
        self._loop = loop
        self.jobs = CallJobs(connection, loop)
        self._maps: weakref.WeakSet[Map] = weakref.WeakSet()
        """Maps whose results are not all read."""
        self._functions: weakref.WeakKeyDictionary[Callable[..., Any], Function] = weakref.WeakKeyDictionary()
        self._staged: dict[str, asyncio.Future[None]] = {}
        self.unacknowledged = UnacknowledgedCalls(loop, close_timeout_s)
        self._lock = self.unacknowledged.lock
        self._pending: list[Entry] = []
        self._ticket = 0
        """Ticket of the pending calls."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[int, Callable[[BaseException], None]] = {}
        self._numbers = 0
        self._fetching = asyncio.Semaphore(FETCHES)

    def callee(self, function: Callable[..., Any], changes: Mapping[str, Any]) -> Callee:
        """Return the function with its options.

        A task has its own options, another function the default ones. `changes` replace some.
        """
        if not isinstance(function, Task):
            return Callee(self.function(function), _nested(DEFAULT_OPTIONS.changed(changes)))
        if function._after:
            raise CallerError(f"{function!r} waits for {function._after[0]!r}: submit its call and that job in one DAG")
        return Callee(self.function(function.function), _nested(function._options.changed(changes)))

    def function(self, function: Callable[..., Any]) -> Function:
        """Return the pickled function. It is pickled only once in the function's lifetime."""
        try:
            known = self._functions.get(function)
            if known is None:
                known = self._functions[function] = Function(function)
            return known
        except TypeError:  # not hashable, or no weak reference to it is possible
            return Function(function)

    # -- single calls ------------------------------------------------------------------------------
    def submit(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> CallFuture[T]:
        entry = self.prepare(function, args, kwargs, options)
        self.hand_in(entry)
        return entry[3]

    def prepare(
        self, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]
    ) -> Entry:
        """Pickle a call, which `hand_in` submits.

        Raises CallerError, InvalidGraph, LimitExceeded.
        """
        callee = self.callee(function, options)
        return callee, *parcelled(pack_arguments(args, kwargs)), CallFuture[Any](self.jobs)

    def hand_in(self, entry: Entry) -> None:
        """Submit a call. Not every call is a submission of its own."""
        with self._lock:
            pending = self._pending
            pending.append(entry)
            first = len(pending) == 1
            if first:
                self._ticket = self.unacknowledged.add(lambda: _names_of(pending))
        if first:
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
            parts = [pending[at : at + SUBMISSION] for at in range(0, len(pending), SUBMISSION)]
            tickets = [self.unacknowledged.add(partial(_names_of, part)) for part in parts]
            whole = self._ticket
        self.unacknowledged.acknowledge(whole)
        for part, ticket in zip(parts, tickets, strict=True):
            callees = [callee for callee, _, _, _ in part]
            functions = list({callee.function.hash: callee.function for callee in callees}.values())
            make = partial(_spec, callees, [payload for _, payload, _, _ in part])
            parcels = [parcel for _, _, parcel, _ in part if parcel is not None]
            self._start(ticket, functions, parcels, make, _Futures(part, self.settle, self.jobs))

    # -- graphs of tasks ---------------------------------------------------------------------------
    def compute(self, wanted: list[TaskCall[Any]]) -> list[CallFuture[Any]]:
        """Submit the wanted nodes with all that they need. Return a future for each wanted node."""
        if not wanted:
            return []
        planned = plan(wanted, self.function)
        templates = planned.spec.templates
        templates[:] = [msgspec.structs.replace(template, priority=nested_priority(template.priority)) for template in templates]
        sink, positions = Computed(planned, self.settle, self.jobs), sorted(set(planned.wanted))
        with self._lock:
            ticket = self.unacknowledged.add(lambda: planned.names)
        self._loop.call_soon_threadsafe(
            self._start, ticket, planned.functions, planned.parcels, lambda: planned.spec, sink, positions
        )
        return [sink.futures[position] for position in planned.wanted]

    # -- maps --------------------------------------------------------------------------------------
    def map(
        self,
        function: Callable[..., T],
        iterables: tuple[Iterable[Any], ...],
        chunksize: int | str,
        timeout: float | None,
        options: Mapping[str, Any],
        *,
        detach: bool,
        progress: bool | str,
    ) -> Iterator[T]:
        if not iterables:
            raise CallerError("map: give at least one iterable")
        size = 1 if chunksize == "auto" else chunksize
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise CallerError(f'map: chunksize must be "auto" or a positive integer, not {chunksize!r}')
        deadline = None if timeout is None else time.monotonic() + timeout
        rows: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        started = Map(detached=detach, progress=MapProgress() if checked(progress) else None, always=progress == "always")
        if size == 1:
            return self._map(self.callee(function, options), rows, deadline, started)
        return self._map_chunks(function, rows, size, deadline, options, started)

    def _map(
        self,
        callee: Callee,
        rows: Iterator[tuple[Any, ...]],
        deadline: float | None,
        started: Map,
        sizes: Sequence[int] = (),
    ) -> Iterator[Any]:
        """Submit a job for each row. `sizes`: number of calls in each job, which grows with the
        rows; empty: one in each."""
        total = 0
        try:
            while True:
                payloads, parcels = _next_part(rows)
                if not payloads:
                    break
                calls = sizes[total : total + len(payloads)]
                part = MapPart(len(payloads), callee.function.name, started.progress, calls)
                total += len(payloads)
                started.parts.append(part)
                make = partial(_spec, [callee] * len(payloads), payloads)
                with self._lock:
                    ticket = self.unacknowledged.add(part.names)
                self._loop.call_soon_threadsafe(self._start, ticket, [callee.function], parcels, make, part)
        except KeyboardInterrupt as interrupt:
            started.cancel_after(interrupt, self.jobs)
            raise
        self._maps.add(started)
        if started.progress is not None:
            started.progress.begin(sum(sizes) if sizes else total, callee.function.name, always=started.always)
        return self._results(started, deadline)

    def _map_chunks(
        self,
        function: Callable[..., T],
        rows: Iterator[tuple[Any, ...]],
        size: int,
        deadline: float | None,
        changes: Mapping[str, Any],
        started: Map,
    ) -> Iterator[T]:
        options = self.callee(function, changes).options
        plain = function.function if isinstance(function, Task) else function
        tries = options.retries + 1

        def run(chunk: list[tuple[Any, ...]]) -> list[tuple[bool, Any]]:
            """Run the chunk on the worker, where only the runner's module can be imported."""
            import sys

            _titan_wrapper = None  # tracebacks leave this frame out

            results: list[tuple[bool, Any]] = []
            for args in chunk:
                for left in range(tries - 1, -1, -1):
                    try:
                        results.append((True, plain(*args)))
                        break
                    except BaseException as e:
                        if not left:
                            results.append((False, sys.modules["_titan_runner"].describe(e)))
            return results

        run.__qualname__ = name_of(plain)
        timeout = None if options.timeout is None else min(MAX_SECONDS, options.timeout * size)
        callee = Callee(self.function(run), replace(options, timeout=timeout))
        sizes: list[int] = []

        def chunks() -> Iterator[tuple[list[tuple[Any, ...]]]]:
            while chunk := list(islice(rows, size)):
                sizes.append(len(chunk))
                yield (chunk,)

        return _chunk_results(self._map(callee, chunks(), deadline, started, sizes))

    # -- submissions -------------------------------------------------------------------------------
    def _start(
        self,
        ticket: int,
        functions: list[Function],
        parcels: list[Parcel],
        make: Callable[[], DagSpec],
        sink: _Sink,
        wanted: Sequence[int] = (),
    ) -> None:
        """Start one submission. Runs in the loop's thread."""
        task = self._loop.create_task(self._run(ticket, functions, parcels, make, sink, list(wanted)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._numbers += 1
        number = self._numbers
        self._open[number] = sink.fail
        task.add_done_callback(lambda _: self._open.pop(number, None))

    async def _run(
        self,
        ticket: int,
        functions: list[Function],
        parcels: list[Parcel],
        make: Callable[[], DagSpec],
        sink: _Sink,
        wanted: list[int],
    ) -> None:
        try:
            for function in functions:
                await self._stage(function)
            if parcels:
                await uploads.upload_data(self._connection, dict(parcels))
                parcels.clear()
            spec = make()
            try:
                await self._collect(ticket, spec, sink, wanted)
            except NotFound:  # the master may have deleted the function, because no run referred to it any more
                if not self.unacknowledged.is_open(ticket):
                    raise
                for function in functions:
                    self._staged.pop(function.hash, None)
                    await self._stage(function)
                await self._collect(ticket, spec, sink, wanted)
        except asyncio.CancelledError:
            sink.fail(ConnectionLost(UNKNOWN if self.unacknowledged.is_open(ticket) else CLOSED))
            raise
        except BaseException as e:
            self.unacknowledged.refuse(ticket, e, sink.unretrieved)
            sink.fail(e)

    async def _collect(self, ticket: int, spec: DagSpec, sink: _Sink, wanted: list[int]) -> None:
        key = secrets.token_hex(16)
        while True:
            try:
                async for message, _ in self._connection.stream(lambda n: msg.Submit(n, key, spec, True, wanted)):
                    if isinstance(message, msg.Values):
                        sink.take(message)
                        if message.last:
                            return
                    elif isinstance(message, msg.Submitted):
                        submitted_here(message.run)
                        sink.accepted(message.run)
                        self.unacknowledged.acknowledge(ticket)
            except ConnectionLost:
                await self._connection.reopen()

    async def _stage(self, function: Function) -> None:
        """Send the function to the master, only once."""
        staged = self._staged.get(function.hash)
        if staged is None:
            staged = self._staged[function.hash] = self._loop.create_future()
            try:
                await uploads.upload_data(self._connection, {function.hash: function.pickled})
                staged.set_result(None)
            except BaseException as e:
                self._staged.pop(function.hash, None)
                staged.set_exception(e)
                staged.exception()
                raise
        await asyncio.shield(staged)

    # -- values ------------------------------------------------------------------------------------
    def settle(self, future: Future[Any], state: int, value: bytes, reason: str) -> None:
        """Set a running future to the result of its job, after the fetch of a large value.

        Runs in the loop's thread.
        """
        if artifact_of(value) is None and state != JobState.DEAD:
            _set(future, partial(value_of, state, value, reason))
            return

        async def fetch() -> None:
            try:
                content = None if artifact_of(value) is None else await self._content(value)
                future.set_result(value_of(state, value, reason, content))
            except asyncio.CancelledError:
                future.set_exception(ConnectionLost(CLOSED))
                raise
            except BaseException as e:
                if isinstance(future, CallFuture):
                    await self.jobs.explain(e, *future.run_and_job)
                future.set_exception(e)

        task = self._loop.create_task(fetch())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _content(self, value: bytes) -> Content:
        """Fetch a large value. At most FETCHES run at the same time."""
        hash_ = artifact_of(value)
        assert hash_ is not None
        async with self._fetching:
            return await uploads.fetch_value(self._connection, hash_, size_of(value))

    def _results(self, started: Map, deadline: float | None) -> Iterator[Any]:
        """Yield results in order. An interrupt cancels the calls that are not over."""
        try:
            yield from self._ordered(started.parts, deadline)
        except KeyboardInterrupt as interrupt:
            started.cancel_after(interrupt, self.jobs)
            raise
        finally:
            self._maps.discard(started)
            if started.progress is not None:
                started.progress.close()

    def interrupted(self, interrupt: BaseException) -> None:
        """Cancel the open maps after an interrupt that ends the program or the client's block."""
        for started in list(self._maps):
            started.cancel_after(interrupt, self.jobs)

    def _ordered(self, batches: list[MapPart], deadline: float | None) -> Iterator[Any]:
        """Yield results in order. The next few large values are prefetched meanwhile."""
        prefetched: dict[tuple[int, int], Future[Content]] = {}
        for number, slots in enumerate(batches):
            for at in range(len(slots.rows)):
                state, value, reason = slots.rows[at] or slots.row(at, deadline)
                content = None
                if len(value) == BY_CONTENT_BYTES and artifact_of(value) is not None:
                    self._prefetch(batches, number, at, value, prefetched)
                    content = prefetched.pop((number, at)).result(
                        None if deadline is None else max(0.0, deadline - time.monotonic())
                    )
                slots.rows[at] = None
                try:
                    result = value_of(state, value, reason, content)
                except (JobFailed, ImportError) as e:
                    self.jobs.wait(self.jobs.explain(e, slots.run, str(at)))
                    raise
                yield result

    def _prefetch(
        self,
        batches: list[MapPart],
        number: int,
        at: int,
        value: bytes,
        prefetched: dict[tuple[int, int], Future[Content]],
    ) -> None:
        """Start to fetch this value and the available ones after it, up to PREFETCH_BYTES."""
        size = 0
        for batch in range(number, len(batches)):
            rows = batches[batch].rows
            for i in range(at if batch == number else 0, len(rows)):
                row = rows[i] if (batch, i) != (number, at) else (0, value, "")
                if row is None or artifact_of(row[1]) is None:
                    return
                if (batch, i) not in prefetched:
                    prefetched[batch, i] = asyncio.run_coroutine_threadsafe(self._content(row[1]), self._loop)
                size += size_of(row[1])
                if size >= PREFETCH_BYTES:
                    return

    def abandon(self) -> None:
        """Fail all calls without a result, because the client is closed."""
        self.unacknowledged.forget()
        error = ConnectionLost(CLOSED)
        for fail in list(self._open.values()):
            fail(error)
        with self._lock:
            pending, self._pending = self._pending, []
        _Futures(pending, self.settle, self.jobs).fail(error)


class Callee(NamedTuple):
    function: Function
    options: Options


DEFAULT_OPTIONS = Options()
Entry = tuple[Callee, bytes, Parcel | None, CallFuture[Any]]


def _nested(options: Options) -> Options:
    priority = nested_priority(options.priority)
    return options if priority == options.priority else replace(options, priority=priority)


def _names_of(entries: list[Entry]) -> list[str]:
    return [callee.function.name for callee, _, _, _ in entries]


def _spec(callees: list[Callee], payloads: list[bytes]) -> DagSpec:
    """Return a DAG of calls without dependencies."""
    position: dict[tuple[str, Options], int] = {}
    templates: list[JobTemplate] = []
    template_of = []
    last, at = None, 0
    for callee in callees:
        if callee is not last:
            last, at = callee, position.setdefault((callee.function.hash, callee.options), len(position))
            if at == len(templates):
                templates.append(template_of_task(*callee))
        template_of.append(at)
    names = list(dict.fromkeys([template.function for template in templates]))
    count = len(payloads)
    return DagSpec(
        name=printable(callees[0].function.name if len(names) == 1 else f"{len(names)} functions"),
        version="",
        templates=templates,
        ids=[str(i) for i in range(count)],
        template_of=template_of,
        args=[()] * count,
        parents=[()] * count,
        payloads=payloads,
    )


def _next_part(rows: Iterator[tuple[Any, ...]]) -> tuple[list[bytes], list[Parcel]]:
    """Return (payloads, parcels to stage) of the next submission of a map."""
    payloads: list[bytes] = []
    parcels: list[Parcel] = []
    size = 0
    for args in islice(rows, SUBMISSION):
        payload = pack_arguments(args, {})
        if len(payload) <= INLINE_BYTES:
            payloads.append(payload)
            continue
        payload, parcel = parcelled(payload)
        payloads.append(payload)
        if parcel is not None:
            parcels.append(parcel)
            size += len(parcel.data)
            if size >= SUBMISSION_BYTES:
                break
    return payloads, parcels


def _chunk_results(chunks: Iterator[list[tuple[bool, Any]]]) -> Iterator[Any]:
    """Yield the results of chunks. Raise the exception of a call in place of its result."""
    for results in chunks:
        for succeeded, result in results:
            if not succeeded:
                raise error_of(result)
            yield result


def _set(future: Future[Any], make: Callable[[], Any]) -> None:
    try:
        future.set_result(make())
    except BaseException as e:
        future.set_exception(e)


class _Sink(Protocol):
    """Receiver of the results of one submission."""

    def accepted(self, run: str) -> None:
        """Record the run. May be called again."""

    def unretrieved(self) -> Iterable[str]:
        """Return the functions, one per call, whose outcome the program has not retrieved."""

    def take(self, message: msg.Values) -> None: ...

    def fail(self, error: BaseException) -> None: ...


class _Futures:
    """Receiver of the results of single calls."""

    def __init__(self, entries: list[Entry], settle: Settle, jobs: CallJobs) -> None:
        self._jobs = jobs
        self._futures = [future for _, _, _, future in entries]
        self._names = _names_of(entries)
        self._settle = settle

    def accepted(self, run: str) -> None:
        for i, future in enumerate(self._futures):
            future.acknowledge(run, str(i), self)

    async def cancel_call(self, future: CallFuture[Any], *, force: bool) -> bool:
        run, job = future.run_and_job
        return await self._jobs.cancel(run, job, unstarted=not force) > 0

    def unretrieved(self) -> list[str]:
        return [
            name for name, future in zip(self._names, self._futures, strict=True) if not future.retrieved and not future.cancelled()
        ]

    def take(self, message: msg.Values) -> None:
        for position, state, value, reason in zip(message.positions, message.states, message.values, message.reasons, strict=True):
            future = self._futures[position]
            if state in (JobState.CANCELLED, JobState.SKIPPED):
                future.end_cancelled(reason)
            elif future.begin_settling():
                self._settle(future, state, value, reason)

    def fail(self, error: BaseException) -> None:
        for future in self._futures:
            if future.begin_settling():
                future.set_exception(error)
