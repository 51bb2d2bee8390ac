"""Handles on one submission of a DAG, and what its calls returned."""

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
from titan.sdk.lending import slot_lent
from titan.sdk.status import JobChange, RunStatus, RunSummary
from titan.sdk.tasks import TaskCall
from titan.sdk.waiting import Waiting

T = TypeVar("T")
OURS = 100_000
"""Runs that a program knows as its own; the newest."""
_OVER = ("COMPLETED", "DEAD", "CANCELLED")


class AsyncRun:
    """One submission of a DAG."""

    def __init__(self, client: Watcher, run: str, dag: str) -> None:
        self.client = client
        self.id = run
        self.dag = dag

    async def wait(self, timeout: float | None = None) -> RunSummary:
        """Until the run is over. Raises TimeoutError after `timeout` seconds; the run goes on."""
        async with asyncio.timeout(timeout):
            async for summary, _ in self.client.changes(self.id, jobs=False):
                if summary.over:
                    return summary
        raise AssertionError("a watch ended before its run")

    async def status(self) -> RunStatus:
        return await self.client.status(self.id)

    async def cancel(self) -> int:
        return await self.client.cancel(self.id)

    async def add(
        self, *jobs: Job | TaskCall[Any], before: Iterable[str | Job] = (), project: str | os.PathLike[str] | None = None
    ) -> int:
        """Adds jobs to the run while it runs, all or none; how many there were.

        Their `parents` may be jobs of the run. The jobs of the run that `before` names wait for the
        addition too; they must not have been ready yet. Raises InvalidGraph, Conflict for a run
        that is over, NotFound.
        """
        names = tuple([job if isinstance(job, str) else job.id for job in before])
        key = secrets.token_hex(16)
        async with self.client._staged(DAG(self.dag or "addition", jobs, project=project), addition=True) as staged:
            answer = await self.client._connection.call(lambda n: msg.Grow(n, 0, self.id, key, staged.spec, names))
        assert isinstance(answer, msg.Grown)
        return answer.jobs

    async def result(self, job: str | Job | TaskCall[T], *, trust: bool = False) -> Any:
        """What `job` (its id, the Job, or the node) came to, when it is over: what the call
        returned, or the job set by `context.result`; None if it set nothing.

        Raises what it raised, JobFailed if it died otherwise, CancelledError, NotFound. It can be
        asked for while the run is kept. Of a run that this program has not submitted itself it is
        opened only if it is JSON or plain data: else Untrusted is raised, since a pickle executes
        what its submitter wrote; `trust=True` opens it.
        """
        return await result_of(self.client, self.id, job if isinstance(job, str) else job.id, trust=trust)

    async def events(self, *, progress: bool = False) -> AsyncIterator[JobChange]:
        """Each job's state as it is now, then every change, until the run is over; with `progress`
        also of what jobs say of themselves (`status.progress`, `.message`, `.status`): the newest,
        at most five times a second."""
        async for summary, jobs in self.client.changes(self.id, progress=progress):
            for job in jobs:
                yield JobChange(summary.run, job.id, job.state, job)


class Run:
    """One submission of a DAG. `id` names it to every command and client."""

    def __init__(self, client: Waiting, run: AsyncRun) -> None:
        self._client = client
        self._run = run
        self.id = run.id
        self.dag = run.dag

    def wait(self, timeout: float | None = None) -> RunSummary:
        """Until the run is over. Raises TimeoutError after `timeout` seconds; the run goes on."""
        with slot_lent():
            return self._client._wait(self._run.wait(timeout))

    def status(self) -> RunStatus:
        return self._client._wait(self._run.status())

    def cancel(self) -> int:
        """Cancels what is not over; returns how many jobs that was."""
        return self._client._wait(self._run.cancel())

    def add(
        self, *jobs: Job | TaskCall[Any], before: Iterable[str | Job] = (), project: str | os.PathLike[str] | None = None
    ) -> int:
        """Adds jobs to the run while it runs; see AsyncRun.add.

        >>> run.add(Job("more", command="echo more", parents=["fetch"]), before=["report"])     # doctest: +SKIP
        1
        """
        return self._client._wait(self._run.add(*jobs, before=before, project=project))

    def result(self, job: str | Job | TaskCall[T], timeout: float | None = None, *, trust: bool = False) -> Any:
        """What `job` came to, when it is over; see AsyncRun.result. Raises TimeoutError after
        `timeout` seconds."""
        with slot_lent():
            return self._client._wait(asyncio.wait_for(self._run.result(job, trust=trust), timeout))

    def events(self, *, progress: bool = False) -> Iterator[JobChange]:
        """Each job's state as it is now, then every change, until the run is over; see
        AsyncRun.events."""
        return self._client._iterate(self._run.events(progress=progress))

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.dag or '?'}>"


_ours: deque[str] = deque(maxlen=OURS)
_ours_set: set[str] = set()


def submitted_here(run: str) -> None:
    """This program has submitted the run: what its jobs come to is its own."""
    if run not in _ours_set:
        if len(_ours) == OURS:
            _ours_set.discard(_ours[0])
        _ours.append(run)
        _ours_set.add(run)


async def result_of(client: Watcher, run: str, job: str, *, trust: bool = False) -> Any:
    """As AsyncRun.result."""
    state, value, reason, content = await value_when_over(client, run, job)
    return value_of(state, value, reason, content, trust=trust or run in _ours_set)


async def value_when_over(client: Watcher, run: str, job: str) -> tuple[int, bytes, str, Content | None]:
    """(state, value, reason, content of a value that is an artifact) of a job, when it is over."""
    connection = client._connection
    while True:
        try:
            answer = await connection.call(lambda n: msg.ReadValues(n, run, [job]))
            break
        except Conflict:  # it is not over
            async for summary, jobs in client.changes(run):
                if summary.over or any(change.id == job and change.state in _OVER for change in jobs):
                    break
    assert isinstance(answer, msg.Values)
    (state,), (value,), (reason,) = answer.states, answer.values, answer.reasons
    hash_ = artifact_of(value)
    if hash_ is None:
        return state, value, reason, None
    return state, value, reason, await uploads.fetch_value(connection, hash_, size_of(value))
