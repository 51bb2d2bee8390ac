"""Watchers of runs: the master pushes the changes of a run to them.

The first change after a pause of `EVERY_S` is sent at once. Later changes are sent together, at
most every `EVERY_S`. A watcher gets the newest state of each job, not a backlog. Progress is sent
at most every `PROGRESS_S`. A watcher with many unread bytes gets no progress until it has read
them. It then gets the newest progress of each job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.master import views
from titan.model.states import RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg

EVERY_S = 0.02
PROGRESS_S = 0.2
PAGE = 10_000
UNSENT_BYTES = 64 * 1024
"""Unread bytes above which a watcher gets no progress.

It would read the older, outdated progress first.
"""


class Watcher:
    __slots__ = ("behind", "wants_jobs")

    def __init__(self, *, wants_jobs: bool) -> None:
        self.wants_jobs = wants_jobs
        self.behind: dict[int, None] = {}
        """Jobs whose progress was held back because the watcher had too many unread bytes."""


class WatchedRun:
    def __init__(self) -> None:
        self.watchers: dict[tuple[Peer, int], Watcher] = {}
        """(connection, request) -> watcher."""
        self.moved: dict[int, None] = {}
        """Jobs whose progress must be sent."""
        self.progress_timer: asyncio.TimerHandle | None = None
        self.progress_sent_at = -PROGRESS_S
        self.changed: dict[int, None] = {}
        self.dirty = False
        self.timer: asyncio.TimerHandle | None = None
        self.flushed_at = 0.0


class WatchHub:
    """Watchers of all runs. `release(send)` calls `send` when all decisions so far are durable."""

    def __init__(self, state: State, release: Callable[[Callable[[], None]], None]) -> None:
        self._state = state
        self._release = release
        self._runs: dict[str, WatchedRun] = {}

    def watch(self, peer: Peer, ask: msg.Watch) -> None:
        frames = whole_run(self._state, ask)
        run = self._state.runs[ask.run]
        if run.state is RunState.RUNNING:
            self._runs.setdefault(run.id, WatchedRun()).watchers[peer, ask.request] = Watcher(wants_jobs=ask.jobs)

        def send() -> None:
            for frame in frames:
                peer.send(frame)

        self._release(send)

    def unwatch(self, peer: Peer, request: int) -> None:
        for run, watched in list(self._runs.items()):
            watched.watchers.pop((peer, request), None)
            self._drop_if_unwatched(run, watched)

    def forget(self, peer: Peer) -> None:
        for run, watched in list(self._runs.items()):
            for key in [key for key in watched.watchers if key[0] is peer]:
                del watched.watchers[key]
            self._drop_if_unwatched(run, watched)

    def note(self, events: list[ev.Event]) -> None:
        """Send the changes of applied events, now or at a scheduled time."""
        if not self._runs:
            return
        jobs = self._state.jobs
        touched: dict[str, WatchedRun] = {}
        for event in events:
            if type(event) is ev.ProgressReported:
                self._note_progress(event.jobs)
                continue
            for number in getattr(event, "jobs", ()):
                run = jobs[number].run.id
                watched = self._runs.get(run)
                if watched is not None:
                    watched.changed[number] = None
                    touched[run] = watched
            if isinstance(event, ev.RunFinished) and event.run in self._runs:
                touched[event.run] = self._runs[event.run]
        loop = asyncio.get_running_loop()
        for run, watched in touched.items():
            if self._state.runs[run].state is not RunState.RUNNING or loop.time() - watched.flushed_at >= EVERY_S:
                self._flush(run)
            elif watched.timer is None:
                watched.timer = loop.call_later(EVERY_S, self._flush, run)

    def _note_progress(self, numbers: list[int]) -> None:
        jobs, runs = self._state.jobs, self._runs
        loop = asyncio.get_running_loop()
        for number in numbers:
            run = jobs[number].run.id
            watched = runs.get(run)
            if watched is not None:
                watched.moved[number] = None
                if watched.progress_timer is None:
                    wait = max(0.0, watched.progress_sent_at + PROGRESS_S - loop.time())
                    watched.progress_timer = loop.call_later(wait, self._send_progress, run)

    def _send_progress(self, run_id: str) -> None:
        watched = self._runs.get(run_id)
        if watched is None:
            return
        loop = asyncio.get_running_loop()
        watched.progress_timer, watched.progress_sent_at = None, loop.time()
        moved, watched.moved = watched.moved, {}
        row = views.run_row(self._state.runs[run_id])
        columns = self._columns(moved)
        messages = []
        for (peer, request), watcher in watched.watchers.items():
            if not watcher.wants_jobs or peer.closed:
                continue
            if peer.unsent > UNSENT_BYTES:
                watcher.behind.update(moved)
                continue
            mine = columns
            if watcher.behind:
                mine, watcher.behind = self._columns({**watcher.behind, **moved}), {}
            if mine[0]:
                messages.append((peer, msg.Changes(request, row, [], False, False, *mine)))
        if any(watcher.behind for watcher in watched.watchers.values()):
            watched.progress_timer = loop.call_later(PROGRESS_S, self._send_progress, run_id)

        def send() -> None:
            for peer, message in messages:
                peer.send(message)

        if messages:
            self._release(send)

    def _columns(self, numbers: dict[int, None]) -> tuple[list[str], list[float], list[str]]:
        """Return (names, fractions, texts) of the jobs whose attempts still run."""
        jobs, progress = self._state.jobs, self._state.progress
        rows = [(job.name, *progress[job.lease]) for number in numbers if (job := jobs[number]).lease in progress]
        return [name for name, _, _ in rows], [fraction for _, fraction, _ in rows], [text for _, _, text in rows]

    def _flush(self, run_id: str) -> None:
        watched = self._runs.get(run_id)
        if watched is None:
            return
        if watched.timer is not None:
            watched.timer.cancel()
            watched.timer = None
        watched.flushed_at = asyncio.get_running_loop().time()
        run = self._state.runs[run_id]
        row, over = views.run_row(run), run.state is not RunState.RUNNING
        numbers, watched.changed = list(watched.changed), {}
        rows = (
            [views.job_row(self._state, self._state.jobs[j]) for j in numbers]
            if any(w.wants_jobs for w in watched.watchers.values())
            else []
        )
        watchers = list(watched.watchers.items())
        if over:
            del self._runs[run_id]
            if watched.progress_timer is not None:
                watched.progress_timer.cancel()

        def send() -> None:
            for (peer, request), watcher in watchers:
                peer.send(msg.Changes(request, row, rows if watcher.wants_jobs else [], False, over))

        self._release(send)

    def _drop_if_unwatched(self, run: str, watched: WatchedRun) -> None:
        if not watched.watchers:
            for timer in (watched.timer, watched.progress_timer):
                if timer is not None:
                    timer.cancel()
            self._runs.pop(run, None)


def whole_run(state: State, ask: msg.Watch) -> list[msg.Message]:
    """Return the present state of a run, in pages. Raises NotFound."""
    run = views.find_run(state, ask.run)
    row = views.run_row(run)
    over = run.state is not RunState.RUNNING
    frames: list[msg.Message] = []
    for first in range(0, run.count, PAGE) if ask.jobs else ():
        rows = [views.job_row(state, state.jobs[j]) for j in run.numbers(first, first + PAGE)]
        frames.append(msg.Changes(ask.request, row, rows, True, over and first + PAGE >= run.count))
    return frames or [msg.Changes(ask.request, row, [], True, over)]
