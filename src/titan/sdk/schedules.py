"""Schedules from a program: `client.schedules`, the same for `Client` and `AsyncClient`."""

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
from titan.model.timing import MAX_TIME, Timing, check_timing, times, zone_of
from titan.protocol import messages as msg
from titan.sdk.client_parts import Watcher
from titan.sdk.fields import moment_of
from titan.sdk.job import DAG
from titan.sdk.run import AsyncRun, Run
from titan.sdk.submission import PART_JOBS, in_order
from titan.sdk.waiting import Waiting


@dataclass(frozen=True, slots=True)
class ScheduleStatus:
    """A schedule. Times are seconds since the epoch, None for none.

    `next_at` is the next nominal time (None if it is paused or has none), `last_at` that of its
    newest run, `last_run`. `waiting` times wait for their turn. `fired`, `skipped` (another run was
    open) and `missed` (the master was away, or the schedule paused; at least so many) count nominal
    times.
    """

    name: str
    dag: str
    version: str
    count: int
    """The jobs of each run."""
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
        """The next nominal times, after `after` (now, if it is not given); also of a paused
        schedule."""
        timing = Timing(self.cron or "", self.tz, self.every or 0.0, self.start or 0.0)
        return list(islice(times(timing, time() if after is None else after), count))

    def to_dict(self) -> dict[str, Any]:
        """As `titan schedule list --json` prints it."""
        return asdict(self)


class AsyncSchedules:
    """`AsyncClient.schedules`."""

    def __init__(self, client: Watcher) -> None:
        self._client = client

    async def add(
        self,
        name: str,
        dag: DAG,
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every: float | None = None,
        start: datetime | float | None = None,
        overlap: str = "skip",
        catch_up: str = "last",
        paused: bool = False,
        replace: bool = False,
    ) -> ScheduleStatus:
        """Makes a run of the DAG, with its files as they are now, at each time of `cron` or every
        so many seconds.

        - `cron`: five fields (minute, hour, day of month, month, day of week), six with the seconds
          first, or ``@daily`` and the like; in the time zone `tz`, ``Europe/Berlin``.
        - `every`: seconds, at least 1, counted from `start` (a datetime or seconds since the epoch;
          now, if it is not given).
        - `overlap`: what becomes of a time that comes while a run of the schedule is open:
          ``"skip"`` it, ``"queue"`` it (at most 1,000 wait), or ``"replace"`` the run by a new one.
        - `catch_up`: what becomes of the times at which the master was away or the schedule paused:
          ``"skip"`` them, run the ``"last"``, or ``"all"`` (the last 1,000), one after the other.
        - `replace`: change the schedule of that name, if there is one; it keeps its counts.

        A DAG of at most 100,000 jobs and 16 MiB of arguments. Raises CallerError for a wrong
        expression, one that never fires and an unknown zone, Conflict for a name that is taken,
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
        """All of them, by name."""
        found: list[ScheduleStatus] = []
        while True:
            after = found[-1].name if found else ""
            answer = await self._client._connection.call(lambda n, at=after: msg.ListSchedules(n, "", at))  # type: ignore[misc]
            assert isinstance(answer, msg.Schedules)
            found += map(schedule_status, answer.schedules)
            if not answer.more:
                return found

    async def get(self, name: str) -> ScheduleStatus:
        """Raises NotFound."""
        answer = await self._client._connection.call(lambda n: msg.ListSchedules(n, name))
        assert isinstance(answer, msg.Schedules)
        return schedule_status(answer.schedules[0])

    async def pause(self, name: str) -> ScheduleStatus:
        """It makes no run until it is resumed. Runs that it made go on. Raises NotFound."""
        return _only(await self._client._connection.call(lambda n: msg.PauseSchedule(n, name, True)))

    async def resume(self, name: str) -> ScheduleStatus:
        """What came while it was paused is decided on by its catch-up policy. Raises NotFound."""
        return _only(await self._client._connection.call(lambda n: msg.PauseSchedule(n, name, False)))

    async def remove(self, name: str) -> None:
        """Runs that it made go on. Raises NotFound."""
        await self._client._connection.remove(lambda n: msg.RemoveSchedule(n, name))

    async def run(self, name: str) -> AsyncRun:
        """Makes a run of it now, whatever its timing and policies say, also of a paused one. Raises
        NotFound."""
        key = secrets.token_hex(16)
        answer = await self._client._connection.call(lambda n: msg.RunSchedule(n, key, name))
        assert isinstance(answer, msg.Submitted)
        return AsyncRun(self._client, answer.run, "")


class Schedules:
    """`Client.schedules`: see `AsyncSchedules` for what each takes and raises."""

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
        every: float | None = None,
        start: datetime | float | None = None,
        overlap: str = "skip",
        catch_up: str = "last",
        paused: bool = False,
        replace: bool = False,
    ) -> ScheduleStatus:
        """Makes a run of the DAG at each time of `cron` or every so many seconds; see
        AsyncSchedules.add.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     client.schedules.add("nightly", dag, cron="30 2 * * *", tz="Europe/Berlin", overlap="queue")
        """
        return self._client._wait(
            self._async.add(
                name, dag, cron=cron, tz=tz, every=every, start=start, overlap=overlap, catch_up=catch_up, paused=paused,
                replace=replace,
            )
        )  # fmt: skip

    def list(self) -> list[ScheduleStatus]:
        """All of them, by name."""
        return self._client._wait(self._async.list())

    def get(self, name: str) -> ScheduleStatus:
        """Raises NotFound."""
        return self._client._wait(self._async.get(name))

    def pause(self, name: str) -> ScheduleStatus:
        """It makes no run until it is resumed. Raises NotFound."""
        return self._client._wait(self._async.pause(name))

    def resume(self, name: str) -> ScheduleStatus:
        """What came while it was paused is decided on by its catch-up policy. Raises NotFound."""
        return self._client._wait(self._async.resume(name))

    def remove(self, name: str) -> None:
        """Runs that it made go on. Raises NotFound."""
        self._client._wait(self._async.remove(name))

    def run(self, name: str) -> Run:
        """Makes a run of it now. Raises NotFound."""
        return Run(self._client, self._client._wait(self._async.run(name)))


def _timing(cron: str | None, tz: str, every: float | None, start: datetime | float | None) -> Timing:
    """Raises CallerError."""
    if cron is not None and not isinstance(cron, str):
        raise CallerError(f"a cron expression is a string, not {cron!r}")
    if every is not None and (not isinstance(every, (int, float)) or isinstance(every, bool)):
        raise CallerError(f"an interval is a number of seconds, not {every!r}")
    if start is not None and every is None:
        raise CallerError("start goes with every: it is where an interval is counted from")
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
