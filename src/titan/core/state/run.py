"""A run, and how its jobs are numbered: a range when it begins, and a further one with each growth."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

import msgspec

from titan.model.dag import JobTemplate
from titan.model.files import Published
from titan.model.states import JobState, RunState


class Growth(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Jobs that a run was given after it had begun: `count` of them, by number from `first` on, by
    position from `position` on."""

    first: int
    position: int
    count: int
    by: int
    """The job that added them, 0 for a user."""
    depth: int
    """1 if a job of the DAG, or a user, added them; one more than that of the job that did, if a
    growth brought that one."""
    key: str
    """The request: said again, the answer is the same."""
    at: float


class Run(msgspec.Struct):
    """One submission of a DAG.

    Its jobs have positions, 0 to `count - 1`, and numbers: from `first` on, and from `Growth.first`
    on for what it grew by.
    """

    id: str
    key: str
    """The submitter's own token: the same submission sent twice is one run."""
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
    """The last request that took jobs of it off the dead letter queue: its key, and how many jobs
    it retried and revived."""
    changes: int = 0
    """How often it was changed after its end: jobs retried, or purged from the dead letter queue.
    """
    added: int = -1
    """OPENING: how many of its jobs are there; else -1."""
    tally: list[int] = msgspec.field(default_factory=lambda: [0] * len(JobState))
    """How many of its jobs are in each state."""
    deadline_s: float = 0.0
    """It must be over so many seconds after it was submitted; 0: no deadline. A retry from the dead
    letter queue lifts it."""
    expired: bool = False
    """Its deadline passed before it was over."""
    schedule: str = ""
    """The schedule that made it."""
    scheduled_at: float = 0.0
    """The nominal time for which it was made."""

    grown: list[Growth] = msgspec.field(default_factory=list)
    """What it grew by, in order."""
    actor: str = ""
    """Who submitted it, or had its schedule make it now."""
    group: str = ""
    """The submitter's own name for runs that belong together: `agent_run_id`."""
    published: dict[str, list[Published]] = {}
    """Key -> what its jobs published under it, the newest last."""

    def numbers(self, begin: int = 0, end: int | None = None) -> Iterable[int]:
        """Of the jobs at the positions from `begin` to before `end`."""
        end = self.count if end is None or end > self.count else end
        if not self.grown:
            return range(self.first + begin, self.first + end)
        return chain.from_iterable(self.ranges(begin, end))

    def ranges(self, begin: int, end: int) -> list[range]:
        """The same, as ranges of numbers."""
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
        it = self.growth_of(number)
        assert it is not None
        return it.position + number - it.first

    def growth_of(self, number: int) -> Growth | None:
        """What brought a job; None: it was there from the beginning."""
        i = bisect_right(self.grown, number, key=lambda it: it.first)
        return self.grown[i - 1] if i else None

    @property
    def begun_with(self) -> int:
        """How many jobs it was submitted with."""
        return self.grown[0].position if self.grown else self.count

    def _part(self, position: int) -> tuple[int, int, int]:
        """Number and position of the first job of the part that a position lies in, and how many it
        has."""
        i = bisect_right(self.grown, position, key=lambda it: it.position)
        if i:
            it = self.grown[i - 1]
            return it.first, it.position, it.count
        return self.first, 0, self.begun_with

    @property
    def deadline(self) -> float:
        """Seconds since the epoch, 0 for none."""
        return self.submitted_at + self.deadline_s if self.deadline_s else 0.0

    @property
    def open(self) -> int:
        """Jobs that are not in a terminal state."""
        tally = self.tally
        return self.count - tally[JobState.COMPLETED] - tally[JobState.DEAD] - tally[JobState.CANCELLED]


class Opening(msgspec.Struct):
    """A submission in parts that is under way. Not durable: a restart drops its run."""

    run: Run
    ids: set[str]
