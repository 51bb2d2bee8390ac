"""The cluster as a whole: workers, scaling, stop."""

from __future__ import annotations

from support.handlers import ANN, SocketlessMaster, answers, records, refuses
from titan.core.events import events as ev
from titan.protocol import messages as msg


@answers(msg.Ping)
def test_a_ping_is_answered_to_clients_and_to_workers(master: SocketlessMaster) -> None:
    assert master.client().ask(msg.Ping(7), msg.Pong) == msg.Pong(7)
    assert master.worker("pinger").ask(msg.Ping(7), msg.Pong) == msg.Pong(7)


@refuses(msg.Ping)
def test_nothing_is_answered_before_a_hello(master: SocketlessMaster) -> None:
    stranger = master.connection()
    stranger.say(msg.Ping(0))
    error = stranger.heard(msg.Error)
    assert (error.code, error.message) == ("protocol", "the first message must be a Hello, not a Ping")
    assert stranger.peer.closed


@answers(msg.ListWorkers)
def test_workers_are_listed_with_what_they_offer(master: SocketlessMaster) -> None:
    master.worker("listed", slots=3, offers="GPU GENERAL")
    rows = {row.name: row for row in master.client().ask(msg.ListWorkers(0), msg.Workers).workers}
    assert (rows["listed"].state, rows["listed"].slots, rows["listed"].held) == ("ALIVE", 3, 0)
    assert sorted(rows["listed"].capabilities) == ["GENERAL", "GPU"]


@records(msg.TellWorker, ev.WorkerAsked)
@answers(msg.TellWorker)
def test_an_order_to_leave_reaches_the_worker_and_shows_its_actor(master: SocketlessMaster) -> None:
    worker, client = master.worker("leaver"), master.client()
    assert client.ask(msg.TellWorker(0, "leaver"), msg.Told) == msg.Told(client._requests, "ALIVE", 0)
    assert worker.heard(msg.Leave) == msg.Leave(0, now=False)
    rows = {row.name: row.told_by for row in client.ask(msg.ListWorkers(0), msg.Workers).workers}
    assert rows["leaver"] == ANN


@refuses(msg.TellWorker)
def test_an_order_to_leave_for_an_unknown_worker_is_refused(master: SocketlessMaster) -> None:
    master.client().refused(msg.TellWorker(0, "nobody"), "not_found", "there is no worker 'nobody'")


@answers(msg.GetScale)
def test_a_master_without_rules_reports_no_scaling(master: SocketlessMaster) -> None:
    assert master.client().ask(msg.GetScale(0), msg.Scale).rows == []


@answers(msg.WatchCluster)
def test_a_watcher_of_the_cluster_gets_its_present_state(master: SocketlessMaster) -> None:
    master.worker("watched", slots=3)
    now = master.client().ask(msg.WatchCluster(0), msg.ClusterChanges)
    assert now.first and "watched" in [row.name for row in now.workers]


@refuses(msg.ListWorkers, msg.WatchCluster, msg.GetScale, msg.Stop)
def test_requests_about_the_cluster_from_a_worker_are_refused(master: SocketlessMaster) -> None:
    worker = master.worker("curious")
    for message in (msg.ListWorkers(0), msg.WatchCluster(0), msg.GetScale(0), msg.Stop(0)):
        worker.refused(message, "protocol", f"a worker must not send a {type(message).__name__} to the master")


@answers(msg.Stop)
def test_a_master_ends_after_it_has_answered_the_request_to_end(master: SocketlessMaster) -> None:
    assert master.inside._stopped is not None and not master.inside._stopped.done()
    master.client().ask(msg.Stop(0), msg.Pong)
    assert master.inside._stopped.done()
