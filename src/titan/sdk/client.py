"""The client of a master: `AsyncClient`, and `Client`, the same for code without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from titan.errors import CallsNotAcknowledged, ConnectionLost
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk import decisions, scaling, services, submission, uploads
from titan.sdk.address import find_address
from titan.sdk.artifacts import Artifacts, AsyncArtifacts
from titan.sdk.calls import Calls, TitanExecutor
from titan.sdk.connection import Connection
from titan.sdk.decisions import Decision, OpenGate, Retried
from titan.sdk.handed_in import CLOSE_TIMEOUT_S
from titan.sdk.job import DAG, Job
from titan.sdk.lending import slot_lent
from titan.sdk.pipelines import AsyncPipelines, Pipelines
from titan.sdk.replacing import replace_service
from titan.sdk.run import AsyncRun, Run, submitted_here
from titan.sdk.scaling import ScaleStatus, Told
from titan.sdk.schedules import AsyncSchedules, Schedules
from titan.sdk.secret_values import AsyncSecrets, Secrets
from titan.sdk.services import ServiceStatus
from titan.sdk.staging import StagedDag, stage
from titan.sdk.status import (
    DeadJob,
    JobStatus,
    RunStatus,
    RunSummary,
    WorkerStatus,
    dead_job,
    job_status,
    run_state,
    run_summary,
    worker_status,
)
from titan.sdk.store import AsyncStore, Store
from titan.sdk.submission import Progress
from titan.sdk.tasks import Task, TaskCall, nodes_of
from titan.sdk.waiting import Waiting
from titan.sdk.watching import NewsQueue, Picture
from titan.sdk.why import Why, ask_why

T = TypeVar("T")
PAGE = 10_000
END_S = 5.0  # how long the end of a program waits for a client's thread, twice at most


class AsyncClient(AsyncArtifacts):
    """A connection to a master, for asyncio.

    `address`: "HOST:PORT"; else the environment's TITAN_MASTER, else 127.0.0.1:9090. Raises
    MasterUnreachable when it is opened and nothing answers; a master that restarts later is waited
    for up to `patience_s` seconds. Leaving it waits, `close_timeout_s` at most, until the master
    has acknowledged all calls that were handed in, and raises CallsNotAcknowledged for others.

    >>> async with AsyncClient() as client:        # doctest: +SKIP
    ...     run = await client.submit(DAG("hello", [Job("a", command="echo hi")]))
    ...     summary = await run.wait()
    """

    def __init__(self, address: str | None = None, *, patience_s: float = 60.0, close_timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        self._connection = Connection(*find_address(address), patience_s=patience_s)
        self.close_timeout_s = close_timeout_s
        self._submitter: Calls | None = None

    async def __aenter__(self) -> Self:
        await self._connection.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await asyncio.sleep(0)  # tasks that were made for calls begin
            if self._submitter is not None:
                await self._submitter.handed_in.settled()
        except CallsNotAcknowledged as lost:
            if error is None:
                raise
            error.add_note(str(lost))
        finally:
            if self._submitter is not None:
                self._submitter.abandon()
            await self._connection.close()

    @property
    def address(self) -> str:
        return f"{self._connection.host}:{self._connection.port}"

    # -- runs --------------------------------------------------------------------------------------
    async def submit(self, dag: DAG, *, progress: Progress | None = None) -> AsyncRun:
        """Stages the DAG's files (what the master has already is not sent again) and submits it,
        whole or not at all.

        When this returns, the run survives the death of the master. `progress(sent, jobs)` is
        called as a large DAG goes. Raises InvalidGraph, and what the connection raises.
        """
        async with self._staged(dag) as staged:
            answer = await submission.submit(self._connection, staged.spec, staged.parents, progress)
        submitted_here(answer.run)
        return AsyncRun(self, answer.run, dag.name)

    @property
    def store(self) -> AsyncStore:
        """TitanStore: `await client.store.execute("INCR", "n")`."""
        return AsyncStore(self._connection)

    @property
    def secrets(self) -> AsyncSecrets:
        """Values for jobs: `await client.secrets.set("API_TOKEN", token)`."""
        return AsyncSecrets(self._connection)

    @property
    def schedules(self) -> AsyncSchedules:
        """What runs by the clock: `await client.schedules.add("nightly", dag, cron="0 2 * * *")`."""
        return AsyncSchedules(self)

    @property
    def pipelines(self) -> AsyncPipelines:
        """What is run by name: `await client.pipelines.save("nightly", dag)`."""
        return AsyncPipelines(self)

    def run(self, run: str) -> AsyncRun:
        """A handle on a run that was submitted before. Nothing is asked yet."""
        return AsyncRun(self, run, "")

    async def runs(
        self, limit: int = 100, before: str = "", *, dag: str = "", since: float = 0.0, states: Iterable[str] = (), group: str = ""
    ) -> list[RunSummary]:
        """The newest first, at most 10,000, those of the history included.

        Only those with an id before the run `before`, of the DAG `dag` or the `group`
        (`agent_run_id`), submitted at or after `since` (seconds since the epoch), in one of
        `states` (RUNNING, COMPLETED, FAILED, CANCELLED), as far as these are given.
        """
        wanted = [run_state(state) for state in states]
        answer = await self._connection.call(lambda n: msg.ListRuns(n, limit, before, dag, since, wanted, group))
        assert isinstance(answer, msg.Runs)
        return [run_summary(row) for row in answer.runs]

    async def workers(self) -> list[WorkerStatus]:
        answer = await self._connection.call(msg.ListWorkers)
        assert isinstance(answer, msg.Workers)
        return [worker_status(w) for w in answer.workers]

    async def notices(self) -> list[tuple[float, str]]:
        """What operators should know of the master's home, each since when (seconds since the
        epoch), the newest last."""
        answer = await self._connection.call(msg.ListWorkers)
        assert isinstance(answer, msg.Workers)
        return answer.notices

    async def drain_worker(self, name: str) -> Told:
        """It takes nothing new, finishes what runs, and leaves. Returns at once. Raises NotFound."""
        return await scaling.tell_worker(self._connection, name, now=False)

    async def stop_worker(self, name: str, *, now: bool = False, timeout: float | None = None) -> str:
        """The same, and waits until it has left; `now`: what runs is killed and handed back. Its
        state then, LEFT if all went well.

        Raises NotFound, and TimeoutError after `timeout` seconds; the worker leaves all the same.
        """
        return await scaling.stop_worker(self._connection, name, now=now, timeout=timeout)

    async def scale(self) -> list[ScaleStatus]:
        """What each scaling rule of the master has started, and why; empty if it has none."""
        return await scaling.scale(self._connection)

    async def dead_jobs(self, run: str = "", limit: int = 1000) -> list[DeadJob]:
        """The dead letter queue, of one run or of all, the newest first."""
        answer = await self._connection.call(lambda n: msg.ListDead(n, run, limit))
        assert isinstance(answer, msg.DeadJobs)
        return [dead_job(d) for d in answer.dead]

    async def cancel(self, target: str) -> int:
        """`RUN` or `RUN/JOB`, the latter with what depends on it; returns how many jobs that
        cancelled (0: all were over)."""
        run, job = split_job(target)
        answer = await self._connection.call(lambda n: msg.Cancel(n, run, job))
        assert isinstance(answer, msg.Cancelled)
        return answer.jobs

    async def approve(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Approves the open gate RUN/GATE, or the one of a webhook's `token`. `by`: who decides,
        default the login name.

        Raises Conflict if it is decided or not open, NotFound.
        """
        return await decisions.decide(self._connection, gate, approve=True, by=by, comment=comment, token=token)

    async def reject(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Rejects it: what waits for it is cancelled. As `approve`."""
        return await decisions.decide(self._connection, gate, approve=False, by=by, comment=comment, token=token)

    async def gates(self, run: str = "", limit: int = 1000) -> list[OpenGate]:
        """The gates that wait for a decision, of one run or of all, the oldest first."""
        return await decisions.list_gates(self._connection, run, limit)

    async def retry_dead(self, target: str, *, by: str | None = None) -> Retried:
        """Takes DEAD `RUN/JOB`, or all of `RUN`, off the dead letter queue: it runs again, its run
        goes on with what was cancelled because of it, also if that run is of the history. Raises
        NotFound, Conflict if nothing there can run again."""
        return await decisions.retry_dead(self._connection, target, by)

    async def purge_dead(self, target: str) -> int:
        """Takes it off the dead letter queue for good, and returns how many jobs that were: they
        stay DEAD in their run's story."""
        return await decisions.purge_dead(self._connection, target)

    async def status(self, run: str) -> RunStatus:
        """The run with all its jobs. Raises NotFound."""
        jobs: list[JobStatus] = []
        after = 0
        while True:
            position = after
            answer = await self._connection.call(lambda n, at=position: msg.GetRun(n, run, "", at, PAGE))  # type: ignore[misc]
            assert isinstance(answer, msg.RunStatus)
            jobs += [job_status(row) for row in answer.jobs]
            after = answer.next
            if not after:
                summary = run_summary(answer.run)
                return RunStatus(summary.run, summary.dag, summary.state, jobs, summary)

    async def job(self, target: str) -> tuple[JobStatus, list[str]]:
        """(status, story) of `RUN/JOB`: what happened to it, a line each. Raises NotFound."""
        run, job = split_job(target)
        answer = await self._connection.call(lambda n: msg.GetRun(n, run, job))
        assert isinstance(answer, msg.RunStatus)
        return job_status(answer.jobs[0]), answer.story

    async def why(self, target: str) -> Why:
        """Why `RUN/JOB` does not run: what it waits for, and what keeps each worker from taking it.
        Raises NotFound."""
        return await ask_why(self._connection, target)

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Runs `function(*args, **kwargs)` on a worker and returns its result, or raises what it
        raised. See Client.call."""
        future = self._calls.submit(function, args, kwargs)
        with slot_lent():
            return await asyncio.wrap_future(future)

    async def compute(self, what: TaskCall[Any] | Sequence[TaskCall[Any]]) -> Any:
        """The result of a node, or the list of several; raises what failed first. See
        Client.compute."""
        nodes, single = nodes_of(what)
        with slot_lent():
            results = await asyncio.gather(*map(asyncio.wrap_future, self._calls.compute(nodes)))
        return results[0] if single else list(results)

    @property
    def _calls(self) -> Calls:
        if self._submitter is None:
            self._submitter = Calls(self._connection, asyncio.get_running_loop(), self.close_timeout_s)
        return self._submitter

    # -- streams -----------------------------------------------------------------------------------
    async def changes(
        self, run: str, *, jobs: bool = True, progress: bool = False
    ) -> AsyncIterator[tuple[RunSummary, list[JobStatus]]]:
        """The run as it is now, then every change as it happens, until it is over; across restarts
        of the master. With `progress` also what jobs say of themselves: the newest, at most five
        times a second."""
        picture = Picture(progress=progress)
        while True:
            try:
                async for message, _ in self._connection.stream(lambda n: msg.Watch(n, run, jobs), NewsQueue):
                    assert isinstance(message, msg.Changes)
                    yield run_summary(message.run), picture.take(message)
                    if message.last:
                        return
            except ConnectionLost:
                await self._connection.reopen()

    async def logs(self, target: str, *, follow: bool = False, attempt: int | None = None) -> AsyncIterator[tuple[int, bytes]]:
        """(1 for stdout or 2 for stderr, bytes) of `RUN/JOB`, of its newest attempt if none is
        named. Raises NotFound.

        With `follow` it goes on until the job is over, into later attempts too.
        """
        run, job = split_job(target)
        have: dict[tuple[int, int], int] = {}
        while True:
            try:
                async for message, blob in self._connection.stream(lambda n: msg.ReadLogs(n, run, job, attempt or 0, follow)):
                    assert isinstance(message, msg.LogChunk)
                    place = (message.attempt, message.stream)
                    skip = max(0, have.get(place, 0) - message.offset)
                    if blob[skip:]:
                        have[place] = message.offset + len(blob)
                        yield message.stream, bytes(blob[skip:])
                    if message.last:
                        return
            except ConnectionLost:
                await self._connection.reopen()

    async def services(self, run: str = "", limit: int = 1000) -> list[ServiceStatus]:
        """The services that are not over, of one run or of all. Raises NotFound."""
        return await services.list_services(self._connection, run, limit)

    async def stop(self, target: str) -> int:
        """Stops the service `RUN/JOB`, or all of `RUN`, which are COMPLETED by that; returns how
        many (0: all were over).

        What depends on one and has not begun is cancelled. Raises NotFound, and CallerError for a
        job that is no service.
        """
        return await services.stop_service(self._connection, target)

    async def replace(self, target: str, job: Job | None = None) -> bool:
        """Runs the service `RUN/JOB` anew, by the `file` or `command` and the `args` of `job`, or
        as it is.

        If a worker has room for both, the old process goes on until the new one is READY (True);
        else it is stopped first (False). A fixed `port` needs another worker for that. Raises
        NotFound, CallerError, Conflict for one that is over.
        """
        return await replace_service(self, target, job)

    async def stop_master(self) -> None:
        """Asks the master to end. Workers keep their jobs and wait for the next one."""
        with contextlib.suppress(ConnectionLost):
            await self._connection._call_once(msg.Stop)

    # -- artifacts ---------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def _staged(self, dag: DAG, *, addition: bool = False) -> AsyncIterator[StagedDag]:
        """The DAG, with its files on the master."""
        staged = await asyncio.to_thread(stage, dag, addition=addition)
        try:
            if staged.unresolved:
                found = {name: (await self._resolve(name)).hash for name in staged.unresolved}
                staged = staged.resolve(found)
            await self._upload(staged)
            yield staged
        finally:
            staged.close()

    async def _resolve(self, name: str) -> msg.Resolved:
        answer = await self._connection.call(lambda n: msg.Resolve(n, name))
        assert isinstance(answer, msg.Resolved)
        return answer

    async def _upload(self, staged: StagedDag) -> None:
        await uploads.upload(self._connection, staged.artifacts)

    async def _put(self, hash_: str, path: Path, name: str) -> None:
        await uploads.name_content(self._connection, hash_, path, name)


class Client(Waiting, Artifacts):
    """A connection to a master, for code without an event loop. Thread-safe.

    `address`: "HOST:PORT"; else the environment's TITAN_MASTER, else 127.0.0.1:9090. Use it as a
    context manager. Raises MasterUnreachable when it is opened and nothing answers.
    `close_timeout_s`: how long leaving it waits at most until the master has acknowledged what was
    handed in, see `close`.

    >>> with Client() as client:                   # doctest: +SKIP
    ...     run = client.submit(DAG("hello", [Job("a", command="echo hi")]))
    ...     assert run.wait().ok
    """

    _async: AsyncClient

    def __init__(self, address: str | None = None, *, patience_s: float = 60.0, close_timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        self._async = AsyncClient(address, patience_s=patience_s)
        self.close_timeout_s = close_timeout_s
        self._calls: Calls | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except CallsNotAcknowledged as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    def open(self) -> None:
        """Connects. Done by `with`; call it only if you do not use that."""
        if self._loop is not None:
            return
        pid = os.getpid()
        self._start_loop(lambda: self._end_with_program(pid))
        try:
            self._wait(self._async.__aenter__())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Waits until the master has acknowledged all calls that were handed in, `close_timeout_s`
        at most; their results are not waited for. They go on, and their runs keep what they return:
        `titan status`, `client.run(run).result(job)`.

        Raises CallsNotAcknowledged, which says what may be lost; so does Ctrl-C, in a note. The
        client is closed all the same. May be called twice.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            self._settle_calls()
        finally:
            self._end(loop)

    def _end(self, loop: asyncio.AbstractEventLoop, timeout_s: float | None = None) -> None:
        try:
            self._stop_loop(loop, self._async.__aexit__(None, None, None), timeout_s)
        finally:
            calls, self._calls = self._calls, None
            if calls is not None:
                calls.abandon()

    def _end_with_program(self, pid: int) -> None:
        """As `close`, once the calls have been waited for. A fork of `pid` does not have the
        thread."""
        loop, self._loop = self._loop, None
        if loop is not None and pid == os.getpid():
            self._end(loop, END_S)

    def _settle_calls(self) -> None:
        """Until the master has acknowledged what was handed in. Raises CallsNotAcknowledged."""
        if self._calls is not None:
            self._calls.handed_in.wait()

    @property
    def address(self) -> str:
        return self._async.address

    def submit(self, dag: DAG, *, progress: Progress | None = None) -> Run:
        """Stages the DAG's files and submits it, whole or not at all; see AsyncClient.submit."""
        return Run(self, self._wait(self._async.submit(dag, progress=progress)))

    @property
    def store(self) -> Store:
        """TitanStore, with Redis's types and commands: `client.store.incr("n")`."""
        exchange = self._async.store.exchange
        return Store(lambda commands: self._wait(exchange(commands)))

    @property
    def secrets(self) -> Secrets:
        """Values for jobs: `client.secrets.set("API_TOKEN", token)`."""
        return Secrets(self, self._async.secrets)

    @property
    def schedules(self) -> Schedules:
        """What runs by the clock: `client.schedules.add("nightly", dag, cron="0 2 * * *")`."""
        return Schedules(self, self._async.schedules)

    @property
    def pipelines(self) -> Pipelines:
        """What is run by name: `client.pipelines.save("nightly", dag)`,
        `client.pipelines.run("nightly")`."""
        return Pipelines(self, self._async.pipelines)

    def run(self, run: str) -> Run:
        """A handle on a run that was submitted before. Nothing is asked yet."""
        return Run(self, self._async.run(run))

    # -- functions ---------------------------------------------------------------------------------
    @overload
    def call(self, function: Task[T], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    @overload
    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Runs `function(*args, **kwargs)` on a worker; returns at once, with the future of its
        result.

        The function travels by value with what it needs of your own modules, once for many calls;
        arguments and result are pickled (2 GiB each). What it raises is raised by `result()`, with
        the worker's traceback as its cause. A call whose process dies is not repeated (JobFailed);
        one whose worker is lost runs again elsewhere. Cancelling the future cancels the job. Of a
        `titan.task` its options hold; others for one call: `client.call(f.options(retries=5),
        ...)`.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     assert client.call(pow, 2, 10).result() == 1024
        """
        return self._submitter().submit(function, args, kwargs)

    def map(
        self, function: Callable[..., T], /, *iterables: Iterable[Any], chunksize: int | str = "auto", timeout: float | None = None
    ) -> Iterator[T]:
        """Like the built-in, each call a job on a worker: results in order, as they come. All are
        submitted before it returns, thousands at a time.

        `chunksize`: calls that make one job, which is recorded, moved and lost as one; "auto" is 1.
        What a call raised is raised where its result would be, and the other calls of its chunk run
        all the same; one that kills its process, or whose result cannot be pickled, takes the chunk
        along. A task's options hold, `timeout` for a chunk as often as it has calls. `timeout`:
        seconds from now, TimeoutError for a result that is not there by then.
        """
        return self._submitter().map(function, iterables, chunksize, timeout)

    @overload
    def compute(self, what: TaskCall[T], /) -> Future[T]: ...
    @overload
    def compute(self, what: Sequence[TaskCall[T]], /) -> list[Future[T]]: ...
    def compute(self, what: Any, /) -> Any:
        """Runs what nodes of `titan.task` need, as one run with a job per node; returns at once,
        with a future for each node asked for.

        A node that several need runs once. Where one fails, what depends on it does not run: its
        future raises JobFailed, which names the failed ancestor and has what that raised as its
        cause. Cancelling a future cancels its job unless another one needs it.

        >>> @task
        ... def add(x, y):
        ...     return x + y
        >>> with Client() as client:                   # doctest: +SKIP
        ...     assert client.compute(add(add(1, 2), 3)).result() == 6
        """
        nodes, single = nodes_of(what)
        futures = self._submitter().compute(nodes)
        return futures[0] if single else futures

    def executor(self) -> TitanExecutor:
        """A concurrent.futures.Executor whose calls run on the cluster. Its shutdown leaves this
        client open."""
        return TitanExecutor(self)

    def _submitter(self) -> Calls:
        if self._loop is None:
            raise ConnectionLost("the client is not open: use it as `with Client() as client:`")
        if self._calls is None:
            self._calls = Calls(self._async._connection, self._loop, self.close_timeout_s)
        return self._calls

    def runs(
        self, limit: int = 100, before: str = "", *, dag: str = "", since: float = 0.0, states: Iterable[str] = (), group: str = ""
    ) -> list[RunSummary]:
        """The newest first, those of the history included; see AsyncClient.runs."""
        return self._wait(self._async.runs(limit, before, dag=dag, since=since, states=states, group=group))

    def workers(self) -> list[WorkerStatus]:
        return self._wait(self._async.workers())

    def notices(self) -> list[tuple[float, str]]:
        """What operators should know of the master's home, each since when (seconds since the
        epoch), the newest last."""
        return self._wait(self._async.notices())

    def drain_worker(self, name: str) -> Told:
        """It takes nothing new, finishes what runs, and leaves. Returns at once. Raises NotFound."""
        return self._wait(self._async.drain_worker(name))

    def stop_worker(self, name: str, *, now: bool = False, timeout: float | None = None) -> str:
        """The same, and waits until it has left; see AsyncClient.stop_worker."""
        return self._wait(self._async.stop_worker(name, now=now, timeout=timeout))

    def scale(self) -> list[ScaleStatus]:
        """What each scaling rule of the master has started, and why; empty if it has none."""
        return self._wait(self._async.scale())

    def dead_jobs(self, run: str = "", limit: int = 1000) -> list[DeadJob]:
        """The dead letter queue, of one run or of all, the newest first."""
        return self._wait(self._async.dead_jobs(run, limit))

    def cancel(self, target: str) -> int:
        """`RUN` or `RUN/JOB`, the latter with what depends on it; returns how many jobs that
        cancelled."""
        return self._wait(self._async.cancel(target))

    def approve(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Approves the open gate RUN/GATE, or the one of a webhook's `token`; see
        AsyncClient.approve."""
        return self._wait(self._async.approve(gate, by=by, comment=comment, token=token))

    def reject(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Rejects it: what waits for it is cancelled."""
        return self._wait(self._async.reject(gate, by=by, comment=comment, token=token))

    def gates(self, run: str = "", limit: int = 1000) -> list[OpenGate]:
        """The gates that wait for a decision, of one run or of all, the oldest first."""
        return self._wait(self._async.gates(run, limit))

    def retry_dead(self, target: str, *, by: str | None = None) -> Retried:
        """Runs DEAD `RUN/JOB`, or all of `RUN`, again, with what was cancelled because of it; see
        AsyncClient.retry_dead."""
        return self._wait(self._async.retry_dead(target, by=by))

    def purge_dead(self, target: str) -> int:
        """Takes it off the dead letter queue for good; see AsyncClient.purge_dead."""
        return self._wait(self._async.purge_dead(target))

    def status(self, run: str) -> RunStatus:
        return self._wait(self._async.status(run))

    def job(self, target: str) -> tuple[JobStatus, list[str]]:
        """(status, story) of `RUN/JOB`."""
        return self._wait(self._async.job(target))

    def why(self, target: str) -> Why:
        """Why `RUN/JOB` does not run: what it waits for, and what keeps each worker from taking it.
        Raises NotFound."""
        return self._wait(self._async.why(target))

    def changes(self, run: str, *, jobs: bool = True, progress: bool = False) -> Iterator[tuple[RunSummary, list[JobStatus]]]:
        """The run as it is now, then every change as it happens, until it is over."""
        return self._iterate(self._async.changes(run, jobs=jobs, progress=progress))

    def logs(self, target: str, follow: bool = False, attempt: int | None = None) -> Iterator[tuple[int, bytes]]:
        """(1 for stdout or 2 for stderr, bytes) of `RUN/JOB`; with `follow` until the job is over."""
        return self._iterate(self._async.logs(target, follow=follow, attempt=attempt))

    def services(self, run: str = "", limit: int = 1000) -> list[ServiceStatus]:
        """The services that are not over, of one run or of all. Raises NotFound."""
        return self._wait(self._async.services(run, limit))

    def stop(self, target: str) -> int:
        """Stops the service `RUN/JOB`, or all of `RUN`; see AsyncClient.stop."""
        return self._wait(self._async.stop(target))

    def replace(self, target: str, job: Job | None = None) -> bool:
        """Runs the service `RUN/JOB` anew, by what `job` says or as it is; see AsyncClient.replace."""
        return self._wait(self._async.replace(target, job))

    def stop_master(self) -> None:
        """Asks the master to end. Workers keep their jobs and wait for the next one."""
        self._wait(self._async.stop_master())
