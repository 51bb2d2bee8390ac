"""Which runner has which calls. Pure: part of the worker's machine.

A runner executes one call at a time and in order, and takes a slot while it has any. Quick calls
are handed to it some milliseconds ahead, so that it need not wait for the worker; when one turns
out slow, those behind it are taken back at once. Owns the order of calls per runner and how far
ahead they go; must not know what becomes of a call.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

AHEAD_S = 0.005
"""So much work is handed to a runner ahead."""
AHEAD_MAX = 512
STALL_S = 0.01
"""A call that runs for longer is reported as running, and nothing stays behind it."""

KEPT = 4
"""Idle runners that are kept for the programs that they served; beyond, the one that is idle for
longest is replaced."""

_NONE: deque[int] = deque()


class Slow(NamedTuple):
    runner: int
    lease: int | None
    """The call that runs; None: the runner is not up yet."""
    since: float
    behind: int
    """Calls that wait on it."""


class Runners:
    def __init__(self) -> None:
        self.queues: dict[int, deque[int]] = {}
        """runner -> leases of its calls; the first is the one that runs."""
        self._since: dict[int, float] = {}
        """runner -> since when its first call runs; while the runner is not up, since when it has
        calls."""
        self._up: dict[int, None] = {}
        """Runners that take calls; others are still being started."""
        self._told: dict[int, None] = {}
        """Runners whose slow call, or slow start, was noticed."""
        self._sessions: dict[int, str] = {}
        """runner -> whose calls it serves."""
        self._pace_s = 0.0
        self._with_calls = 0
        self.waiting: dict[int, int] = {}
        """runner -> the call that it executes, which waits for others and uses no slot."""

    @property
    def busy(self) -> int:
        """Slots that runners use: of those that have calls, all but those that wait for other
        calls."""
        return self._with_calls - len(self.waiting)

    def wait(self, runner: int) -> int | None:
        """The call that it executes gives up its slot. Returns its lease, None if it has none or
        has given it up already."""
        queue = self.queues.get(runner)
        if not queue or runner in self.waiting:
            return None
        self.waiting[runner] = queue[0]
        return queue[0]

    def resume(self, runner: int) -> bool:
        """It goes on: there may be more than slots for a moment."""
        return self.waiting.pop(runner, None) is not None

    @property
    def ahead(self) -> int:
        """Calls that a runner may have, the one that runs included."""
        return max(1, min(AHEAD_MAX, int(AHEAD_S / self._pace_s))) if self._pace_s else 1

    def up(self, now: float, runner: int) -> None:
        """It begins with the first of its calls now."""
        self._up[runner] = None
        self._since[runner] = now
        self._told.pop(runner, None)

    def place(self, now: float, lease: int, session: str = "", *, free: bool) -> int | None:
        """A runner for one more call of a session: an idle one (a new number if none is) if a slot
        is `free`, else one that may go ahead. One of another session that is given here is replaced
        by a new process."""
        sessions = self._sessions
        if free:
            idle = [r for r, queue in self.queues.items() if not queue]
            runner = next((r for r in idle if sessions[r] == session), len(self.queues))
            if runner == len(self.queues) and len(idle) >= KEPT:
                runner = min(idle, key=self._since.__getitem__)
                self._up.pop(runner, None)
                self._told.pop(runner, None)
            sessions[runner] = session
            self.queues.setdefault(runner, deque()).append(lease)
            self._since[runner] = now
            self._with_calls += 1
            return runner
        limit = self.ahead
        if limit > 1:
            for runner, queue in self.queues.items():
                if queue and len(queue) < limit and runner not in self._told and runner not in self.waiting:
                    if sessions[runner] != session:
                        continue
                    queue.append(lease)
                    return runner
        return None

    def ended(self, now: float, runner: int, count: int, took_s: float) -> list[int]:
        """Its first `count` calls are over, after `took_s` in all. Returns their leases."""
        queue = self.queues[runner]
        self.waiting.pop(runner, None)
        leases = [queue.popleft() for _ in range(min(count, len(queue)))]
        mean = max(took_s / max(1, count), 2e-6)
        self._pace_s = mean if mean > self._pace_s else 0.75 * self._pace_s + 0.25 * mean
        self._since[runner] = now
        self._told.pop(runner, None)
        if leases and not queue:
            self._with_calls -= 1
        return leases

    def returned(self, runner: int, count: int) -> list[int]:
        """Its last `count` calls never ran. Returns their leases, in order."""
        queue = self.queues[runner]
        leases = [queue.pop() for _ in range(min(count, len(queue)))]
        if leases and not queue:
            self._with_calls -= 1
        return leases[::-1]

    def gone(self, now: float, runner: int, count: int) -> list[int]:
        """It ended, with `count` calls; those behind them are its successor's. Returns the leases
        that it had."""
        self.waiting.pop(runner, None)
        queue = self.queues.get(runner, _NONE)
        leases = [queue.popleft() for _ in range(min(count, len(queue)))]
        if leases and not queue:
            self._with_calls -= 1
        self._since[runner] = now
        self._told.pop(runner, None)
        self._up.pop(runner, None)
        return leases

    def slow(self, now: float) -> list[Slow]:
        """Those that are newly found slow. Nothing is to stay behind a slow call, or on a runner
        that is slow to start."""
        found = []
        for runner, queue in self.queues.items():
            if queue and runner not in self._told and self._since[runner] + STALL_S <= now:
                self._told[runner] = None
                up = runner in self._up
                if up:
                    self._pace_s = max(self._pace_s, STALL_S)
                found.append(Slow(runner, queue[0] if up else None, self._since[runner], len(queue) - 1))
        return found

    def next_due(self) -> float | None:
        return min((self._since[r] + STALL_S for r, queue in self.queues.items() if queue and r not in self._told), default=None)
