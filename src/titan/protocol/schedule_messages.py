"""Messages between clients and the master about schedules."""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec
from titan.model.timing import Timing
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Measured, Name


class ScheduleRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Schedule as users see it. Times are in seconds since the epoch, 0 for none.

    `next_at` is the next nominal time; `last_at` is the nominal time of the newest run, `last_run`.
    `waiting` is the number of nominal times that wait for an earlier run to end. The other counts
    are of nominal times too. `fired`: a run was made. `skipped`: an earlier run was open. `missed`:
    no master was running; this count is a lower bound.
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
    """Start a run of this DAG at each time of `timing`. Answered by Scheduled.

    `timing` is [cron, tz, every_s, start], with either `cron` or `every_s` set. `overlap`: "skip",
    "queue" or "replace". `catch_up`: "skip", "last" or "all". `replace`: replace a schedule of this
    name. `key` is an idempotency key: the same key sent twice is one request.
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
    """The schedule as it is now; null if it was removed."""

    schedule: ScheduleRow | None


class ListSchedules(Message, frozen=True):
    """List at most `limit` schedules whose names sort after `after`; or only `name`, if set."""

    name: Name = ""
    after: Name = ""
    limit: Count = 10_000


class Schedules(Message, frozen=True):
    """Page of schedules. `more`: there are further schedules after this page."""

    schedules: Column[ScheduleRow]
    more: bool = False


class PauseSchedule(Message, frozen=True):
    """Pause or resume a schedule. Answered by Scheduled."""

    name: Name
    paused: bool


class RemoveSchedule(Message, frozen=True):
    """Remove a schedule; its runs continue. Answered by Scheduled."""

    name: Name


class RunSchedule(Message, frozen=True):
    """Start a run of a schedule now. `key` is as in Submit. Answered by Submitted."""

    key: Name
    name: Name
