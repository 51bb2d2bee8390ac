"""Futures of the wanted nodes: each result of their run sets the future of its node.

Owns the errors of nodes. A node whose ancestor failed raises JobFailed, which names the ancestor
and has its exception as the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

from titan.errors import JobFailed
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.functions import value_of
from titan.sdk.tasks import Plan
from titan.sdk.unacknowledged import CallFuture

Settle = Callable[[Future[Any], int, bytes, str], None]
"""Sets a future to the result that a state, value and reason describe.

A large value is fetched first.
"""


class Computed:
    def __init__(self, plan: Plan, settle: Settle) -> None:
        self._plan = plan
        self._settle = settle
        self.futures: dict[int, CallFuture[Any]] = {position: CallFuture() for position in plan.wanted}
        self._failed: dict[int, BaseException] = {}

    def unretrieved(self) -> list[str]:
        return [] if any(future.retrieved for future in self.futures.values()) else self._plan.names

    def accepted(self, run: str, cancel: Callable[[str], None]) -> None:
        for position, future in self.futures.items():
            future.run_and_job = (run, self._plan.spec.ids[position])
            future.add_done_callback(partial(self._on_done, cancel, position))

    def _on_done(self, cancel: Callable[[str], None], position: int, future: Future[Any]) -> None:
        """Cancel the job of a cancelled future, unless another open future needs it.

        If no future is open any more, cancel the whole run.
        """
        if future.cancelled():
            others = [p for p, f in self.futures.items() if not f.done()]
            if not others:
                cancel("")
            elif position not in self._plan.needed_for(others):
                cancel(self._plan.spec.ids[position])

    def take(self, message: msg.Values) -> None:
        for position, state, value, reason in zip(message.positions, message.states, message.values, message.reasons, strict=True):
            if state == JobState.DEAD and position not in self._failed:
                self._failed[position] = _error_of(state, value, reason)
            future = self.futures.get(position)
            if future is None or future.done() or future.running() or not future.set_running_or_notify_cancel():
                continue
            if state in (JobState.CANCELLED, JobState.SKIPPED):
                future.set_exception(self._cancelled_error(position, reason))
            else:
                self._settle(future, state, value, reason)

    def _cancelled_error(self, position: int, reason: str) -> BaseException:
        failed = min(self._plan.needed_for([position]) & self._failed.keys(), default=None)
        if failed is None:
            return CancelledError(reason)
        ids, cause = self._plan.spec.ids, self._failed[failed]
        error = JobFailed(f"{ids[position]} did not run: its ancestor {ids[failed]} failed: {type(cause).__name__}: {cause}")
        error.__cause__ = cause
        return error

    def fail(self, error: BaseException) -> None:
        for future in self.futures.values():
            if not future.done() and future.set_running_or_notify_cancel():
                future.set_exception(error)


def _error_of(state: int, value: bytes, reason: str) -> BaseException:
    try:
        value_of(state, value, reason)
    except BaseException as e:
        return e
    raise AssertionError("a DEAD job has neither an exception nor a failure")
