"""Messages become inputs. Every input of the core has a message, texts become plain, and a worker
cannot send messages of clients."""

from __future__ import annotations

import pytest

from titan.core import inputs
from titan.errors import CallerError, ProtocolError
from titan.gateway.inbound import (
    client_input,
    digest_of,
    growth_input,
    publish_input,
    purge_input,
    registration,
    request_input,
    retry_input,
    worker_input,
)
from titan.gateway.routes import ROUTES
from titan.model.dag import DagSpec, JobTemplate
from titan.model.timing import Timing
from titan.protocol import messages as msg

DAG = DagSpec("d", "1", [JobTemplate(command="true")], ["a"], [0], [()], [()])


def worker_says(message: msg.Message) -> inputs.Input | None:
    return worker_input(message, 4, jitter=0.25)


def test_results_are_plain_text() -> None:
    it = worker_says(msg.Results(0, [5], [1], [2], ["bad \x1b[2J"], [1.0], [2.0], [0.5], [9]))
    assert isinstance(it, inputs.ResultsReported)
    assert (it.worker, it.leases, it.jitter) == (4, [5], 0.25)
    assert "\x1b" not in it.reasons[0]


@pytest.mark.parametrize(
    "message",
    [
        msg.Heartbeat(0, [1], []),
        msg.Started(0, [1, 2], [1.0]),
        msg.Results(0, [5], [1, 1], [2], [""], [1.0], [2.0], [0.5], [9]),
        msg.Progress(0, [1], [7.0], [""]),
        msg.Statuses(0, [1], []),
        msg.Heartbeat(0, [1], [0.0], draws=("x",), draw_of=[3]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_with_contradicting_fields_is_refused(message: msg.Message) -> None:
    with pytest.raises(ProtocolError):
        worker_says(message)


def test_attempts_of_another_cluster_in_a_registration_are_ignored() -> None:
    it = msg.Register(1, "w", "1", "other", ("GENERAL", "GENERAL"), 2, {}, [9], [1.0], draws=("x",), draw_of=[0])
    of_another = registration(it, origin=3, host="10.0.0.7", cluster="ours")
    assert (of_another.leases, of_another.started, of_another.draws, of_another.draw_of) == ([], [], (), [])
    assert of_another.capabilities == ("GENERAL",) and of_another.facts["address"] == "10.0.0.7"
    ours = registration(it, origin=3, host="10.0.0.7", cluster="other")
    assert (ours.leases, ours.draws) == ([9], ("x",))
    with pytest.raises(CallerError, match="malformed"):
        registration(msg.Register(1, "a b", "1", "", ("GENERAL",), 2, {}, [], []), origin=3, host="h", cluster="")


ASKED = [
    (msg.Submit(1, "k", DAG), inputs.DagSubmitted),
    (msg.Cancel(1, "r", "j"), inputs.CancelRequested),
    (msg.TellWorker(1, "w", True), inputs.WorkerToldToLeave),
    (msg.StopService(1, "r", "j"), inputs.ServiceStopRequested),
    (msg.AddSchedule(1, "k", "n", DAG, Timing(every_s=3600.0)), inputs.ScheduleRequested),
    (msg.PauseSchedule(1, "n", True), inputs.PauseRequested),
    (msg.RemoveSchedule(1, "n"), inputs.RemovalRequested),
    (msg.RunSchedule(1, "k", "n"), inputs.ScheduleRunRequested),
    (msg.SavePipeline(1, "n", DAG), inputs.PipelineSaveRequested),
    (msg.RemovePipeline(1, "n"), inputs.PipelineRemovalRequested),
    (msg.Decide(1, "r", "j", True, "me"), inputs.GateDecisionMade),
    (msg.OpenRun(1, "k", "d", "1", [JobTemplate(command="true")], 1), inputs.RunBegun),
    (msg.ReplaceService(1, "r", "j"), inputs.ServiceReplaceRequested),
    (msg.RemoveArtifact(1, "k"), inputs.UnpublishRequested),
]
OTHERWISE = (msg.AddJobs, msg.Grow, msg.Publish, msg.RetryDead, msg.PurgeDead)
"""Messages with a conversion of their own. AddJobs belongs to the submission that OpenRun began."""
NOT_THE_CORES = (msg.Stop, msg.SetSecret, msg.RemoveSecret, msg.StoreCommands, msg.StoreStream, msg.NameContent)


@pytest.mark.parametrize(("message", "kind"), ASKED, ids=lambda message: message.__name__ if isinstance(message, type) else "")
def test_a_message_of_a_client_becomes_an_input_with_its_origin_and_actor(message: msg.Message, kind: type[inputs.Input]) -> None:
    found = request_input(message, origin=8, actor="ada@host", run="new")
    assert isinstance(found, kind)
    about = (getattr(found, "origin", None), getattr(found, "request", None), getattr(found, "actor", None))
    assert about == (8, 1, "ada@host")
    assert worker_says(message) is None, "a worker does not ask it"


def test_a_message_that_is_no_request_of_a_client_is_refused() -> None:
    assert client_input(msg.Ping(1), origin=8) is None
    with pytest.raises(ProtocolError, match="a Heartbeat is not a request of a client"):
        request_input(msg.Heartbeat(0, [], []), origin=8, actor="")


def test_a_token_comes_in_as_its_digest_alone() -> None:
    found = request_input(msg.Decide(1, "", "", True, "me", token="secret"), origin=8, actor="")
    assert isinstance(found, inputs.GateDecisionMade)
    assert found.digest == digest_of("secret") and "secret" not in repr(found)


def test_only_a_job_puts_jobs_before_its_children() -> None:
    it = msg.Grow(1, 5, "r", "k", DAG, before_children=True)
    assert growth_input(it, origin=8, worker=4).before_children
    assert not growth_input(it, origin=8, worker=0).before_children


def test_every_message_that_changes_the_state_becomes_an_input_with_an_actor() -> None:
    """Every message that changes the core's state becomes an input with an actor. A new message
    must be added to one of the lists above."""
    changing = {route.message for route in ROUTES.values() if route.changes}
    assert changing == {type(it) for it, _ in ASKED} | set(OTHERWISE) | set(NOT_THE_CORES)


def test_the_actor_of_a_client_is_recorded_and_a_job_has_no_other_than_itself() -> None:
    grow, publish = msg.Grow(1, 5, "r", "k", DAG), msg.Publish(1, "k", "h", 1)
    assert [growth_input(grow, origin=8, worker=w, actor="ada@host").actor for w in (0, 4)] == ["ada@host", ""]
    assert [publish_input(publish, origin=8, worker=w, actor="ada@host").actor for w in (0, 4)] == ["ada@host", ""]
    retried = retry_input(msg.RetryDead(1, "r", "j", "", "k"), origin=8, actor="ada@host", chunks=[])
    assert (retried.by, retried.actor) == ("ada@host", "ada@host")
    named = retry_input(msg.RetryDead(1, "r", "j", "the night shift", "k"), origin=8, actor="ada@host", chunks=[])
    assert (named.by, named.actor) == ("the night shift", "ada@host")
    assert purge_input(msg.PurgeDead(1, "r", "j"), origin=8, actor="ada@host", chunks=[]).actor == "ada@host"
