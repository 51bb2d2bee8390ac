"""Handlers of services: the list, stop, and replacement."""

from __future__ import annotations

from support.core import alike
from support.handlers import SocketlessMaster, Speaker, WorkerSpeaker, answers, needing, records, refuses
from titan.core.events import events as ev
from titan.model.dag import JobTemplate, Service
from titan.model.states import JobState
from titan.protocol import messages as msg


def serving(master: SocketlessMaster, capability: str) -> tuple[Speaker, WorkerSpeaker, str, int]:
    """Return a client, a worker, a run whose job `db` is a RUNNING and READY service on this
    worker, and its lease."""
    client, worker = master.client(), master.worker(capability.lower(), slots=2, offers=capability)
    run = client.submit(alike("db", JobTemplate(command="db", requirement=capability, kind="service", service=Service())))
    lease = worker.start(run, "db")
    now = master.inside.core.clock.now()
    worker.say(msg.ServiceStates(0, [lease], [1], [now], [now], [8080], [0], [""], [0.0]))
    master.settled()
    return client, worker, run, lease


@answers(msg.ListServices)
def test_services_are_listed_with_where_they_are(master: SocketlessMaster) -> None:
    client, _, run, _ = serving(master, "LISTED")
    (row,) = client.ask(msg.ListServices(0, run), msg.Services).services
    assert (row.job, row.state, row.worker, row.address) == ("db", "READY", "listed", "127.0.0.1:8080")


@refuses(msg.ListServices)
def test_services_of_an_unknown_run_are_refused(master: SocketlessMaster) -> None:
    master.client().refused(msg.ListServices(0, "nope"), "not_found", "there is no run 'nope'")


@records(msg.StopService, ev.ServicesStopped)
@answers(msg.StopService)
def test_a_stopped_service_is_stopped_on_its_worker(master: SocketlessMaster) -> None:
    client, worker, run, lease = serving(master, "STOPPED")
    assert client.ask(msg.StopService(0, run, "db"), msg.ServicesStopped).jobs == 1
    assert client.state_of(run, "db") == JobState.COMPLETED
    assert worker.heard(msg.StopAttempts).leases == [lease]
    assert client.ask(msg.StopService(0, run, "db"), msg.ServicesStopped).jobs == 0


@refuses(msg.StopService)
def test_stopping_a_job_that_is_no_service_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.StopService(0, run, "a"), "caller", f"{run}/a is not a service and ends by itself")
    client.refused(msg.StopService(0, run, "b"), "not_found", f"run {run} has no job 'b'")
    client.refused(msg.StopService(0, "nope"), "not_found", "there is no run 'nope'")


@records(msg.ReplaceService, ev.ServiceReplaced)
@answers(msg.ReplaceService)
def test_a_service_is_replaced_while_the_old_process_runs(master: SocketlessMaster) -> None:
    client, worker, run, lease = serving(master, "ROLLING")
    assert client.ask(msg.ReplaceService(0, run, "db", command="db --new"), msg.ServiceReplaced).rolling
    newer = worker.lease_of(run, "db", after=lease)
    order = [m for m, _ in worker.got if isinstance(m, msg.Dispatch)][-1]
    assert (order.leases, order.templates[0].command) == ([newer], "db --new")


@refuses(msg.ReplaceService)
def test_invalid_replacements_of_services_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    run = client.submit(needing("NOBODY", "a"))
    client.refused(msg.ReplaceService(0, run, "a"), "caller", f"{run}/a is not a service")
    client.refused(msg.ReplaceService(0, run, "b"), "not_found", f"there is no service {run}/b")
    client.refused(msg.ReplaceService(0, run, "a", "x.sh", "ab" * 32), "not_found", "x.sh (abababababab) is not on the master")
    client, _, run, _ = serving(master, "OVER")
    client.ask(msg.StopService(0, run, "db"), msg.ServicesStopped)
    client.refused(msg.ReplaceService(0, run, "db"), "conflict", f"{run}/db is COMPLETED: submit it again")
