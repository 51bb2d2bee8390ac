"""Outbox of the progress and status reports that jobs send to the master. Pure: reports and the
time go in, messages come out.

Owns the newest progress and status of each attempt, and the times at which they are sent. Progress
is sent in batches, at most every `EVERY_S`. A changed status is sent at most once in
`STATUS_EVERY_S` per attempt, because the master journals each status. A report that is replaced
before it is due is never sent. After a reconnect all known reports are sent again, because the
master may not have them. This module must not know connections: callers ask for messages only while
there is a connection.
"""

from __future__ import annotations

from titan.protocol import messages as msg

EVERY_S = 0.2
STATUS_EVERY_S = 1.0
ROWS = 4096
"""Maximum number of rows in one message."""
NEVER = float("-inf")


class _Status:
    __slots__ = ("sent_at", "sent_text", "text")

    def __init__(self) -> None:
        self.text = ""
        self.sent_text: str | None = None
        self.sent_at = NEVER


class ReportOutbox:
    def __init__(self) -> None:
        self._progress: dict[int, tuple[float, str]] = {}
        self._unsent_progress: dict[int, None] = {}
        """Leases of the attempts whose newest progress was not sent."""
        self._statuses: dict[int, _Status] = {}
        self._unsent_statuses: dict[int, None] = {}
        """Leases of the attempts whose newest status was not sent."""
        self._sent_at = NEVER

    # -- reports of jobs ---------------------------------------------------------------------------
    def progress(self, lease: int, fraction: float, message: str) -> float:
        """Record progress. Return when `due` has to be called."""
        self._progress[lease] = (fraction, message)
        self._unsent_progress[lease] = None
        return self._sent_at + EVERY_S

    def status(self, lease: int, text: str) -> float:
        """Record a status. Return when `due` has to be called."""
        status = self._statuses.get(lease)
        if status is None:
            status = self._statuses[lease] = _Status()
        status.text = text
        self._unsent_statuses[lease] = None
        return self._due_at(status)

    def forget(self, lease: int) -> None:
        """Drop the reports of an attempt whose result the master has recorded."""
        for known in (self._progress, self._unsent_progress, self._statuses, self._unsent_statuses):
            known.pop(lease, None)

    def disconnected(self) -> None:
        """Mark all reports as unsent."""
        for status in self._statuses.values():
            status.sent_text, status.sent_at = None, NEVER
        self._unsent_statuses = dict.fromkeys(self._statuses)
        self._unsent_progress = dict.fromkeys(self._progress)

    # -- messages to the master --------------------------------------------------------------------
    def next_due(self) -> float | None:
        """Return when `due` will have messages to send, None if there is no unsent report."""
        if self._unsent_progress:
            return self._sent_at + EVERY_S
        return min([self._due_at(self._statuses[lease]) for lease in self._unsent_statuses], default=None)

    def due(self, now: float) -> list[msg.Message]:
        """Return the messages that have to be sent now."""
        next_due = self.next_due()
        if next_due is None or now < next_due:
            return []
        self._sent_at = now
        fresh, self._unsent_progress = list(self._unsent_progress), {}
        out: list[msg.Message] = []
        for first in range(0, len(fresh), ROWS):
            leases = fresh[first : first + ROWS]
            rows = [self._progress[lease] for lease in leases]
            out.append(msg.Progress(0, leases, [fraction for fraction, _ in rows], [text for _, text in rows]))
        return out + self._status_messages(
            now, [lease for lease in self._unsent_statuses if self._statuses[lease].sent_at + STATUS_EVERY_S <= now]
        )

    def all_statuses(self, now: float) -> list[msg.Message]:
        """Return messages with all unsent statuses, even those that are not due yet. The caller
        sends them before the results of attempts."""
        return self._status_messages(now, list(self._unsent_statuses)) if self._unsent_statuses else []

    def _due_at(self, status: _Status) -> float:
        return max(self._sent_at + EVERY_S, status.sent_at + STATUS_EVERY_S)

    def _status_messages(self, now: float, due: list[int]) -> list[msg.Message]:
        leases: list[int] = []
        for lease in due:
            del self._unsent_statuses[lease]
            status = self._statuses[lease]
            if status.sent_text != status.text:
                status.sent_text, status.sent_at = status.text, now
                leases.append(lease)
        parts = [leases[first : first + ROWS] for first in range(0, len(leases), ROWS)]
        return [msg.Statuses(0, part, [self._statuses[lease].text for lease in part]) for part in parts]
