"""Schedules: `client.schedules`, the same for `Client` and `AsyncClient`."""

from __future__ import annotations

import difflib
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from time import time
from typing import Any
from zoneinfo import available_timezones

import msgspec

from titan.errors import CallerError
from titan.model.durations import EXAMPLE, as_seconds
from titan.model.timing import MAX_TIME, MIN_EVERY_S, Timing, check_timing, times, zone_of
from titan.protocol import messages as msg
from titan.sdk.client_parts import Watcher
from titan.sdk.fields import moment_of
from titan.sdk.job import DAG
from titan.sdk.run import AsyncRun, Run
from titan.sdk.submission import PART_JOBS, in_order
from titan.sdk.waiting import Waiting


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule. Times are seconds since the epoch, or None.

    - `next_at`: next nominal time; None if the schedule is paused or has no further time.
    - `last_at`, `last_run`: nominal time and id of its newest run.
    - `waiting`: nominal times in its queue.
    - `fired`, `skipped`, `missed`: numbers of nominal times. A time is skipped while another run is
      open. A time is missed while the master is away or the schedule is paused; the number of
      missed times is a lower bound.
    """

    name: str
    dag: str
    version: str
    count: int
    """Number of jobs in each run."""
    cron: str | None
    tz: str
    every: float | None
    """Seconds."""
    start: float | None
    overlap: str
    catch_up: str
    paused: bool
    next_at: float | None
    last_at: float | None
    last_run: str | None
    waiting: int
    fired: int
    skipped: int
    missed: int
    added_at: float

    def upcoming(self, count: int = 5, after: float | None = None) -> list[float]:
        """Return the next nominal times after `after` (default: now), also of a paused schedule."""
        timing = Timing(self.cron or "", self.tz, self.every or 0.0, self.start or 0.0)
        return list(islice(times(timing, time() if after is None else after), count))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `titan schedule list --json`."""
        return asdict(self)


class AsyncSchedules:
    """Schedules: `AsyncClient.schedules`."""

    def __init__(self, client: Watcher) -> None:
        self._client = client

    async def add(
        self,
        name: str,
        dag: DAG,
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every: float | str | None = None,
        start: datetime | float | None = None,
        overlap: str = "skip",
        catch_up: str = "last",
        paused: bool = False,
        replace: bool = False,
    ) -> ScheduleStatus:
        """Add a schedule: a run of the DAG, with its present files, at each nominal time.

        - `cron`: five fields (minute, hour, day of month, month, day of week), six with the seconds
          first, or a name such as ``@daily``. `tz` is its time zone, such as ``Europe/Berlin``.
        - `every`: seconds, or a duration such as ``1h30m``, at least 1 s. It is counted from
          `start` (a datetime or seconds since the epoch; default: now).
        - `overlap`: policy for a time at which a run of the schedule is still open. ``"skip"`` the
          time, ``"queue"`` it (at most 1,000 wait), or ``"replace"`` the open run by a new one.
        - `catch_up`: policy for times at which the master was away or the schedule was paused.
          ``"skip"`` them, run the ``"last"``, or run ``"all"`` (the last 1,000), one after the
          other.
        - `replace`: change the schedule of that name if it exists. The schedule keeps its counts.

        The DAG has at most 100,000 jobs and 16 MiB of arguments. Raises CallerError for an invalid
        expression, one that never fires, or an unknown zone; Conflict for a name in use;
        InvalidGraph, LimitExceeded.
        """
        timing = _timing(cron, tz, every, start)
        key = secrets.token_hex(16)
        async with self._client._staged(dag) as staged:
            spec = staged.spec
            if len(spec.ids) > PART_JOBS:
                spec, parents = in_order(spec, staged.parents)
                spec = msgspec.structs.replace(spec, parents=[tuple([spec.ids[p] for p in ps]) for ps in parents])
            answer = await self._client._connection.call(
                lambda n: msg.AddSchedule(n, key, name, spec, timing, overlap, catch_up, paused, replace)
            )
        return _only(answer)

    async def list(self) -> list[ScheduleStatus]:
        """Return all schedules, by name."""
        schedules: list[ScheduleStatus] = []
        while True:
            after = schedules[-1].name if schedules else ""
            answer = await self._client._connection.call(lambda n, at=after: msg.ListSchedules(n, "", at))  # type: ignore[misc]
            assert isinstance(answer, msg.Schedules)
            schedules += map(schedule_status, answer.schedules)
            if not answer.more:
                return schedules

    async def get(self, name: str) -> ScheduleStatus:
        """Return one schedule. Raises NotFound."""
        answer = await self._client._connection.call(lambda n: msg.ListSchedules(n, name))
        assert isinstance(answer, msg.Schedules)
        return schedule_status(answer.schedules[0])

    async def pause(self, name: str) -> ScheduleStatus:
        """Pause the schedule: it creates no runs until it is resumed.

        Its runs continue. Raises NotFound.
        """
        return _only(await self._client._connection.call(lambda n: msg.PauseSchedule(n, name, True)))

    async def resume(self, name: str) -> ScheduleStatus:
        """Resume the schedule.

        Its catch-up policy decides about the times in between. Raises NotFound.
        """
        return _only(await self._client._connection.call(lambda n: msg.PauseSchedule(n, name, False)))

    async def remove(self, name: str) -> None:
        """Remove the schedule. Its runs continue. Raises NotFound."""
        await self._client._connection.remove(lambda n: msg.RemoveSchedule(n, name))

    async def run(self, name: str) -> AsyncRun:
        """Create a run now, regardless of timing and policies, also of a paused schedule.

        Raises NotFound.
        """
        key = secrets.token_hex(16)
        answer = await self._client._connection.call(lambda n: msg.RunSchedule(n, key, name))
        assert isinstance(answer, msg.Submitted)
        return AsyncRun(self._client, answer.run, "")


