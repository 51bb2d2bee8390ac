"""Messages about schedules, from clients and to them."""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec
from titan.model.timing import Timing
from titan.protocol.base import Message


class ScheduleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A schedule as users see it. Times in seconds since the epoch, 0 for none.

    `next_at` is its next nominal time, `last_at` that of its newest run `last_run`; `waiting` how many times wait for their turn.
    `fired`, `skipped` (a run was open) and `missed` (nobody was there; at least so many) count nominal times.
    """

    name: str
    dag: str
    version: str
    jobs: int
    timing: Timing
    overlap: str
    catch_up: str
    paused: bool
    next_at: float
    last_at: float
    last_run: str
    waiting: int
    fired: int
    skipped: int
    missed: int
    added_at: float


class AddSchedule(Message, frozen=True):
    """Make a run of this DAG at each time of `timing`: [cron, tz, every_s, start], of which either `cron` or `every_s` is given.

    `overlap`: "skip", "queue" or "replace"; `catch_up`: "skip", "last" or "all". `replace`: a schedule of that name may be there.
    The same `key` sent twice is one request. Answered by Scheduled.
    """

    key: str
    name: str
    dag: DagSpec
    timing: Timing
    overlap: str = "skip"
    catch_up: str = "last"
    paused: bool = False
    replace: bool = False


class Scheduled(Message, frozen=True):
    """The schedule as it is now; null if there is none any more."""

    schedule: ScheduleRow | None


class ListSchedules(Message, frozen=True):
    """By name: those after `after`, at most `limit`; or only `name`."""

    name: str = ""
    after: str = ""
    limit: int = 10_000


class Schedules(Message, frozen=True):
    """`more`: there are others after the last of these."""

    schedules: list[ScheduleRow]
    more: bool = False


class PauseSchedule(Message, frozen=True):
    """Or let it go on. Answered by Scheduled."""

    name: str
    paused: bool


class RemoveSchedule(Message, frozen=True):
    """Runs that it made go on. Answered by Scheduled."""

    name: str


class RunSchedule(Message, frozen=True):
    """Make a run of it now. `key` is as in Submit. Answered by Submitted."""

    key: str
    name: str
