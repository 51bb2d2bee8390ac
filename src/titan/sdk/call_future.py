"""Futures of calls: those of concurrent.futures, with the job behind each.

All changes of a future's state happen in the thread of its client's loop. So a cancellation and a
result cannot meet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

from titan.errors import CallerError, ConnectionLost, TitanError
from titan.sdk.call_jobs import CallJobs
from titan.sdk.slot_release import slot_released
from titan.sdk.why import Why

T = TypeVar("T")
U = TypeVar("U")
STATE_S = 5.0
"""Seconds for which `running` waits for the master."""
NAMED_S = 30.0
"""Seconds for which `job` waits for the master to acknowledge the call."""


class Submission(Protocol):
    """Submission that a future belongs to."""

    async def cancel_call(self, future: CallFuture[Any], *, force: bool) -> bool:
        """Cancel the acknowledged call of this future. Return False if it goes on.

        A running call goes on without `force`. Raises TitanError.
        """


class CallFuture(Future[T]):
    """Future of a call on the cluster: a concurrent.futures.Future that also knows its job.

    `cancel` leaves a call that runs, as concurrent.futures defines. `cancel(force=True)` stops it.
    """

    def __init__(self, jobs: CallJobs) -> None:
        super().__init__()
        self._jobs = jobs
        self._run_and_job: tuple[str, str] | None = None
        self._submission: Submission | None = None
        self._named: asyncio.Event | None = None
        self._reason: tuple[str, ...] = ()
        self.retrieved = False
        """True once the program has retrieved the result or exception."""

    # -- what users ask ----------------------------------------------------------------------------
    @property
    def job(self) -> str | None:
        """RUN/JOB of the call, under which any client finds its output and result.

        It is known when the master has acknowledged the call, and the first use waits for that. It
        is None if the master refused the call or does not answer within 30 s. A callback of a
        future does not wait.
        """
        if self._run_and_job is None and not self.done() and not self._jobs.in_loop():
            self._ask(self._until_named(), None)
        return None if self._run_and_job is None else "/".join(self._run_and_job)

    def running(self) -> bool:
        """Return True if a worker executes the call now. Asks the master."""
        if self.done() or super().running():
            return not self.done()
        if self._run_and_job is None or self._jobs.in_loop():
            return False
        return self._ask(self._runs(*self._run_and_job), default=False) and not self.done()

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel the call if it does not run yet. Return True if it is cancelled.

        - `force`: also stop a call that runs. Its process is killed.
        - False means that the call runs, is over, or that the master does not answer.
        - In the thread of the client's loop (a callback of a future) it cannot wait for the answer.
          There it cancels with `force`.
        """
        if self.done():
            return self.cancelled()
        if not self._jobs.in_loop():
            return self._ask(self.cancel_in_loop(force=force), default=False)
        if super().running():
            return False
        if self._submission is not None:
            self._jobs.begin(_quietly(self._submission.cancel_call(self, force=True)))
        self.end_cancelled()
        return True

    def logs(self) -> str:
        """Return what the call has printed so far, stdout and stderr in the order of their arrival.

        The newest attempt counts. `client.logs(future.job, follow=True)` follows a running call.
        Raises CallerError in a callback of a future, and for a call that the master does not know.
        """
        return self._jobs.wait(self._jobs.logs(self._target())).decode("utf-8", "replace")

    def why(self) -> Why:
        """Return the reasons why the call does not run. See Client.why.

        Raises CallerError in a callback of a future, and for a call that the master does not know.
        """
        return self._jobs.wait(self._jobs.why(self._target()))

    def result(self, timeout: float | None = None) -> T:
        """Return the result of the call, or raise its exception.

        Raises TimeoutError after `timeout` seconds, CancelledError for a cancelled call, and
        JobFailed for a call whose process died.
        """
        try:
            with self._slot_free():
                return super().result(timeout)
        except CancelledError:
            if not self.cancelled():
                raise
            raise CancelledError(*self._reason) from None
        finally:
            self.retrieved = self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the exception of the call, None if it returned. Raises like `result`."""
        try:
            with self._slot_free():
                return super().exception(timeout)
        except CancelledError:
            raise CancelledError(*self._reason) from None
        finally:
            self.retrieved = self.done()

    def _slot_free(self) -> AbstractContextManager[None]:
        """Release the slot of the call that waits here, if this runs in a call and has to wait."""
        return nullcontext() if self.done() else slot_released()

    def _target(self) -> str:
        if self._jobs.in_loop():
            raise CallerError("a callback of a future cannot wait for the master: use another thread")
        job = self.job
        if job is None:
            raise CallerError("the master has not acknowledged the call: `future.exception()` has the reason")
        return job

    def _ask(self, work: Coroutine[Any, Any, U], default: U) -> U:
        try:
            return self._jobs.wait(work)
        except (TitanError, TimeoutError, CancelledError, RuntimeError):  # the last two: the client is closed
            return default

    # -- in the loop's thread ----------------------------------------------------------------------
    def acknowledge(self, run: str, job: str, submission: Submission) -> None:
        """Record the job of the call. The job of a call that is cancelled by now is cancelled."""
        self._run_and_job, self._submission = (run, job), submission
        if self._named is not None:
            self._named.set()
        if self.cancelled():
            self._jobs.begin(_quietly(submission.cancel_call(self, force=True)))

    async def _until_named(self) -> None:
        if self._run_and_job is None and not self.done():
            self._named = named = self._named or asyncio.Event()
            self.add_done_callback(lambda _: named.set())
            async with asyncio.timeout(NAMED_S):
                await named.wait()

    async def _runs(self, run: str, job: str) -> bool:
        async with asyncio.timeout(STATE_S):
            return (await self._jobs.status(run, job)).state == "RUNNING"

    async def cancel_in_loop(self, *, force: bool) -> bool:
        """Cancel the call and return whether it is cancelled. See `cancel`."""
        if self.done() or super().running():
            return self.cancelled()
        if self._submission is None or await self._submission.cancel_call(self, force=force):
            self.end_cancelled()
        return self.cancelled()

    def end_cancelled(self, reason: str = "") -> None:
        """End the future as cancelled, unless it is over."""
        if not self.done() and super().cancel():
            self._reason = (reason,) if reason else ()
            super().set_running_or_notify_cancel()

    def begin_settling(self) -> bool:
        """Return True if the future may be set to a result that has arrived."""
        return not self.done() and not super().running() and self.set_running_or_notify_cancel()

    @property
    def run_and_job(self) -> tuple[str, str]:
        """Run and job of an acknowledged call."""
        assert self._run_and_job is not None, "the call is not acknowledged"
        return self._run_and_job


async def _quietly(cancellation: Coroutine[Any, Any, bool]) -> None:
    try:
        await cancellation
    except TitanError:  # the call is lost with its run, or goes on: its future is over in both cases
        return


def cancel_unstarted(futures: Iterable[CallFuture[Any]]) -> None:
    """Cancel those calls of one client that do not run yet. Not for the thread of its loop."""
    by_jobs: dict[CallJobs, list[CallFuture[Any]]] = {}
    for future in futures:
        if not future.done():
            by_jobs.setdefault(future._jobs, []).append(future)

    async def cancel_all(some: list[CallFuture[Any]]) -> None:
        outcomes = await asyncio.gather(*[future.cancel_in_loop(force=False) for future in some], return_exceptions=True)
        lost = next((outcome for outcome in outcomes if isinstance(outcome, ConnectionLost)), None)
        if lost is not None:
            raise lost

    for jobs, some in by_jobs.items():
        jobs.wait(cancel_all(some))
