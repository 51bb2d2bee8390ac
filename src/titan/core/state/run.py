"""Runs and the numbering of their jobs: one range of numbers for the submission, and one for each
later addition of jobs (growth)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

import msgspec

from titan.model.dag import JobTemplate
from titan.model.files import Published
from titan.model.states import JobState, RunState


class Growth(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Jobs added to a run after its submission.

    The addition has `count` jobs. Their numbers begin at `first`, their positions at `position`.
    """

    first: int
    position: int
    count: int
    by: int
    """Number of the job that made the addition; 0 for a user."""
    depth: int
    """1 if a user or a job of the submission made the addition. Otherwise one more than the depth
    of the job that made it."""
    key: str
    """Idempotency key of the request. A repeated request gets the same answer."""
    at: float


MAX_EARLIER_RETRIES = 32
"""Requests to retry dead jobs of a run that are remembered besides the last."""


class Run(msgspec.Struct):
    """One submission of a DAG.

    The jobs of a run have positions from 0 to `count - 1`. The numbers of the submitted jobs begin
    at `first`; the numbers of each growth begin at `Growth.first`.
    """

    id: str
    key: str
    """Idempotency key of the submission, chosen by the submitter."""
    name: str
    version: str
    templates: list[JobTemplate]
    first: int
    count: int
    submitted_at: float
    state: RunState = RunState.RUNNING
    cancelled: bool = False
    finished_at: float = 0.0
    retried: tuple[str, int, int] = ("", 0, 0)
    """Last request that retried dead jobs of this run: its key, the number of retried jobs, and the
    number of revived jobs."""
    changes: int = 0
    """Number of changes after the run's end: retries and purges of dead jobs."""
    added: int = -1
    """For an OPENING run, the number of jobs that have arrived; otherwise -1."""
    tally: list[int] = msgspec.field(default_factory=lambda: [0] * len(JobState))
    """Number of jobs in each state."""
    deadline_s: float = 0.0
    """Maximum seconds from the submission to the run's end; 0 means no deadline. A retry from the
    dead letter queue removes the deadline."""
    expired: bool = False
    """True if the deadline passed before the run was over."""
    schedule: str = ""
    """Name of the schedule that made the run."""
    scheduled_at: float = 0.0
    """Nominal time for which the run was made."""

    grown: list[Growth] = msgspec.field(default_factory=list)
    """Additions to the run, in order."""
    actor: str = ""
    """Actor that submitted the run, or that triggered its schedule by hand."""
    group: str = ""
    """The submitter's name for a group of runs: `agent_run_id`."""
    published: dict[str, list[Published]] = {}
    """Key -> versions that the run's jobs published under it, newest last."""
    source: str = ""
    """File or folder that the DAG was made from, on the submitter's machine; "" if unknown."""
    fresh: bool = False
    """True: no job of the run reuses an earlier result."""
    reused: int = 0
    """Number of jobs that reused an earlier result."""
    earlier_retries: tuple[tuple[str, int, int], ...] = ()
    """The requests before `retried` that have a key, in the same form, oldest first; at most
    MAX_EARLIER_RETRIES."""

    def numbers(self, begin: int = 0, end: int | None = None) -> Iterable[int]:
        """Return the job numbers at the positions from `begin` up to, but not including, `end`."""
        end = self.count if end is None or end > self.count else end
        if not self.grown:
            return range(self.first + begin, self.first + end)
        return chain.from_iterable(self.ranges(begin, end))

    def ranges(self, begin: int, end: int) -> list[range]:
        """Return the numbers that `numbers` returns, as a list of ranges."""
        found = []
        while begin < end:
            first, position, count = self._part(begin)
            upto = min(end, position + count)
            found.append(range(first + begin - position, first + upto - position))
            begin = upto
        return found

    def number(self, position: int) -> int:
        first, begin, _ = self._part(position)
        return first + position - begin

    def position(self, number: int) -> int:
        if not self.grown or number < self.grown[0].first:
            return number - self.first
        growth = self.growth_of(number)
        assert growth is not None
        return growth.position + number - growth.first

    def growth_of(self, number: int) -> Growth | None:
        """Return the growth that added a job, or None if the job was part of the submission."""
        i = bisect_right(self.grown, number, key=lambda growth: growth.first)
        return self.grown[i - 1] if i else None

    @property
    def begun_with(self) -> int:
        """Number of jobs in the submission."""
        return self.grown[0].position if self.grown else self.count

    def _part(self, position: int) -> tuple[int, int, int]:
        """Return the part of the run that contains `position`: the number and position of its first
        job, and its number of jobs."""
        i = bisect_right(self.grown, position, key=lambda growth: growth.position)
        if i:
            growth = self.grown[i - 1]
            return growth.first, growth.position, growth.count
        return self.first, 0, self.begun_with

    @property
    def deadline(self) -> float:
        """Deadline in seconds since the epoch; 0 if there is none."""
        return self.submitted_at + self.deadline_s if self.deadline_s else 0.0

    @property
    def open(self) -> int:
        """Number of jobs that are not in a terminal state."""
        tally = self.tally
        over = tally[JobState.COMPLETED] + tally[JobState.DEAD] + tally[JobState.CANCELLED] + tally[JobState.SKIPPED]
        return self.count - over


class Opening(msgspec.Struct):
    """Submission in parts whose jobs are still arriving. A restart of the master drops its run."""

    run: Run
    ids: set[str]
