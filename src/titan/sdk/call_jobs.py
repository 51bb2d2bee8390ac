"""Requests about the jobs of calls, which threads make through the event loop of their client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.logs import log_pieces
from titan.sdk.loop_thread import run_in_loop
from titan.sdk.status import JobStatus, job_status
from titan.sdk.why import Why, ask_why

T = TypeVar("T")


class CallJobs:
    """Access to the jobs of one client's calls.

    `wait` and `begin` hand work to the client's loop. The other requests run in it.
    """

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()

    def in_loop(self) -> bool:
        """Return True in the thread of the loop, which must not wait for its own work."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the work in the loop and return its result. Not for the loop's own thread."""
        return run_in_loop(self._loop, work)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start the work. Only for the loop's own thread."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self, run: str, job: str = "", *, unstarted: bool = False) -> int:
        """Cancel a job, or the run. With `unstarted`, leave a job that runs.

        Return the number of cancelled jobs.
        """
        answer = await self._connection.call(lambda n: msg.Cancel(n, run, job, unstarted))
        assert isinstance(answer, msg.Cancelled)
        return answer.jobs

    async def status(self, run: str, job: str) -> JobStatus:
        answer = await self._connection.call(lambda n: msg.GetRun(n, run, job))
        assert isinstance(answer, msg.RunStatus)
        return job_status(answer.jobs[0])

    async def logs(self, target: str) -> bytes:
        return b"".join([piece.data async for piece in log_pieces(self._connection, target)])

    async def why(self, target: str) -> Why:
        return await ask_why(self._connection, target)
