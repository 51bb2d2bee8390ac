"""Requests about the jobs of calls, which threads make through the event loop of their client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from titan.errors import JobFailed, TitanError
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.logs import log_pieces
from titan.sdk.loop_thread import run_in_loop
from titan.sdk.status import JobStatus, job_status
from titan.sdk.why import Why, ask_why

T = TypeVar("T")
EXPLAIN_S = 5.0
"""Seconds for which an error waits for the master's knowledge about its job."""


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

    async def explain(self, error: BaseException, run: str, job: str) -> None:
        """Fill the fields of JobFailed, and note at an ImportError where the call ran.

        The error of a master that does not answer changes nothing.
        """
        if not isinstance(error, (JobFailed, ImportError)):
            return
        try:
            async with asyncio.timeout(EXPLAIN_S):
                status = await self.status(run, job)
        except (TitanError, TimeoutError):
            return
        if isinstance(error, JobFailed):
            error.job = f"{run}/{job}"
            error.worker, error.attempts = status.worker or "", status.attempt
            error.exit_code = -1 if status.exit_code is None else status.exit_code
        else:
            error.add_note(
                f"in call {run}/{job} on worker {status.worker}: install the module for that interpreter. "
                "A module of your own travels with the call after `titan.register_by_value(module)`"
            )

    async def logs(self, target: str) -> bytes:
        return b"".join([piece.data async for piece in log_pieces(self._connection, target)])

    async def why(self, target: str) -> Why:
        return await ask_why(self._connection, target)
