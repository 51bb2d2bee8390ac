"""Who waits for what the jobs of a run return, and tells them as soon as a job is over.

The answer to a Submit with `collect` goes on: Values carry its request id until the run is over. After a broken connection the
client submits again under its key and is told everything anew. Owns who collects; when it is durable is for the caller.
"""

from __future__ import annotations

from collections.abc import Callable

from titan.core import events as ev
from titan.core.state import State
from titan.model.states import TERMINAL, RunState
from titan.peer import Peer
from titan.protocol import messages as msg

PAGE = 10_000


class Collector:
    def __init__(self, state: State) -> None:
        self._state = state
        self._expected: dict[tuple[int, int], Peer] = {}
        """(connection, request) of submissions that have no answer yet."""
        self._runs: dict[str, dict[tuple[Peer, int], None]] = {}

    def expect(self, peer: Peer, request: int) -> None:
        self._expected[peer.number, request] = peer

    def expected(self, origin: int, request: int) -> Peer | None:
        """Who asked to be told in this submission, if it has no answer yet."""
        return self._expected.get((origin, request))

    def begin(self, origin: int, request: int, run_id: str) -> Callable[[], None] | None:
        """The run is there. Returns what tells of the jobs that are over already, if that was asked for."""
        peer = self._expected.pop((origin, request), None)
        if peer is None:
            return None
        run = self._state.runs[run_id]
        over = run.state is not RunState.RUNNING
        if not over:
            self._runs.setdefault(run_id, {})[peer, request] = None
        ended = (
            [n for n in range(run.first, run.first + run.count) if self._state.jobs[n].state in TERMINAL]
            if run.open < run.count
            else []
        )
        if not ended:
            return None
        frames = [
            self._values(request, run.first, ended[at : at + PAGE], last=over and at + PAGE >= len(ended))
            for at in range(0, len(ended), PAGE)
        ]

        def tell() -> None:
            for frame in frames:
                peer.send(frame)

        return tell

    def all_of(self, request: int, run_id: str) -> list[msg.Values]:
        """All that the jobs of a run that is over came to."""
        run = self._state.runs[run_id]
        numbers = list(range(run.first, run.first + run.count))
        return [
            self._values(request, run.first, numbers[at : at + PAGE], last=at + PAGE >= run.count)
            for at in range(0, run.count, PAGE)
        ]

    def note(self, events: list[ev.Event]) -> Callable[[], None] | None:
        """Takes notice of what these (applied) events ended; returns what tells of it."""
        if not self._runs:
            return None
        jobs = self._state.jobs
        ended: dict[str, list[int]] = {}
        for event in events:
            if isinstance(event, (ev.JobsCompleted, ev.JobsDied, ev.JobsCancelled)):
                for number in event.jobs:
                    name = jobs[number].run.id
                    if name in self._runs:
                        ended.setdefault(name, []).append(number)
        if not ended:
            return None
        frames: list[tuple[Peer, msg.Values]] = []
        for run_id, numbers in ended.items():
            run = self._state.runs[run_id]
            over = run.state is not RunState.RUNNING
            for peer, request in self._runs[run_id]:
                frames.append((peer, self._values(request, run.first, numbers, last=over)))
            if over:
                del self._runs[run_id]

        def tell() -> None:
            for peer, frame in frames:
                peer.send(frame)

        return tell

    def refused(self, origin: int, request: int) -> None:
        self._expected.pop((origin, request), None)

    def unwatch(self, peer: Peer, request: int) -> None:
        self._expected.pop((peer.number, request), None)
        self._drop(lambda key: key == (peer, request))

    def forget(self, peer: Peer) -> None:
        for expected in [key for key, other in self._expected.items() if other is peer]:
            del self._expected[expected]
        self._drop(lambda key: key[0] is peer)

    def _drop(self, goes: Callable[[tuple[Peer, int]], bool]) -> None:
        for run, collectors in list(self._runs.items()):
            for key in [key for key in collectors if goes(key)]:
                del collectors[key]
            if not collectors:
                del self._runs[run]

    def _values(self, request: int, first: int, numbers: list[int], *, last: bool) -> msg.Values:
        jobs = [self._state.jobs[n] for n in numbers]
        return msg.Values(
            request,
            [n - first for n in numbers],
            [int(j.state) for j in jobs],
            [j.value for j in jobs],
            [j.reason for j in jobs],
            last,
        )
