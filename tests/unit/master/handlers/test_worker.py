"""Reports of workers become events, and decisions of the core are sent to the right workers."""

from __future__ import annotations

import pytest

from support.handlers import ANN, SocketlessMaster, answers, needing, refuses
from titan.core.events import events as ev
from titan.model.files import StoredFile
from titan.model.states import JobState, Outcome
from titan.protocol import messages as msg
from titan.protocol.handshake import hello


def registration(cluster: str, name: str = "w", *, slots: int = 1, offers: tuple[str, ...] = ("GENERAL",)) -> msg.Register:
    return msg.Register(0, name, "000001-a", cluster, offers, slots, {}, [], [])


@answers(msg.Register)
def test_the_answer_to_a_registration_has_the_settings_of_the_cluster(master: SocketlessMaster) -> None:
    worker = master.connection()
    worker.ask(hello("worker", "test"), msg.Welcome)
    state = master.inside.core.state
    answer = worker.ask(registration(state.cluster, "new", slots=3), msg.Registered)
    assert (answer.cluster, answer.term, answer.loss_s) == (state.cluster, state.term, state.settings.loss_s)
    assert state.workers[answer.worker].name == "new" and state.workers[answer.worker].slots == 3


@refuses(msg.Register)
def test_invalid_registrations_are_refused(master: SocketlessMaster) -> None:
    worker, cluster = master.connection(), master.inside.core.state.cluster
    worker.ask(hello("worker", "test"), msg.Welcome)
    worker.refused(registration(cluster, "no name"), "caller", "worker name 'no name' is malformed")
    worker.refused(registration(cluster, slots=0), "caller", "a worker has 1 to 65536 slots, not 0")
    worker.refused(registration(cluster, offers=()), "caller", "capability '' is malformed")
    uneven = msg.Register(0, "w", "000001-a", cluster, ("GENERAL",), 1, {}, [1], [])
    worker.refused(uneven, "protocol", "the columns of a Register differ in length")


@refuses(
    *(msg.Heartbeat, msg.Started, msg.Results, msg.Awaiting, msg.Progress, msg.Statuses),
    *(msg.ServiceStates, msg.LogData, msg.Draining, msg.Leaving),
)
def test_reports_of_an_unregistered_worker_are_refused(master: SocketlessMaster) -> None:
    worker = master.connection()
    worker.ask(hello("worker", "test"), msg.Welcome)
    for message in (
        msg.Heartbeat(0, [], []),
        msg.Started(0, [], []),
        msg.Results(0, [], [], [], [], [], [], [], []),
        msg.Awaiting(0, []),
        msg.Progress(0, [], [], []),
        msg.Statuses(0, [], []),
        msg.ServiceStates(0, [], [], [], [], [], [], [], []),
        msg.LogData(0, [], [], [], [], [], []),
        msg.Draining(0),
        msg.Leaving(0),
    ):
        text = f"a {type(message).__name__} from a worker that is not registered on this connection"
        worker.refused(message, "protocol", text, b"" if isinstance(message, msg.LogData) else None)


def test_a_worker_that_registers_again_is_addressed_on_its_newest_connection(master: SocketlessMaster) -> None:
    older = master.worker("moved")
    newer = master.worker("moved")
    assert older.peer.closed
    newer.ask(msg.Heartbeat(0, [], []), msg.Heard)


@answers(msg.Heartbeat)
def test_an_unknown_attempt_in_a_heartbeat_is_stopped(master: SocketlessMaster) -> None:
    worker = master.worker("stray")
    worker.ask(msg.Heartbeat(0, [4711], [0.0]), msg.Heard)
    assert worker.heard(msg.StopAttempts).leases == [4711]


@answers(msg.Started, msg.Results)
def test_starts_and_results_become_states_of_jobs(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("doer", offers="DO")
    run = client.submit(needing("DO", "a"))
    lease = worker.start(run, "a")
    assert client.state_of(run, "a") == JobState.RUNNING
    worker.finish(lease, Outcome.EXITED, 3)
    row = client.ask(msg.GetRun(0, run, "a"), msg.RunStatus).jobs[0]
    assert (row.state, row.exit_code, row.worker) == (JobState.DEAD, 3, "doer")
    worker.say(worker.results(lease, Outcome.SUCCEEDED))
    master.settled()
    assert client.state_of(run, "a") == JobState.DEAD, "a late report about an ended attempt changes nothing"


def test_a_result_whose_output_files_are_missing_is_a_failure(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("maker", offers="MAKE")
    run = client.submit(needing("MAKE", "a"))
    lease, now = worker.start(run, "a"), master.inside.core.clock.now()
    output = (StoredFile("model", "ab" * 32, 5),)
    worker.say(msg.Results(0, [lease], [Outcome.SUCCEEDED], [0], [""], [now], [now], [0.1], [1], [], [output]))
    worker.lease_of(run, "a", after=lease)
    (failed,) = [e for e in master.decided if isinstance(e, ev.JobsFailed) and e.outcomes == [Outcome.BROKEN]]
    assert failed.reasons == ["output 'model' is not on the master's disk any more"]


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (msg.Started(0, [1], []), "the columns of a Started differ in length"),
        (msg.Results(0, [1], [60], [0], [""], [0.0], [0.0], [0.0], [0]), "a result has an outcome that does not exist"),
        (msg.Progress(0, [1], [-0.5], [""]), "a progress is neither 0 to 1 nor -1"),
        (msg.Heartbeat(0, [1], [0.0], ("d",), [1]), "an attempt refers to a draw that the message does not list"),
    ],
    ids=lambda it: type(it).__name__,
)
def test_reports_that_do_not_fit_are_refused_and_change_nothing(master: SocketlessMaster, bad: msg.Message, text: str) -> None:
    worker = master.worker("misfit")
    before = len(master.decided)
    worker.refused(bad, "protocol", text)
    master.settled()
    assert master.decided[before:] == []


