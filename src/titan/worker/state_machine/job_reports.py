"""What jobs say of themselves on its way to the master: progress and status. Pure: time goes in,
messages come out.

Owns the newest of each per attempt, and when it is sent: progress in batches, at most every
`EVERY_S`; a status as a change at most once in `STATUS_EVERY_S` per job, as each is journaled. What
is overtaken meanwhile is never sent. After a cut all that is known is said again, as the next
master may know nothing of it. It must not know connections: nothing is to be asked of it without
one.
"""

from __future__ import annotations

from titan.protocol import messages as msg

EVERY_S = 0.2
STATUS_EVERY_S = 1.0
ROWS = 4096
"""In one message."""
NEVER = float("-inf")


class _Status:
    __slots__ = ("text", "told", "told_at")

    def __init__(self) -> None:
        self.text = ""
        self.told: str | None = None
        self.told_at = NEVER


class ReportOutbox:
    def __init__(self) -> None:
        self._progress: dict[int, tuple[float, str]] = {}
        self._fresh: dict[int, None] = {}
        """Attempts whose progress the master was not told."""
        self._statuses: dict[int, _Status] = {}
        self._unsaid: dict[int, None] = {}
        """The same for statuses."""
        self._sent_at = NEVER

    # -- what jobs say -----------------------------------------------------------------------------
    def progress(self, lease: int, fraction: float, message: str) -> float:
        """Returns when `due` is to be asked."""
        self._progress[lease] = (fraction, message)
        self._fresh[lease] = None
        return self._sent_at + EVERY_S

    def status(self, lease: int, text: str) -> float:
        """Returns when `due` is to be asked."""
        status = self._statuses.get(lease)
        if status is None:
            status = self._statuses[lease] = _Status()
        status.text = text
        self._unsaid[lease] = None
        return self._when(status)

    def forget(self, lease: int) -> None:
        """The attempt is over, and its end known."""
        for known in (self._progress, self._fresh, self._statuses, self._unsaid):
            known.pop(lease, None)

    def disconnected(self) -> None:
        """Nothing counts as told any more."""
        for status in self._statuses.values():
            status.told, status.told_at = None, NEVER
        self._unsaid = dict.fromkeys(self._statuses)
        self._fresh = dict.fromkeys(self._progress)

    # -- what the master is told -------------------------------------------------------------------
    def next_due(self) -> float | None:
        """When `due` has something to tell."""
        if self._fresh:
            return self._sent_at + EVERY_S
        return min([self._when(self._statuses[lease]) for lease in self._unsaid], default=None)

    def due(self, now: float) -> list[msg.Message]:
        """What the master is to be told now."""
        next_due = self.next_due()
        if next_due is None or now < next_due:
            return []
        self._sent_at = now
        fresh, self._fresh = list(self._fresh), {}
        out: list[msg.Message] = []
        for first in range(0, len(fresh), ROWS):
            leases = fresh[first : first + ROWS]
            rows = [self._progress[lease] for lease in leases]
            out.append(msg.Progress(0, leases, [fraction for fraction, _ in rows], [text for _, text in rows]))
        return out + self._say(now, [lease for lease in self._unsaid if self._statuses[lease].told_at + STATUS_EVERY_S <= now])

    def all_statuses(self, now: float) -> list[msg.Message]:
        """Also those that would be told later: what goes before the results of attempts."""
        return self._say(now, list(self._unsaid)) if self._unsaid else []

    def _when(self, status: _Status) -> float:
        return max(self._sent_at + EVERY_S, status.told_at + STATUS_EVERY_S)

    def _say(self, now: float, due: list[int]) -> list[msg.Message]:
        leases: list[int] = []
        for lease in due:
            del self._unsaid[lease]
            status = self._statuses[lease]
            if status.told != status.text:
                status.told, status.told_at = status.text, now
                leases.append(lease)
        parts = [leases[first : first + ROWS] for first in range(0, len(leases), ROWS)]
        return [msg.Statuses(0, part, [self._statuses[lease].text for lease in part]) for part in parts]
