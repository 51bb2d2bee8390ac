"""Futures of the wanted nodes: each result of their run sets the future of its node.

Owns the errors of nodes. A node whose ancestor failed raises JobFailed, which names the ancestor
and has its exception as the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from titan.errors import JobFailed
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.call_future import CallFuture
from titan.sdk.call_jobs import CallJobs
from titan.sdk.functions import value_of
from titan.sdk.tasks import Plan

Settle = Callable[[Future[Any], int, bytes, str], None]
"""Sets a future to the result that a state, value and reason describe.

A large value is fetched first.
"""


class Computed:
    def __init__(self, plan: Plan, settle: Settle, jobs: CallJobs) -> None:
        self._plan = plan
        self._settle = settle
        self._jobs = jobs
        self.futures: dict[int, CallFuture[Any]] = {position: CallFuture(jobs) for position in plan.wanted}
        self._failed: dict[int, BaseException] = {}

    def unretrieved(self) -> list[str]:
        return [] if any(future.retrieved for future in self.futures.values()) else self._plan.names

    def accepted(self, run: str) -> None:
        for position, future in self.futures.items():
            future.acknowledge(run, self._plan.spec.ids[position], self)

    async def cancel_call(self, future: CallFuture[Any], *, force: bool) -> bool:
        """Cancel the job of a future, unless another open future needs it.

        If no other future is open, cancel the whole run.
        """
        run, job = future.run_and_job
        position = next(p for p, f in self.futures.items() if f is future)
        others = [p for p, f in self.futures.items() if f is not future and not f.done()]
        if position in self._plan.needed_for(others):
            return force or (await self._jobs.status(run, job)).state != "RUNNING"
        cancelled = await self._jobs.cancel(run, job, unstarted=not force) > 0
        if not others and (cancelled or force):
            await self._jobs.cancel(run)
        return cancelled

    def take(self, message: msg.Values) -> None:
        for position, state, value, reason in zip(message.positions, message.states, message.values, message.reasons, strict=True):
            if state == JobState.DEAD and position not in self._failed:
                self._failed[position] = _error_of(state, value, reason)
            future = self.futures.get(position)
            if future is None:
                continue
            did_not_run = state in (JobState.CANCELLED, JobState.SKIPPED)
            failed = self._failed_ancestor(position) if did_not_run else None
            if did_not_run and failed is None:
                future.end_cancelled(reason)
            elif future.begin_settling():
                if failed is not None:
                    future.set_exception(self._ancestor_error(position, failed))
                else:
                    self._settle(future, state, value, reason)

    def _failed_ancestor(self, position: int) -> int | None:
        return min(self._plan.needed_for([position]) & self._failed.keys(), default=None)

    def _ancestor_error(self, position: int, failed: int) -> JobFailed:
        ids, cause = self._plan.spec.ids, self._failed[failed]
        error = JobFailed(f"{ids[position]} did not run: its ancestor {ids[failed]} failed: {type(cause).__name__}: {cause}")
        error.__cause__ = cause
        return error

    def fail(self, error: BaseException) -> None:
        for future in self.futures.values():
            if future.begin_settling():
                future.set_exception(error)


def _error_of(state: int, value: bytes, reason: str) -> BaseException:
    try:
        value_of(state, value, reason)
    except BaseException as e:
        return e
    raise AssertionError("a DEAD job has neither an exception nor a failure")
