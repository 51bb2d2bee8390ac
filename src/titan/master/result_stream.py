"""Result streams: send the results of a run's jobs to collecting clients as jobs end.

A client collects results if its Submit sets `collect`. After the reply to the Submit, the master
sends Values messages with the same request id until the run is over. A client that lost its
connection submits again with the same key, and gets all results again. This module owns the
collecting clients. Its methods return calls, which the caller makes when the results are durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from titan.core.events import events as ev
from titan.core.state.state import Run, State
from titan.errors import CallerError, Conflict
from titan.master import views
from titan.model.states import TERMINAL, JobState, RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg

PAGE = 10_000
PAGE_BYTES = 16 * 1024 * 1024

_Key = tuple[Peer, int]
"""Collecting client: its connection and the id of its request."""


class ResultStream:
    def __init__(self, state: State) -> None:
        self._state = state
        self._expected: dict[tuple[int, int], tuple[Peer, frozenset[int] | None]] = {}
        """(connection, request) -> a collecting submission that has no reply yet."""
        self._runs: dict[str, dict[_Key, frozenset[int] | None]] = {}
        """run -> collecting client -> positions of the wanted jobs, None for all."""

    def expect(self, peer: Peer, request: int, wanted: Sequence[int]) -> None:
        self._expected[peer.number, request] = (peer, frozenset(wanted) if wanted else None)

    def expected(self, origin: int, request: int) -> tuple[Peer, frozenset[int] | None] | None:
        """Return the client and the wanted jobs of a submission that has no answer yet."""
        return self._expected.get((origin, request))

    def begin(self, origin: int, request: int, run_id: str) -> Callable[[], None] | None:
        """Begin the stream of a new run. Return the call that sends the results that exist already.

        Returns None if the submission collects no results, or if no job is over.
        """
        expected = self._expected.pop((origin, request), None)
        if expected is None:
            return None
        peer, wanted = expected
        run = self._state.runs[run_id]
        over = run.state is not RunState.RUNNING
        if not over:
            self._runs.setdefault(run_id, {})[peer, request] = wanted
        ended = [n for n in run.numbers(0, run.begun_with) if self._state.jobs[n].state in TERMINAL] if run.open < run.count else []
        if not ended:
            return None
        frames = self._values(request, run, ended, wanted, last=over)

        def tell() -> None:
            for frame in frames:
                peer.send(frame)

        return tell

    def all_of(self, request: int, run_id: str, wanted: frozenset[int] | None) -> list[msg.Values]:
        """Return the wanted results of a run that is over."""
        run = self._state.runs[run_id]
        return self._values(request, run, list(run.numbers(0, run.begun_with)), wanted, last=True)

    def some_of(self, ask: msg.ReadValues) -> list[msg.Values]:
        """Return the results of the requested jobs. Raises NotFound, Conflict, CallerError."""
        run = views.find_run(self._state, ask.run)
        if not 1 <= len(ask.jobs) <= PAGE:
            raise CallerError(f"ask for the values of 1 to {PAGE:,} jobs at once")
        numbers = [views.find_job(self._state, run, name) for name in ask.jobs]
        for number in numbers:
            job = self._state.jobs[number]
            if job.state not in TERMINAL:
                raise Conflict(f"{run.id}/{job.name} is {job.state.name}: it has no result yet")
        return self._values(ask.request, run, numbers, None, last=True)

    def note(self, events: list[ev.Event]) -> Callable[[], None] | None:
        """Return the call that sends the results of the jobs that these events ended, or None."""
        if not self._runs:
            return None
        jobs = self._state.jobs
        ended: dict[str, list[int]] = {}
        for event in events:
            if isinstance(event, (ev.JobsCompleted, ev.JobsReused, ev.JobsDied, ev.JobsCancelled, ev.GatesDecided)):
                for number in event.jobs:
                    run = jobs[number].run
                    if run.id in self._runs and not (run.grown and run.position(number) >= run.begun_with):
                        ended.setdefault(run.id, []).append(number)
        finished = [event.run for event in events if isinstance(event, ev.RunFinished) and event.run in self._runs]
        for name in finished:  # the last job may be an added job, which is not collected
            ended.setdefault(name, [])
        if not ended:
            return None
        frames: list[tuple[Peer, msg.Values]] = []
        for run_id, numbers in ended.items():
            run = self._state.runs[run_id]
            over = run.state is not RunState.RUNNING
            for (peer, request), wanted in self._runs[run_id].items():
                frames += [(peer, frame) for frame in self._values(request, run, numbers, wanted, last=over)]
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
        for expected in [key for key, (other, _) in self._expected.items() if other is peer]:
            del self._expected[expected]
        self._drop(lambda key: key[0] is peer)

    def _drop(self, matches: Callable[[_Key], bool]) -> None:
        for run, collectors in list(self._runs.items()):
            for key in [key for key in collectors if matches(key)]:
                del collectors[key]
            if not collectors:
                del self._runs[run]

    def _values(self, request: int, run: Run, numbers: list[int], wanted: frozenset[int] | None, *, last: bool) -> list[msg.Values]:
        """Return the results of jobs in messages of bounded size.

        DEAD jobs are always included, because other jobs are CANCELLED due to them.
        """
        jobs = self._state.jobs
        if wanted is not None:
            numbers = [n for n in numbers if run.position(n) in wanted or jobs[n].state is JobState.DEAD]
        frames: list[msg.Values] = []
        for page in _pages(numbers, [len(jobs[n].value) for n in numbers]):
            entries = [jobs[n] for n in page]
            positions = [run.position(n) for n in page]
            states, values, reasons = [int(j.state) for j in entries], [j.value for j in entries], [j.reason for j in entries]
            frames.append(msg.Values(request, positions, states, values, reasons, last and page[-1] == numbers[-1]))
        return frames or ([msg.Values(request, [], [], [], [], last)] if last else [])


def _pages(numbers: list[int], sizes: list[int]) -> Iterator[list[int]]:
    """Split the numbers into pages of at most PAGE entries and about PAGE_BYTES."""
    start = total = 0
    for at, size in enumerate(sizes):
        if at > start and (total + size > PAGE_BYTES or at - start >= PAGE):
            yield numbers[start:at]
            start = at
            total = 0
        total += size
    if start < len(numbers):
        yield numbers[start:]