class Schedules:
    """Schedules: `Client.schedules`. See `AsyncSchedules` for arguments and errors."""

    def __init__(self, client: Waiting, schedules: AsyncSchedules) -> None:
        self._client = client
        self._async = schedules

    def add(
        self,
        name: str,
        dag: DAG,
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every: float | str | None = None,
        start: datetime | float | None = None,
        overlap: str = "skip",
        catch_up: str = "last",
        paused: bool = False,
        replace: bool = False,
    ) -> ScheduleStatus:
        """Add a schedule: a run of the DAG at each nominal time. See AsyncSchedules.add.

        >>> options = {"tz": "Europe/Berlin", "overlap": "queue"}
        >>> with Client() as client:                   # doctest: +SKIP
        ...     client.schedules.add("nightly", dag, cron="30 2 * * *", **options)
        """
        return self._client._wait(
            self._async.add(
                name, dag, cron=cron, tz=tz, every=every, start=start, overlap=overlap, catch_up=catch_up, paused=paused,
                replace=replace,
            )
        )  # fmt: skip

    def list(self) -> list[ScheduleStatus]:
        """Return all schedules, by name."""
        return self._client._wait(self._async.list())

    def get(self, name: str) -> ScheduleStatus:
        """Return one schedule. Raises NotFound."""
        return self._client._wait(self._async.get(name))

    def pause(self, name: str) -> ScheduleStatus:
        """Pause the schedule: it creates no runs until it is resumed.

        Its runs continue. Raises NotFound.
        """
        return self._client._wait(self._async.pause(name))

    def resume(self, name: str) -> ScheduleStatus:
        """Resume the schedule.

        Its catch-up policy decides about the times in between. Raises NotFound.
        """
        return self._client._wait(self._async.resume(name))

    def remove(self, name: str) -> None:
        """Remove the schedule. Its runs continue. Raises NotFound."""
        self._client._wait(self._async.remove(name))

    def run(self, name: str) -> Run:
        """Create a run now. Raises NotFound."""
        return Run(self._client, self._client._wait(self._async.run(name)))


def _timing(cron: str | None, tz: str, every: object, start: datetime | float | None) -> Timing:
    """Return the timing of a schedule. Raises CallerError."""
    if cron is not None and not isinstance(cron, str):
        raise CallerError(f"a cron expression is a string, not {cron!r}")
    every = as_seconds(every)
    if every is not None and (not isinstance(every, (int, float)) or isinstance(every, bool)):
        raise CallerError(f"an interval is {EXAMPLE}, not {every!r}")
    if every == 0:
        raise CallerError(f"an interval is at least {MIN_EVERY_S:g} second, not 0")
    if start is not None and every is None:
        raise CallerError("start needs every: it is the time from which the interval is counted")
    at = 0.0 if start is None else moment_of(start)
    if not isinstance(at, (int, float)) or not 0.0 <= at <= MAX_TIME:
        raise CallerError(f"start is a datetime or seconds since the epoch, not {start!r}")
    timing = Timing(cron or "", tz, float(every or 0.0), float(at))
    try:
        zone_of(tz)
    except CallerError as error:
        near = difflib.get_close_matches(str(tz)[:64], sorted(available_timezones()), 1)
        raise CallerError(f"{str(error).partition(':')[0]}: did you mean {near[0]}?") if near else error from None
    check_timing(timing, time())
    return timing


def _only(answer: msg.Message) -> ScheduleStatus:
    assert isinstance(answer, msg.Scheduled) and answer.schedule is not None
    return schedule_status(answer.schedule)


def schedule_status(row: msg.ScheduleRow) -> ScheduleStatus:
    return ScheduleStatus(
        name=row.name,
        dag=row.dag,
        version=row.version,
        count=row.jobs,
        cron=row.timing.cron or None,
        tz=row.timing.tz,
        every=row.timing.every_s or None,
        start=row.timing.start or None,
        overlap=row.overlap,
        catch_up=row.catch_up,
        paused=row.paused,
        next_at=None if row.paused else row.next_at or None,
        last_at=row.last_at or None,
        last_run=row.last_run or None,
        waiting=row.waiting,
        fired=row.fired,
        skipped=row.skipped,
        missed=row.missed,
        added_at=row.added_at,
    )
