"""Handlers of schedules: requests, and the list of schedules."""

from __future__ import annotations

from support.core import alike
from support.handlers import SocketlessMaster, answers, needing, records, refuses
from titan.core.events import events as ev
from titan.model.dag import JobTemplate
from titan.model.timing import Timing
from titan.protocol import messages as msg

YEARLY = Timing(cron="0 0 1 1 *")
SPEC = needing("NOBODY", "a")
NO_SCHEDULE = "there is no schedule 'nope': `titan schedule list` lists them"


def add(name: str, *, key: str = "", replace: bool = False) -> msg.AddSchedule:
    return msg.AddSchedule(0, key, name, SPEC, YEARLY, replace=replace)


@records(msg.AddSchedule, ev.ScheduleAdded)
@answers(msg.AddSchedule)
def test_a_schedule_is_added_once_for_a_key(master: SocketlessMaster) -> None:
    client = master.client()
    row = client.ask(add("added", key="k"), msg.Scheduled).schedule
    assert row is not None
    assert (row.name, row.dag, row.jobs, row.timing, row.paused, row.fired) == ("added", "d", 1, YEARLY, False, 0)
    assert client.ask(add("added", key="k"), msg.Scheduled).schedule == row


@refuses(msg.AddSchedule)
def test_invalid_schedules_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(add("taken"), msg.Scheduled)
    client.refused(add("taken"), "conflict", "there is a schedule 'taken' already: use --replace")
    client.ask(add("taken", replace=True), msg.Scheduled)
    client.refused(add("no name"), "caller", "schedule name 'no name' is malformed")
    client.refused(add("long", key="k" * 129), "caller", "the key of a request is at most 128 characters")
    bad = msg.AddSchedule(0, "", "bad", SPEC, Timing(cron="61 * * * *"))
    client.refused(bad, "caller", "61")
    missing = alike("a", JobTemplate(file="x", file_hash="ab" * 32))
    client.refused(msg.AddSchedule(0, "", "m", missing, YEARLY), "not_found", "x (abababababab) is not on the master")


@answers(msg.ListSchedules)
def test_schedules_are_listed_by_name_in_pages(master: SocketlessMaster) -> None:
    client = master.client()
    for name in ("list-b", "list-a", "list-c"):
        client.ask(add(name), msg.Scheduled)
    page = client.ask(msg.ListSchedules(0, after="list", limit=2), msg.Schedules)
    assert ([row.name for row in page.schedules], page.more) == (["list-a", "list-b"], True)
    (row,) = client.ask(msg.ListSchedules(0, "list-c"), msg.Schedules).schedules
    assert row.name == "list-c"


@records(msg.PauseSchedule, ev.ScheduleChanged)
@answers(msg.PauseSchedule)
def test_a_schedule_is_paused_and_resumed(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(add("paused"), msg.Scheduled)
    for paused in (True, False):
        row = client.ask(msg.PauseSchedule(0, "paused", paused), msg.Scheduled).schedule
        assert row is not None and row.paused is paused


@records(msg.RunSchedule, ev.ScheduleFired)
@answers(msg.RunSchedule)
def test_a_schedule_is_run_by_hand(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(add("run"), msg.Scheduled)
    answer = client.ask(msg.RunSchedule(0, "k", "run"), msg.Submitted)
    assert client.ask(msg.RunSchedule(0, "k", "run"), msg.Submitted).run == answer.run, "the same request sent twice is one run"
    assert client.ask(msg.GetRun(0, answer.run), msg.RunStatus).run.schedule == "run"
    (row,) = client.ask(msg.ListSchedules(0, "run"), msg.Schedules).schedules
    assert row.last_run == answer.run


@records(msg.RemoveSchedule, ev.ScheduleRemoved)
@answers(msg.RemoveSchedule)
def test_a_schedule_is_removed(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(add("gone"), msg.Scheduled)
    assert client.ask(msg.RemoveSchedule(0, "gone"), msg.Scheduled).schedule is None
    client.refused(msg.ListSchedules(0, "gone"), "not_found", "there is no schedule 'gone'")


@refuses(msg.ListSchedules, msg.PauseSchedule, msg.RunSchedule, msg.RemoveSchedule)
def test_requests_about_an_unknown_schedule_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    of_nothing = (
        msg.ListSchedules(0, "nope"),
        msg.PauseSchedule(0, "nope", True),
        msg.RunSchedule(0, "", "nope"),
        msg.RemoveSchedule(0, "nope"),
    )
    for message in of_nothing:
        client.refused(message, "not_found", NO_SCHEDULE)
    client.refused(msg.RunSchedule(0, "k" * 129, "nope"), "caller", "the key of a request is at most 128 characters")
