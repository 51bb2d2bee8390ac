"""Clients of a master: `AsyncClient` for asyncio, `Client` for code without an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload

import msgspec

from titan.errors import CallerError, CallsNotAcknowledged, ConnectionLost
from titan.model import graph
from titan.model.names import split_job
from titan.protocol import messages as msg
from titan.sdk import decisions, run_graph, scaling, services, submission, uploads
from titan.sdk.address import VARIABLE, find_address
from titan.sdk.artifacts import Artifacts, AsyncArtifacts
from titan.sdk.call_future import CallFuture
from titan.sdk.calls import Calls
from titan.sdk.cluster_changes import ClusterChange, cluster_changes
from titan.sdk.connection import Connection
from titan.sdk.decisions import Decision, OpenGate, Retried
from titan.sdk.disk import DiskStatus, disk
from titan.sdk.executor import TitanExecutor
from titan.sdk.job import DAG, Job
from titan.sdk.left_files import AsyncLeftFiles, LeftFiles
from titan.sdk.logs import log_pieces
from titan.sdk.loop_thread import run_in_loop
from titan.sdk.pipelines import AsyncPipelines, Pipelines
from titan.sdk.replacing import replace_service
from titan.sdk.rerunning import from_job, renewed
from titan.sdk.run import AsyncRun, Run, submitted_here
from titan.sdk.run_graph import Attempt, AttemptPage, GraphPage, JobPage, RunGraph
from titan.sdk.scaling import ScaleStatus, Told
from titan.sdk.schedules import AsyncSchedules, Schedules
from titan.sdk.secret_values import AsyncSecrets, Secrets
from titan.sdk.services import ServiceStatus
from titan.sdk.slot_release import slot_released
from titan.sdk.staging import StagedDag, stage
from titan.sdk.status import (
    OVER,
    DeadJob,
    JobStatus,
    LogPiece,
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
from titan.sdk.tasks import CallOptions, MapOptions, Options, Task, TaskCall, nodes_of
from titan.sdk.unacknowledged import CLOSE_TIMEOUT_S
from titan.sdk.waiting import CLOSED, Waiting
from titan.sdk.watching import NewsQueue, RunView
from titan.sdk.why import Why, ask_why

T = TypeVar("T")
PAGE = 10_000
END_S = 5.0
"""Seconds for which the end of a program waits for a client's thread, at most twice."""


