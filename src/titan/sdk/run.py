"""Handles on a run, and the results of its jobs."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, TypeVar

from titan.errors import Conflict
from titan.model.values import artifact_of, size_of
from titan.protocol import messages as msg
from titan.sdk import uploads
from titan.sdk.client_parts import Watcher
from titan.sdk.functions import Content, value_of
from titan.sdk.job import DAG, Job
from titan.sdk.slot_release import slot_released
from titan.sdk.status import OVER, JobChange, RunStatus, RunSummary
from titan.sdk.tasks import TaskCall
from titan.sdk.waiting import Waiting

T = TypeVar("T")
OWN_RUNS = 100_000
"""Number of newest runs that a program remembers as its own submissions."""


class AsyncRun:
    """Handle on one submission of a DAG."""

    def __init__(self, client: Watcher, run: str, dag: str) -> None:
        self.client = client
        self.id = run
        self.dag = dag

    async def wait(self, timeout: float | None = None, *, services: bool = True) -> RunSummary:
        """Wait until the run is over, or with `services=False` until only READY services are left.

        Raises TimeoutError after `timeout` seconds; the run continues.
        """
        async with asyncio.timeout(timeout):
            async for summary, _ in self.client.changes(self.id, jobs=False, services=services):
                newest = summary
        return newest

    async def status(self) -> RunStatus:
        return await self.client.status(self.id)

    async def cancel(self) -> int:
        return await self.client.cancel(self.id)

    async def add(
        self, *jobs: Job | TaskCall[Any], before: Iterable[str | Job] = (), project: str | os.PathLike[str] | None = None
    ) -> int:
        """Add jobs to the running run, all or none. Return their number.

        Their `parents` may be jobs of the run. `before` names jobs of the run that wait for the
        added jobs too; none of these jobs may have been ready before. Raises InvalidGraph,
        NotFound, and Conflict for a run that is over.
        """
        names = tuple([job if isinstance(job, str) else job.id for job in before])
        key = secrets.token_hex(16)
        async with self.client._staged(DAG(self.dag or "addition", jobs, project=project), addition=True) as staged:
            answer = await self.client._connection.call(lambda n: msg.Grow(n, 0, self.id, key, staged.spec, names))
        assert isinstance(answer, msg.Grown)
        return answer.jobs

    async def result(self, job: str | Job | TaskCall[T], *, trust: bool = False) -> Any:
        """Wait until `job` (its id, Job, or task call) is over, and return its result.

        The result is the return value of a call, or the value set by `context.result`. It is None
        if the job set nothing. Results are available while the run is kept.

        Raises the exception of the call, JobFailed if the job died otherwise, CancelledError,
        NotFound.

        Raises Untrusted for a pickle from a run that this program did not submit, unless it holds
        only plain data. Unpickling can execute code of the submitter; `trust=True` permits it.
        """
        return await result_of(self.client, self.id, job if isinstance(job, str) else job.id, trust=trust)

    async def events(self, *, progress: bool = False) -> AsyncIterator[JobChange]:
        """Yield each job's current state, then every change, until the run is over.

        With `progress`, changes of `status.progress`, `.message` and `.status` are included. Of
        these, only the newest values are yielded, at most five times a second.
        """
        async for summary, jobs in self.client.changes(self.id, progress=progress):
            for job in jobs:
                yield JobChange(summary.run, job.id, job.state, job)


class Run:
    """Handle on one submission of a DAG. Every command and client accepts its `id`."""

    def __init__(self, client: Waiting, run: AsyncRun) -> None:
        self._client = client
        self._run = run
        self.id = run.id
        self.dag = run.dag

    def wait(self, timeout: float | None = None, *, services: bool = True) -> RunSummary:
        """Wait until the run is over, or with `services=False` until only READY services are left.

        Raises TimeoutError after `timeout` seconds; the run continues.
        """
        with slot_released():
            return self._client._wait(self._run.wait(timeout, services=services))

    def status(self) -> RunStatus:
        return self._client._wait(self._run.status())

    def cancel(self) -> int:
        """Cancel all jobs that are not over. Return their number."""
        return self._client._wait(self._run.cancel())

    def add(
        self, *jobs: Job | TaskCall[Any], before: Iterable[str | Job] = (), project: str | os.PathLike[str] | None = None
    ) -> int:
        """Add jobs to the running run. See AsyncRun.add.

        >>> more = Job("more", command="echo more", parents=["fetch"])
        >>> run.add(more, before=["report"])                         # doctest: +SKIP
        1
        """
        return self._client._wait(self._run.add(*jobs, before=before, project=project))

    def result(self, job: str | Job | TaskCall[T], timeout: float | None = None, *, trust: bool = False) -> Any:
        """Wait until `job` is over, and return its result. See AsyncRun.result.

        Raises TimeoutError after `timeout` seconds.
        """
        with slot_released():
            return self._client._wait(asyncio.wait_for(self._run.result(job, trust=trust), timeout))

    def events(self, *, progress: bool = False) -> Iterator[JobChange]:
        """Yield each job's current state, then every change, until the run is over.

        See AsyncRun.events.
        """
        return self._client._iterate(self._run.events(progress=progress))

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.dag or '?'}>"


_own_runs: deque[str] = deque(maxlen=OWN_RUNS)
_own_run_set: set[str] = set()


def submitted_here(run: str) -> None:
    """Record that this program submitted the run, so its results are trusted."""
    if run not in _own_run_set:
        if len(_own_runs) == OWN_RUNS:
            _own_run_set.discard(_own_runs[0])
        _own_runs.append(run)
        _own_run_set.add(run)


async def result_of(client: Watcher, run: str, job: str, *, trust: bool = False) -> Any:
    """Return the result of a job. See AsyncRun.result."""
    state, value, reason, content = await value_when_over(client, run, job)
    return value_of(state, value, reason, content, trust=trust or run in _own_run_set)


async def value_when_over(client: Watcher, run: str, job: str) -> tuple[int, bytes, str, Content | None]:
    """Wait until a job is over, and return (state, value, reason, content).

    `content` is set if the value is stored as an artifact.
    """
    connection = client._connection
    while True:
        try:
            answer = await connection.call(lambda n: msg.ReadValues(n, run, [job]))
            break
        except Conflict:  # the job is not over
            async for summary, jobs in client.changes(run):
                if summary.over or any(change.id == job and change.state in OVER for change in jobs):
                    break
    assert isinstance(answer, msg.Values)
    (state,), (value,), (reason,) = answer.states, answer.values, answer.reasons
    hash_ = artifact_of(value)
    if hash_ is None:
        return state, value, reason, None
    return state, value, reason, await uploads.fetch_value(connection, hash_, size_of(value))