@answers(msg.Awaiting)
def test_a_call_that_waits_lends_its_slot(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("lender", offers="LEND")
    run = client.submit(needing("LEND", "a", "b"))
    lease = worker.start(run, "a")
    assert client.state_of(run, "b") == JobState.QUEUED
    worker.say(msg.Awaiting(0, [lease]))
    worker.lease_of(run, "b")


@answers(msg.Progress, msg.Statuses)
def test_progress_and_status_of_jobs_are_shown(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("talker", offers="TALK")
    run = client.submit(needing("TALK", "a"))
    lease = worker.start(run, "a")
    worker.say(msg.Progress(0, [lease], [0.5], ["half\x1b"]))
    worker.say(msg.Statuses(0, [lease], ["warm"]))
    row = client.ask(msg.GetRun(0, run, "a"), msg.RunStatus).jobs[0]
    assert (row.progress, row.status) == (0.5, "warm")
    assert row.message.startswith("half") and row.message.isprintable()


@answers(msg.ServiceStates)
def test_reported_states_of_services_that_the_worker_does_not_hold_are_ignored(master: SocketlessMaster) -> None:
    worker = master.worker("liar")
    before = len(master.decided)
    worker.say(msg.ServiceStates(0, [4711], [1], [1.0], [1.0], [80], [0], [""], [0.0]))
    master.settled()
    assert [e for e in master.decided[before:] if isinstance(e, ev.ServicesReported)] == []


@answers(msg.LogData)
def test_output_is_kept_in_order_and_missing_output_is_requested(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("writer", offers="WRITE")
    run = client.submit(needing("WRITE", "a"))
    lease = worker.start(run, "a")
    worker.say(msg.LogData(0, [run] * 2, ["a"] * 2, [1, 1], [1, 2], [0, 0], [2, 2]), b"ooee")
    master.settled()
    assert master.inside.logs.received(run, "a", 1) == (2, 2)
    resumed = len(worker.got)
    worker.say(msg.LogData(0, [run], ["a"], [1], [1], [10], [1]), b"x")
    assert worker.heard(msg.LogResume, since=resumed) == msg.LogResume(0, [lease], [2], [2])
    assert master.inside.logs.received(run, "a", 1) == (2, 2)


def test_output_of_jobs_of_other_workers_is_not_kept(master: SocketlessMaster) -> None:
    client, worker, other = master.client(), master.worker("owner", offers="OWN"), master.worker("thief")
    run = client.submit(needing("OWN", "a"))
    worker.start(run, "a")
    other.say(msg.LogData(0, [run], ["a"], [1], [1], [0], [3]), b"lie")
    other.refused(msg.LogData(0, [run], ["a"], [1], [1], [0], [4]), "protocol", "4 bytes of output were announced, 3", b"lie")
    assert master.inside.logs.received(run, "a", 1) == (0, 0)


@answers(msg.Draining)
def test_a_draining_worker_gets_no_more_jobs(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("tired", offers="DRAIN")
    worker.say(msg.Draining(0))
    run = client.submit(needing("DRAIN", "a"))
    assert client.state_of(run, "a") == JobState.QUEUED
    rows = {row.name: row.state for row in client.ask(msg.ListWorkers(0), msg.Workers).workers}
    assert rows["tired"] == "DRAINING"


@answers(msg.Leaving)
def test_a_leaving_worker_is_recorded_before_it_disconnects(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("done")
    worker.ask(msg.Leaving(0), msg.Pong)
    rows = {row.name: row.state for row in client.ask(msg.ListWorkers(0), msg.Workers).workers}
    assert rows["done"] == "LEFT"


def test_a_job_whose_workers_connection_breaks_is_not_given_up(master: SocketlessMaster) -> None:
    client, worker = master.client(ANN), master.worker("cut", offers="CUT")
    run = client.submit(needing("CUT", "a"))
    worker.start(run, "a")
    worker.hang_up()
    assert client.state_of(run, "a") == JobState.RUNNING
    rows = {row.name: row.held for row in client.ask(msg.ListWorkers(0), msg.Workers).workers}
    assert rows["cut"] == 1
