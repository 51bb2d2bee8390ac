"""Assignment of calls to runners. Pure: part of the worker's state machine.

A runner executes its calls one at a time, in order, and uses a slot while it has calls. Quick calls
are sent to the runner some milliseconds ahead, so that the runner need not wait for the worker.
When a call turns out slow, the calls behind it are taken back at once. This module owns the order
of calls per runner and the depth of pipelining. It must not know how the end of a call is handled.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

AHEAD_S = 0.005
"""Amount of work that is sent to a runner ahead of time, in seconds of expected run time."""
AHEAD_MAX = 512
STALL_S = 0.01
"""A call that runs longer than this is reported as running, and the calls behind it are taken
back."""

KEPT = 4
"""Number of idle runners that are kept for reuse by their sessions. If this many are idle and a
call of another session needs a runner, the runner that has been idle longest is replaced."""

_NONE: deque[int] = deque()


class Slow(NamedTuple):
    runner: int
    lease: int | None
    """Lease of the running call. None while the runner is still starting."""
    since: float
    behind: int
    """Number of calls queued behind the running call."""


class Runners:
    def __init__(self) -> None:
        self.queues: dict[int, deque[int]] = {}
        """runner -> leases of its calls. The runner executes the first of them."""
        self._since: dict[int, float] = {}
        """runner -> time at which its first call started. While the runner is starting: time at
        which the call was assigned."""
        self._up: dict[int, None] = {}
        """Runners that have started and take calls. The other runners are still starting."""
        self._known_slow: dict[int, None] = {}
        """Runners whose slow call or slow start was already reported by `slow`."""
        self._sessions: dict[int, str] = {}
        """runner -> session that it serves."""
        self._pace_s = 0.0
        self._with_calls = 0
        self.waiting: dict[int, int] = {}
        """runner -> lease of the running call, if that call waits for other calls and uses no slot
        meanwhile."""

    @property
    def busy(self) -> int:
        """Number of slots in use: one for each runner that has calls, except runners whose call
        waits."""
        return self._with_calls - len(self.waiting)

    def wait(self, runner: int) -> int | None:
        """Free the slot of the runner's running call, which now waits for other calls.

        Return the call's lease. Return None if there is no call or its slot is already free.
        """
        queue = self.queues.get(runner)
        if not queue or runner in self.waiting:
            return None
        self.waiting[runner] = queue[0]
        return queue[0]

    def resume(self, runner: int) -> bool:
        """Let the runner's call use a slot again, because its wait is over. More calls than slots
        may run for a moment. Return False if the call did not wait."""
        return self.waiting.pop(runner, None) is not None

    @property
    def ahead(self) -> int:
        """Maximum number of calls per runner, including the running call."""
        return max(1, min(AHEAD_MAX, int(AHEAD_S / self._pace_s))) if self._pace_s else 1

    def up(self, now: float, runner: int) -> None:
        """Note that the runner has started, and begins its first call now."""
        self._up[runner] = None
        self._since[runner] = now
        self._known_slow.pop(runner, None)

    def place(self, now: float, lease: int, session: str = "", *, free: bool) -> int | None:
        """Queue a call of a session and return its runner, or None if no runner can take the call
        now.

        If a slot is `free`, an idle runner of the session takes the call, or a runner with a new
        number. Otherwise a busy runner of the session takes the call if pipelining allows. If the
        returned runner served another session before, the caller has to replace its process.
        """
        sessions = self._sessions
        if free:
            idle = [r for r, queue in self.queues.items() if not queue]
            runner = next((r for r in idle if sessions[r] == session), len(self.queues))
            if runner == len(self.queues) and len(idle) >= KEPT:
                runner = min(idle, key=self._since.__getitem__)
                self._up.pop(runner, None)
                self._known_slow.pop(runner, None)
            sessions[runner] = session
            self.queues.setdefault(runner, deque()).append(lease)
            self._since[runner] = now
            self._with_calls += 1
            return runner
        limit = self.ahead
        if limit > 1:
            for runner, queue in self.queues.items():
                if queue and len(queue) < limit and runner not in self._known_slow and runner not in self.waiting:
                    if sessions[runner] != session:
                        continue
                    queue.append(lease)
                    return runner
        return None

    def ended(self, now: float, runner: int, count: int, took_s: float) -> list[int]:
        """Remove the runner's first `count` calls, which took `took_s` in total. Return their
        leases."""
        queue = self.queues[runner]
        self.waiting.pop(runner, None)
        leases = [queue.popleft() for _ in range(min(count, len(queue)))]
        mean = max(took_s / max(1, count), 2e-6)
        self._pace_s = mean if mean > self._pace_s else 0.75 * self._pace_s + 0.25 * mean
        self._since[runner] = now
        self._known_slow.pop(runner, None)
        if leases and not queue:
            self._with_calls -= 1
        return leases

    def returned(self, runner: int, count: int) -> list[int]:
        """Remove the runner's last `count` calls, which never ran. Return the leases in order."""
        queue = self.queues[runner]
        leases = [queue.pop() for _ in range(min(count, len(queue)))]
        if leases and not queue:
            self._with_calls -= 1
        return leases[::-1]

    def gone(self, now: float, runner: int, count: int) -> list[int]:
        """Remove the `count` calls that a runner had when it ended. Return their leases.

        Calls that were queued later belong to the next runner with this number.
        """
        self.waiting.pop(runner, None)
        queue = self.queues.get(runner, _NONE)
        leases = [queue.popleft() for _ in range(min(count, len(queue)))]
        if leases and not queue:
            self._with_calls -= 1
        self._since[runner] = now
        self._known_slow.pop(runner, None)
        self._up.pop(runner, None)
        return leases

    def slow(self, now: float) -> list[Slow]:
        """Return the runners whose running call or start is slow, each of them once.

        The caller takes back the calls that are queued behind a slow call.
        """
        found = []
        for runner, queue in self.queues.items():
            if queue and runner not in self._known_slow and self._since[runner] + STALL_S <= now:
                self._known_slow[runner] = None
                up = runner in self._up
                if up:
                    self._pace_s = max(self._pace_s, STALL_S)
                found.append(Slow(runner, queue[0] if up else None, self._since[runner], len(queue) - 1))
        return found

    def next_due(self) -> float | None:
        return min(
            (self._since[r] + STALL_S for r, queue in self.queues.items() if queue and r not in self._known_slow), default=None
        )
