"""Messages about schedules, from clients and to them."""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec
from titan.model.timing import Timing
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Name


class ScheduleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A schedule as users see it. Times in seconds since the epoch, 0 for none.

    `next_at` is its next nominal time, `last_at` that of its newest run `last_run`; `waiting` how
    many times wait for their turn. `fired`, `skipped` (a run was open) and `missed` (nobody was
    there; at least so many) count nominal times.
    """

    name: Name
    dag: Name
    version: Name
    jobs: Count
    timing: Timing
    overlap: Name
    catch_up: Name
    paused: bool
    next_at: Measured
    last_at: Measured
    last_run: Name
    waiting: Count
    fired: Count
    skipped: Count
    missed: Count
    added_at: Measured


class AddSchedule(Message, frozen=True):
    """Make a run of this DAG at each time of `timing`: [cron, tz, every_s, start], of which either
    `cron` or `every_s` is given.

    `overlap`: "skip", "queue" or "replace"; `catch_up`: "skip", "last" or "all". `replace`: a
    schedule of that name may be there. The same `key` sent twice is one request. Answered by
    Scheduled.
    """

    key: Name
    name: Name
    dag: DagSpec
    timing: Timing
    overlap: Name = "skip"
    catch_up: Name = "last"
    paused: bool = False
    replace: bool = False


class Scheduled(Message, frozen=True):
    """The schedule as it is now; null if there is none any more."""

    schedule: ScheduleRow | None


class ListSchedules(Message, frozen=True):
    """By name: those after `after`, at most `limit`; or only `name`."""

    name: Name = ""
    after: Name = ""
    limit: Count = 10_000


class Schedules(Message, frozen=True):
    """`more`: there are others after the last of these."""

    schedules: Column[ScheduleRow]
    more: bool = False


class PauseSchedule(Message, frozen=True):
    """Or let it go on. Answered by Scheduled."""

    name: Name
    paused: bool


class RemoveSchedule(Message, frozen=True):
    """Runs that it made go on. Answered by Scheduled."""

    name: Name


class RunSchedule(Message, frozen=True):
    """Make a run of it now. `key` is as in Submit. Answered by Submitted."""

    key: Name
    name: Name