class AsyncClient(AsyncArtifacts, AsyncLeftFiles):
    """Connection to a master, for asyncio.

    - `address`: "HOST:PORT"; default: the environment's TITAN_MASTER, else 127.0.0.1:9090.
    - `patience_s`: seconds for which a request waits for a master that restarts.
    - `close_timeout_s`: leaving the client waits this long for the master to acknowledge all
      submitted calls. It raises CallsNotAcknowledged for the others.
    - `actor`: name under which the master records this client's changes; default: USER@HOST. The
      master does not verify it.

    The first request connects, and raises MasterUnreachable if nothing answers. Leave the client
    with `async with` or `await client.close()`: an event loop that has ended can send nothing, so
    calls that are not acknowledged by then are reported as lost. A client belongs to one event
    loop.

    >>> async with AsyncClient() as client:        # doctest: +SKIP
    ...     run = await client.submit(DAG("hello", [Job("a", command="echo hi")]))
    ...     summary = await run.wait()
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        patience_s: float = 60.0,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        actor: str | None = None,
    ) -> None:
        self._connection = Connection(*find_address(address), patience_s=patience_s, actor=actor)
        self.close_timeout_s = close_timeout_s
        self._submitter: Calls | None = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.close()
        except CallsNotAcknowledged as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    async def open(self) -> Self:
        """Connect to the master now, and return the client. Without it the first request connects.

        Raises MasterUnreachable.
        """
        await self._connection.open()
        return self

    async def close(self) -> None:
        """Close the client when the master has acknowledged all submitted calls.

        See Client.close.
        """
        try:
            await asyncio.sleep(0)  # lets the tasks of new calls start
            if self._submitter is not None:
                await self._submitter.unacknowledged.wait_async()
        finally:
            if self._submitter is not None:
                self._submitter.abandon()
            await self._connection.close()

    @property
    def address(self) -> str:
        return f"{self._connection.host}:{self._connection.port}"

    def on_away(self, tell: Callable[[bool], None]) -> None:
        """Call `tell(True)` when the master stops to answer, and `tell(False)` when it is back.

        Requests wait meanwhile, for `patience_s` seconds.
        """
        self._connection.on_away = tell

    # -- runs --------------------------------------------------------------------------------------
    async def submit(self, dag: DAG, *, progress: Progress | None = None, cache: bool = True) -> AsyncRun:
        """Submit a DAG as a whole, with its files.

        Files that the master already has are not sent again. When this returns, the run survives
        the death of the master. `progress(sent, jobs)` is called while a large DAG is sent. `cache`
        False: no job reuses an earlier result. Raises InvalidGraph, and the errors of the
        connection.
        """
        async with self._staged(dag) as staged:
            spec = staged.spec if cache else msgspec.structs.replace(staged.spec, fresh=True)
            answer = await submission.submit(self._connection, spec, staged.parents, progress)
        submitted_here(answer.run)
        return AsyncRun(self, answer.run, dag.name)

    async def rerun(self, target: str, *, new_files: bool = False, cache: bool = True) -> AsyncRun:
        """Submit the DAG of `RUN` again, with the files that the run had, as a new run.

        For `RUN/JOB`: only that job and the jobs that depend on it. Jobs that were added to the run
        later are left out. Raises NotFound, also if a file is no longer on the master; CallerError
        if a job needs the result or the files of a job that is left out; LimitExceeded.

        `new_files`: read the pipeline file, script or project folder that the run was submitted
        from again, on this machine. Raises CallerError if it is not known or not here. `cache`
        False: no job reuses an earlier result.
        """
        run, _, job = target.partition("/")
        answer = await self._connection.call(lambda n: msg.GetDag(n, run))
        assert isinstance(answer, msg.Dag)
        read = partial(renewed, answer.dag, run) if new_files else partial(StagedDag, answer.dag, [])
        async with self._sent(read) as staged:
            spec = from_job(staged.spec, job) if job else staged.spec
            spec = msgspec.structs.replace(spec, fresh=not cache)
            submitted = await submission.submit(self._connection, spec, graph.resolve(spec), None)
        submitted_here(submitted.run)
        return AsyncRun(self, submitted.run, spec.name)

    @property
    def store(self) -> AsyncStore:
        """The store: `await client.store.execute("INCR", "n")`."""
        return AsyncStore(self._connection)

    @property
    def secrets(self) -> AsyncSecrets:
        """Secrets for jobs: `await client.secrets.set("API_TOKEN", token)`."""
        return AsyncSecrets(self._connection)

    @property
    def schedules(self) -> AsyncSchedules:
        """Schedules: `await client.schedules.add("nightly", dag, cron="0 2 * * *")`."""
        return AsyncSchedules(self)

    @property
    def pipelines(self) -> AsyncPipelines:
        """Saved pipelines: `await client.pipelines.save("nightly", dag)`."""
        return AsyncPipelines(self)

    def run(self, run: str) -> AsyncRun:
        """Return a handle on an existing run. No request is sent yet."""
        return AsyncRun(self, run, "")

    async def runs(
        self, limit: int = 100, before: str = "", *, dag: str = "", since: float = 0.0, states: Iterable[str] = (), group: str = ""
    ) -> list[RunSummary]:
        """Return the newest runs first, at most 10,000, including those in the history.

        Each argument narrows the list:

        - `before`: runs with an id before this run.
        - `dag`, `group`: runs of this DAG, or of this group (`agent_run_id`).
        - `since`: runs submitted at or after this time, in seconds since the epoch.
        - `states`: runs in one of these states: RUNNING, COMPLETED, FAILED, CANCELLED.
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
        """Return (since, notice) of problems with the master's home, the newest last.

        `since` is in seconds since the epoch.
        """
        answer = await self._connection.call(msg.ListWorkers)
        assert isinstance(answer, msg.Workers)
        return answer.notices

    async def drain_worker(self, name: str) -> Told:
        """Drain a worker: it takes no new jobs, finishes the running ones, and leaves.

        Returns at once. Raises NotFound.
        """
        return await scaling.tell_worker(self._connection, name, now=False)

    async def stop_worker(self, name: str, *, now: bool = False, timeout: float | None = None) -> str:
        """Drain a worker and wait until it has left. Return its last state, LEFT if all went well.

        With `now`, its running attempts are killed and handed back. Raises NotFound, and
        TimeoutError after `timeout` seconds. The worker leaves in either case.
        """
        return await scaling.stop_worker(self._connection, name, now=now, timeout=timeout)

    async def scale(self) -> list[ScaleStatus]:
        """Return the burst workers of each scaling rule, and its last decision.

        Empty if there is no rule.
        """
        return await scaling.scale(self._connection)

    async def disk(self) -> DiskStatus:
        """Return the disk space of the master, the workers and the largest runs.

        Takes up to 15 s, because the master and the workers measure their homes.
        """
        return await disk(self._connection)

    async def dead_jobs(self, run: str = "", limit: int = 1000) -> list[DeadJob]:
        """Return the dead letter queue of one run or of all, the newest first."""
        answer = await self._connection.call(lambda n: msg.ListDead(n, run, limit))
        assert isinstance(answer, msg.DeadJobs)
        return [dead_job(d) for d in answer.dead]

    async def cancel(self, target: str) -> int:
        """Cancel `RUN`, or `RUN/JOB` with its dependents.

        Return the number of cancelled jobs, 0 if all were over.
        """
        run, job = split_job(target)
        answer = await self._connection.call(lambda n: msg.Cancel(n, run, job))
        assert isinstance(answer, msg.Cancelled)
        return answer.jobs

    async def approve(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Approve the open gate RUN/GATE, or the gate of a webhook's `token`.

        `by` names the decider; default: the login name. Raises NotFound, and Conflict if the gate
        is decided or not open.
        """
        return await decisions.decide(self._connection, gate, approve=True, by=by, comment=comment, token=token)

    async def reject(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Reject a gate: its dependents are cancelled. The arguments are those of `approve`."""
        return await decisions.decide(self._connection, gate, approve=False, by=by, comment=comment, token=token)

    async def gates(self, run: str = "", limit: int = 1000) -> list[OpenGate]:
        """Return the gates that wait for a decision, of one run or of all, the oldest first."""
        return await decisions.list_gates(self._connection, run, limit)

    async def retry_dead(self, target: str, *, by: str | None = None) -> Retried:
        """Run DEAD `RUN/JOB`, or all DEAD jobs of `RUN`, again.

        They leave the dead letter queue. Their run continues with the jobs that were cancelled
        because of them. The run may be in the history. Raises NotFound, and Conflict if no job
        there can run again.
        """
        return await decisions.retry_dead(self._connection, target, by)

    async def purge_dead(self, target: str) -> int:
        """Remove `RUN/JOB`, or all jobs of `RUN`, from the dead letter queue. Return their number.

        They stay DEAD in the story of their run.
        """
        return await decisions.purge_dead(self._connection, target)

    async def status(self, run: str) -> RunStatus:
        """Return the run with all its jobs. Raises NotFound."""
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
        """Return (status, story) of `RUN/JOB`. The story has a line per event. Raises NotFound."""
        run, job = split_job(target)
        answer = await self._connection.call(lambda n: msg.GetRun(n, run, job))
        assert isinstance(answer, msg.RunStatus)
        return job_status(answer.jobs[0]), answer.story

    async def attempts(self, target: str) -> list[Attempt]:
        """Return the attempts of `RUN/JOB`, or of all jobs of `RUN`, by job and then by time.

        The master remembers the 64 newest entries of a job's history. Raises NotFound.
        """
        return await run_graph.attempts(self._connection, target)

    async def graph(self, run: str) -> RunGraph:
        """Return the jobs of a run with their parents and templates. Raises NotFound."""
        return await run_graph.run_graph(self._connection, run)

    async def job_page(self, run: str, after: int = 0, limit: int = 1000) -> JobPage:
        """Return at most `limit` jobs of a run from position `after` on. Raises NotFound."""
        return await run_graph.job_page(self._connection, run, after, limit)

    async def graph_page(self, run: str, after: int = 0, limit: int = 1000) -> GraphPage:
        """Return the part of a run's graph from position `after` on. Raises NotFound."""
        return await run_graph.graph_page(self._connection, run, after, limit)

    async def attempt_page(self, target: str, after: int = 0, limit: int = 1000) -> AttemptPage:
        """Return about `limit` attempts of the jobs from position `after` on. Raises NotFound."""
        return await run_graph.attempt_page(self._connection, target, after, limit)

    async def why(self, target: str) -> Why:
        """Return the reasons why `RUN/JOB` does not run, in general and for each worker.

        Raises NotFound.
        """
        return await ask_why(self._connection, target)

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, **kwargs)` on a worker. Return its result, or raise its exception.

        See Client.call.
        """
        future = self._calls.submit(function, args, kwargs, {})
        with slot_released():
            return await asyncio.wrap_future(future)

    async def compute(self, what: TaskCall[Any] | Sequence[TaskCall[Any]]) -> Any:
        """Return the result of a task call, or the list of results of several.

        Raises the exception of the first call that failed. See Client.compute.
        """
        nodes, single = nodes_of(what)
        with slot_released():
            results = await asyncio.gather(*map(asyncio.wrap_future, self._calls.compute(nodes)))
        return results[0] if single else list(results)

    @property
    def _calls(self) -> Calls:
        if self._submitter is None:
            self._submitter = Calls(self._connection, asyncio.get_running_loop(), self.close_timeout_s)
        return self._submitter

    # -- streams -----------------------------------------------------------------------------------
    async def changes(
        self, run: str, *, jobs: bool = True, progress: bool = False, services: bool = True
    ) -> AsyncIterator[tuple[RunSummary, list[JobStatus]]]:
        """Yield the run as it is now, then every change, until the run is over.

        The stream continues across restarts of the master. With `progress` it includes progress and
        status of jobs: only the newest, at most five times a second. With `services=False` it also
        ends when only READY services are left, which go on until they are stopped.
        """
        view = RunView(progress=progress)
        while True:
            try:
                async for message, _ in self._connection.stream(lambda n: msg.Watch(n, run, jobs), NewsQueue):
                    assert isinstance(message, msg.Changes)
                    summary = run_summary(message.run)
                    yield summary, view.take(message)
                    if message.last or (not services and await self._only_services(summary)):
                        return
            except ConnectionLost:
                await self._connection.reopen()

    def cluster_changes(self) -> AsyncIterator[ClusterChange]:
        """Yield the cluster as it is now, then every change: runs, workers, queues.

        At most four values a second. The stream continues across restarts of the master, until it
        is closed. A slow reader gets the newest state of what changed, not each change.
        """
        return cluster_changes(self._connection)

    async def _only_services(self, summary: RunSummary) -> bool:
        """Return whether all jobs of a run that are not over are READY services."""
        if set(summary.tally) - {*OVER, "RUNNING"} or not (running := summary.tally.get("RUNNING", 0)):
            return False
        return sum(service.state == "READY" for service in await self.services(summary.run, PAGE)) == running

    async def logs(self, target: str, *, follow: bool = False, attempt: int | None = None) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (stream, bytes) of `RUN/JOB`; `stream` is 1 for stdout, 2 for stderr.

        `attempt` defaults to the newest. With `follow`, the output continues until the job is over,
        into later attempts too. Raises NotFound.

        The bytes are the job's own. A worker keeps a limited amount of each stream (`--log-limit`);
        `log_pieces` also says where output was dropped.
        """
        async with contextlib.aclosing(self.log_pieces(target, follow=follow, attempt=attempt)) as pieces:
            async for piece in pieces:
                yield piece.stream, piece.data

    async def push(self, path: str | Path, name: str = "") -> str:
        """Upload a file to the master's perm_files/; return its name there. See Client.push."""
        file = Path(path)
        name = name or file.name
        try:
            with file.open("rb") as source:
                hash_ = hashlib.file_digest(source, "sha256").hexdigest()
        except OSError as error:
            raise CallerError(f"{file}: cannot be read: {error.strerror}") from error
        await uploads.name_content(self._connection, hash_, file, name)
        return name

    async def log_pieces(self, target: str, *, follow: bool = False, attempt: int | None = None) -> AsyncGenerator[LogPiece, None]:
        """Yield the output of `RUN/JOB` as `logs` does, with the attempt and the gaps.

        For `RUN`: yield the output of all jobs and attempts of the run, in the order in which the
        master received it. With `follow`, until the run is over. Raises NotFound.
        """
        async with contextlib.aclosing(log_pieces(self._connection, target, follow=follow, attempt=attempt)) as pieces:
            async for piece in pieces:
                yield piece

    async def services(self, run: str = "", limit: int = 1000) -> list[ServiceStatus]:
        """Return the services that are not over, of one run or of all. Raises NotFound."""
        return await services.list_services(self._connection, run, limit)

    async def stop(self, target: str) -> int:
        """Stop the service `RUN/JOB`, or all services of `RUN`. They become COMPLETED.

        Return the number of stopped services, 0 if all were over. Dependents that have not started
        are cancelled. Raises NotFound, and CallerError for a job that is not a service.
        """
        return await services.stop_service(self._connection, target)

    async def replace(self, target: str, job: Job | None = None) -> bool:
        """Restart the service `RUN/JOB`, with the command and `args` of `job` if given.

        `job` may have a `file` or a `command`. If a worker has room for both processes, the old one
        serves until the new one is READY. The result is then True. Else the old process is stopped
        first, and the result is False. A fixed `port` needs another worker. Raises NotFound,
        CallerError, and Conflict for a service that is over.
        """
        return await replace_service(self, target, job)

    async def stop_master(self) -> None:
        """Stop the master. Workers keep their jobs and wait for the next master."""
        with contextlib.suppress(ConnectionLost):
            await self._connection._call_once(msg.Stop)

    # -- artifacts ---------------------------------------------------------------------------------
    def _staged(self, dag: DAG, *, addition: bool = False) -> contextlib.AbstractAsyncContextManager[StagedDag]:
        """Provide the staged DAG, with its files on the master."""
        return self._sent(partial(stage, dag, addition=addition))

    @contextlib.asynccontextmanager
    async def _sent(self, read: Callable[[], StagedDag]) -> AsyncIterator[StagedDag]:
        """Provide the staged DAG that `read` returns, with its files on the master."""
        staged = await asyncio.to_thread(read)
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


class Client(Waiting, Artifacts, LeftFiles):
    """Connection to a master, for code without an event loop. Thread-safe.

    - `address`: "HOST:PORT"; default: the environment's TITAN_MASTER, else 127.0.0.1:9090.
    - `patience_s`: seconds for which a request waits for a master that restarts.
    - `close_timeout_s`: seconds for which `close` waits for the master to acknowledge calls.

    The first request connects, and raises MasterUnreachable if nothing answers. The client is
    closed by `with`, by `close`, or at the end of the program. A function that refers to a client
    has one of its own where it runs.

    >>> with Client() as client:                   # doctest: +SKIP
    ...     run = client.submit(DAG("hello", [Job("a", command="echo hi")]))
    ...     assert run.wait().ok
    """

    _async: AsyncClient

    def __init__(self, address: str | None = None, *, patience_s: float = 60.0, close_timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        super().__init__()
        self._async = AsyncClient(address, patience_s=patience_s)
        self.close_timeout_s = close_timeout_s
        self._calls: Calls | None = None

    def __reduce__(self) -> Any:
        return _client_here, (self.address,)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if isinstance(error, KeyboardInterrupt) and self._calls is not None and self._loop is not None:
                self._calls.interrupted(error)
            self.close()
        except CallsNotAcknowledged as lost:
            if error is None:
                raise
            error.add_note(str(lost))

    def open(self) -> Self:
        """Connect to the master now, and return the client. Without it the first request connects.

        Raises MasterUnreachable, and ConnectionLost if the client is closed.
        """
        self._opened()
        return self

    def _connect(self) -> None:
        pid = os.getpid()
        self._start_loop(lambda: self._end_with_program(pid))
        loop = cast("asyncio.AbstractEventLoop", self._loop)
        try:
            run_in_loop(loop, self._async._connection.open())
        except BaseException:
            self._loop = None
            self._end(loop)
            self._start_anew()
            raise

    def _start_anew(self) -> None:
        super()._start_anew()
        self._calls = None
        self._async._connection.start_anew()

    def close(self) -> None:
        """Close the client when the master has acknowledged all submitted calls.

        The wait takes `close_timeout_s` at most. It does not include results: the calls continue,
        and their runs keep the return values. Read them with `titan status` and
        `client.run(run).result(job)`.

        Raises CallsNotAcknowledged, which lists the calls that may be lost. After Ctrl-C the
        interrupt has that list as a note. The client is closed in every case. A second call does
        nothing.
        """
        with self._opening:
            self._closed = True
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
        """Close the client at the end of the program, after the wait for its calls.

        A fork of `pid` does not have the thread.
        """
        self._closed = True
        loop, self._loop = self._loop, None
        if loop is not None and pid == os.getpid():
            ended_by = getattr(sys, "last_value", None)
            if isinstance(ended_by, KeyboardInterrupt) and self._calls is not None:
                with contextlib.suppress(KeyboardInterrupt):
                    self._calls.interrupted(ended_by)
            self._end(loop, END_S)

    def _settle_calls(self) -> None:
        """Wait until the master has acknowledged all submitted calls.

        Raises CallsNotAcknowledged.
        """
        if self._calls is not None:
            self._calls.unacknowledged.wait()

    @property
    def address(self) -> str:
        return self._async.address

    def on_away(self, tell: Callable[[bool], None]) -> None:
        """Call `tell(True)` when the master stops to answer, and `tell(False)` when it is back.

        It is called in the client's own thread.
        """
        self._async.on_away(tell)

    def submit(self, dag: DAG, *, progress: Progress | None = None, cache: bool = True) -> Run:
        """Submit a DAG as a whole, with its files. See AsyncClient.submit."""
        return Run(self, self._wait(self._async.submit(dag, progress=progress, cache=cache)))

    @property
    def store(self) -> Store:
        """TitanStore, with the types and commands of Redis: `client.store.incr("n")`."""
        exchange = self._async.store.exchange
        return Store(lambda commands: self._wait(exchange(commands)))

    @property
    def secrets(self) -> Secrets:
        """Secrets for jobs: `client.secrets.set("API_TOKEN", token)`."""
        return Secrets(self, self._async.secrets)

    @property
    def schedules(self) -> Schedules:
        """Schedules: `client.schedules.add("nightly", dag, cron="0 2 * * *")`."""
        return Schedules(self, self._async.schedules)

    @property
    def pipelines(self) -> Pipelines:
        """Saved pipelines: `client.pipelines.save("nightly", dag)`.

        Run one with `client.pipelines.run("nightly")`.
        """
        return Pipelines(self, self._async.pipelines)

    def run(self, run: str) -> Run:
        """Return a handle on an existing run. No request is sent yet."""
        return Run(self, self._async.run(run))

    # -- functions ---------------------------------------------------------------------------------
    @overload
    def call(self, function: Task[T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    @overload
    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `function(*args, **kwargs)` on a worker. Return the future of its result at once.

        - The function travels by value, with the parts of your own modules that it needs. It is
          sent only once for many calls.
        - Arguments and result are pickled, at most 2 GiB each.
        - An exception of the function is raised by `result()`, with the worker's traceback as its
          cause.
        - A call whose process dies is not repeated: JobFailed. A call whose worker is lost runs
          again on another.
        - The future also has `job` (RUN/JOB), `logs()` and `why()`.
        - `cancel()` of the future cancels a call that does not run yet; `cancel(force=True)` also
          one that runs.
        - All arguments are those of the function. `client.options(retries=5).call(...)` gives
          options; without them those of a `titan.task` apply.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     assert client.call(pow, 2, 10).result() == 1024
        """
        return self._submitter().submit(function, args, kwargs, {})

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        chunksize: int | str = "auto",
        timeout: float | None = None,
        detach: bool = False,
        progress: bool | str = False,
        **options: Unpack[MapOptions],
    ) -> Iterator[T]:
        """Like the built-in `map`, with each call as a job on a worker.

        All calls are submitted before it returns, thousands at a time. Results come in order, each
        as soon as it is available.

        - `chunksize`: number of calls in one job, which is recorded, moved and lost as one. "auto"
          is 1.
        - `timeout`: seconds from now, after which a missing result raises TimeoutError.
        - An exception of a call is raised in place of its result. The other calls of its chunk
          still run. A call that kills its process, or whose result cannot be pickled, fails its
          whole chunk.
        - Ctrl-C cancels the calls that are not over, unless `detach` is True.
        - `progress`: show a bar on stderr if that is a terminal, and in notebooks; by tqdm if it is
          installed. "always" shows it everywhere.
        - `options` are those of `Client.options`, but for `timeout`. Without them those of a
          `titan.task` apply. The `timeout` of a task or of `Client.options` is multiplied by the
          number of calls in a chunk.
        """
        return self._submitter().map(function, iterables, chunksize, timeout, options, detach=detach, progress=progress)

    def options(self, **options: Unpack[CallOptions]) -> CallsWithOptions:
        """Return `call`, `map` and `executor` of this client with options for each call.

        - `retries`: retries of a call that raised; default 0.
        - `timeout`: seconds, or a text such as "5m", after which a running call is killed.
        - `priority`: calls with a higher one run first; default 1.
        - `requirement`: the capability that the worker must offer, or several.
        - `cpus`, `memory`, `gpus`: what a running call reserves on its worker.

        They replace the options of a `titan.task`. Raises InvalidGraph.

        >>> gpu = Client().options(requirement="GPU", retries=2)
        >>> gpu.call(pow, 2, 10).result()              # doctest: +SKIP
        1024
        """
        return CallsWithOptions(self, options)

    @overload
    def compute(self, what: TaskCall[T], /) -> CallFuture[T]: ...
    @overload
    def compute(self, what: Sequence[TaskCall[T]], /) -> list[CallFuture[T]]: ...
    def compute(self, what: Any, /) -> Any:
        """Run the task calls that the given ones need, as one run with a job per call.

        Return at once, with a future for each given call. A call that several others need runs
        once. If a call fails, its dependents do not run: their futures raise JobFailed, which names
        the failed ancestor and has its exception as the cause. `cancel` of a future cancels its job
        if that does not run yet and no other future needs it.

        >>> @task
        ... def add(x, y):
        ...     return x + y
        >>> with Client() as client:                   # doctest: +SKIP
        ...     assert client.compute(add(add(1, 2), 3)).result() == 6
        """
        nodes, single = nodes_of(what)
        futures = self._submitter().compute(nodes)
        return futures[0] if single else futures

    def executor(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **options: Unpack[CallOptions],
    ) -> TitanExecutor:
        """Return a concurrent.futures.Executor that runs calls on the cluster.

        - `max_workers`: the number of its calls that may be open at the same time; default: no
          limit, as the cluster has one. This program submits a further call when one has ended.
        - `initializer(*initargs)` runs in each process before its first call of this executor. If
          it raises, the call raises BrokenExecutor.
        - `options` are those of `Client.options`.

        Its shutdown leaves this client open. Raises CallerError, InvalidGraph.
        """
        return TitanExecutor(self, max_workers, initializer, initargs, options)

    def _submitter(self) -> Calls:
        calls = self._calls
        if calls is not None and self._loop is not None:
            return calls
        loop = self._opened()
        with self._opening:
            if self._loop is not loop:
                raise ConnectionLost(CLOSED)
            if self._calls is None:
                self._calls = Calls(self._async._connection, loop, self.close_timeout_s)
            return self._calls

    def runs(
        self, limit: int = 100, before: str = "", *, dag: str = "", since: float = 0.0, states: Iterable[str] = (), group: str = ""
    ) -> list[RunSummary]:
        """Return the newest runs first, including those in the history. See AsyncClient.runs."""
        return self._wait(self._async.runs(limit, before, dag=dag, since=since, states=states, group=group))

    def workers(self) -> list[WorkerStatus]:
        return self._wait(self._async.workers())

    def notices(self) -> list[tuple[float, str]]:
        """Return (since, notice) of problems with the master's home, the newest last.

        `since` is in seconds since the epoch.
        """
        return self._wait(self._async.notices())

    def drain_worker(self, name: str) -> Told:
        """Drain a worker: it takes no new jobs, finishes the running ones, and leaves.

        Returns at once. Raises NotFound.
        """
        return self._wait(self._async.drain_worker(name))

    def stop_worker(self, name: str, *, now: bool = False, timeout: float | None = None) -> str:
        """Drain a worker and wait until it has left. See AsyncClient.stop_worker."""
        return self._wait(self._async.stop_worker(name, now=now, timeout=timeout))

    def scale(self) -> list[ScaleStatus]:
        """Return the burst workers of each scaling rule, and its last decision.

        Empty if there is no rule.
        """
        return self._wait(self._async.scale())

    def disk(self) -> DiskStatus:
        """Return the disk space of the master, the workers and the largest runs.

        Takes up to 15 s, because the master and the workers measure their homes.
        """
        return self._wait(self._async.disk())

    def dead_jobs(self, run: str = "", limit: int = 1000) -> list[DeadJob]:
        """Return the dead letter queue of one run or of all, the newest first."""
        return self._wait(self._async.dead_jobs(run, limit))

    def cancel(self, target: str) -> int:
        """Cancel `RUN`, or `RUN/JOB` with its dependents. Return the number of cancelled jobs."""
        return self._wait(self._async.cancel(target))

    def approve(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Approve the open gate RUN/GATE, or the gate of a webhook's `token`.

        See AsyncClient.approve.
        """
        return self._wait(self._async.approve(gate, by=by, comment=comment, token=token))

    def reject(self, gate: str = "", *, by: str | None = None, comment: str = "", token: str | None = None) -> Decision:
        """Reject a gate: its dependents are cancelled. See AsyncClient.reject."""
        return self._wait(self._async.reject(gate, by=by, comment=comment, token=token))

    def gates(self, run: str = "", limit: int = 1000) -> list[OpenGate]:
        """Return the gates that wait for a decision, of one run or of all, the oldest first."""
        return self._wait(self._async.gates(run, limit))

    def retry_dead(self, target: str, *, by: str | None = None) -> Retried:
        """Run DEAD `RUN/JOB`, or all DEAD jobs of `RUN`, again. See AsyncClient.retry_dead."""
        return self._wait(self._async.retry_dead(target, by=by))

    def purge_dead(self, target: str) -> int:
        """Remove jobs from the dead letter queue. See AsyncClient.purge_dead."""
        return self._wait(self._async.purge_dead(target))

    def status(self, run: str) -> RunStatus:
        return self._wait(self._async.status(run))

    def job(self, target: str) -> tuple[JobStatus, list[str]]:
        """Return (status, story) of `RUN/JOB`. The story has a line per event. Raises NotFound."""
        return self._wait(self._async.job(target))

    def attempts(self, target: str) -> list[Attempt]:
        """Return the attempts of `RUN/JOB`, or of all jobs of `RUN`, by job and then by time.

        See AsyncClient.attempts.
        """
        return self._wait(self._async.attempts(target))

    def graph(self, run: str) -> RunGraph:
        """Return the jobs of a run with their parents and templates. Raises NotFound."""
        return self._wait(self._async.graph(run))

    def why(self, target: str) -> Why:
        """Return the reasons why `RUN/JOB` does not run, in general and for each worker.

        Raises NotFound.
        """
        return self._wait(self._async.why(target))

    def changes(
        self, run: str, *, jobs: bool = True, progress: bool = False, services: bool = True
    ) -> Iterator[tuple[RunSummary, list[JobStatus]]]:
        """Yield the run as it is now, then every change, until the run is over.

        See AsyncClient.changes.
        """
        return self._iterate(self._async.changes(run, jobs=jobs, progress=progress, services=services))

    def cluster_changes(self) -> Iterator[ClusterChange]:
        """Yield the cluster as it is now, then every change. See AsyncClient.cluster_changes."""
        return self._iterate(self._async.cluster_changes())

    def logs(self, target: str, follow: bool = False, attempt: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield (1 for stdout or 2 for stderr, bytes) of `RUN/JOB`. See AsyncClient.logs."""
        return self._iterate(self._async.logs(target, follow=follow, attempt=attempt))

    def rerun(self, target: str, *, new_files: bool = False, cache: bool = True) -> Run:
        """Submit the DAG of `RUN`, or the part behind `RUN/JOB`, again. See AsyncClient.rerun."""
        return Run(self, self._wait(self._async.rerun(target, new_files=new_files, cache=cache)))

    def push(self, path: str | Path, name: str = "") -> str:
        """Upload a file to the master's perm_files/; return its name there.

        Jobs name it as `perm:NAME`; later runs get the new content. `name` defaults to the name of
        the file. Raises CallerError, InvalidGraph.
        """
        return self._wait(self._async.push(path, name))

    def log_pieces(self, target: str, follow: bool = False, attempt: int | None = None) -> Iterator[LogPiece]:
        """Yield the output of `RUN/JOB` or `RUN` with its gaps. See AsyncClient.log_pieces."""
        return self._iterate(self._async.log_pieces(target, follow=follow, attempt=attempt))

    def services(self, run: str = "", limit: int = 1000) -> list[ServiceStatus]:
        """Return the services that are not over, of one run or of all. Raises NotFound."""
        return self._wait(self._async.services(run, limit))

    def stop(self, target: str) -> int:
        """Stop the service `RUN/JOB`, or all services of `RUN`. See AsyncClient.stop."""
        return self._wait(self._async.stop(target))

    def replace(self, target: str, job: Job | None = None) -> bool:
        """Restart the service `RUN/JOB`, with the command and `args` of `job` if given.

        See AsyncClient.replace.
        """
        return self._wait(self._async.replace(target, job))

    def stop_master(self) -> None:
        """Stop the master. Workers keep their jobs and wait for the next master."""
        self._wait(self._async.stop_master())


class CallsWithOptions:
    """`call`, `map` and `executor` of a client with options for each call. See Client.options."""

    def __init__(self, client: Client, options: CallOptions) -> None:
        Options().changed(options)
        self._client = client
        self._options = options

    @overload
    def call(self, function: Task[T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    @overload
    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> CallFuture[T]: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """See Client.call."""
        return self._client._submitter().submit(function, args, kwargs, self._options)

    def map(
        self,
        function: Callable[..., T],
        /,
        *iterables: Iterable[Any],
        chunksize: int | str = "auto",
        timeout: float | None = None,
        detach: bool = False,
        progress: bool | str = False,
    ) -> Iterator[T]:
        """See Client.map."""
        return self._client._submitter().map(
            function, iterables, chunksize, timeout, self._options, detach=detach, progress=progress
        )

    def executor(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> TitanExecutor:
        """See Client.executor."""
        return TitanExecutor(self._client, max_workers, initializer, initargs, self._options)


_clients_here: dict[str, Client] = {}


def _client_here(address: str) -> Client:
    """Return the client of this process that stands for a client which was pickled elsewhere.

    A job reaches the master at the address that its worker uses.
    """
    address = os.environ.get(VARIABLE, address) if "_titan_runner" in sys.modules else address
    return _clients_here.setdefault(address, Client(address))
