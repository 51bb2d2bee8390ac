"""The upload of outputs in the worker's state machine. Results wait for it, whatever happens
meanwhile."""

from __future__ import annotations

from msgspec.structs import replace

from support.worker_machine import Node, assignment, exited, result
from titan.model.dag import JobTemplate
from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m
from titan.worker.state_machine import messages

MAKE = JobTemplate(command="make", outputs=(("o", "o.bin"),))
LEFT = (StoredFile("o", "a" * 64, 5),)
DONE = result(1, Outcome.SUCCEEDED, 0, "")


def running() -> Node:
    node = Node()
    node.run(1, template=MAKE)
    return node


def test_a_result_waits_for_what_was_left_and_for_the_output() -> None:
    node = running()
    assert node.see(exited(1), m.LogsSent(1)) == [messages.KeepOutputs(1)]
    assert node.machine.busy == 0  # the slot is free
    assert node.see(messages.OutputsKept(1, LEFT)) == []
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outputs=LEFT)])]


def test_what_was_not_written_makes_it_fail() -> None:
    node = running()
    node.see(exited(1))
    told = node.see(messages.OutputsKept(1, (), "output 'o' (o.bin) was not written", Outcome.EXITED), m.LogsSent(1))
    assert told == [m.ReportResults([replace(DONE, outcome=Outcome.EXITED, reason="output 'o' (o.bin) was not written")])]


def test_an_attempt_that_failed_leaves_nothing() -> None:
    node = running()
    assert node.see(exited(1, 3), m.LogsSent(1)) == [m.ReportResults([result(1, Outcome.EXITED, 3, "exit code 3")])]


def test_one_that_is_stopped_meanwhile_is_given_up() -> None:
    node = running()
    node.see(exited(1))
    assert node.see(m.StopOrdered([1], 1.0)) == [messages.GiveUpOutputs(1)]
    assert node.see(m.StopOrdered([1], 1.0), messages.OutputsKept(1, LEFT)) == []
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outcome=Outcome.STOPPED, reason="stopped")])]


def test_a_cut_between_changes_nothing() -> None:
    node = running()
    node.see(exited(1))
    node.see(m.Disconnected(), m.Welcomed("c"), m.Registered(5.0), m.LogsSent(1))
    assert node.machine.holdings() == m.Beat([1], [1.0])
    node.see(messages.OutputsKept(1, LEFT))
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outputs=LEFT)])]


def test_an_attempt_waits_for_what_it_is_given() -> None:
    node = Node()
    given = (StoredFile("in", "a" * 64, 5), StoredFile("too", "a" * 64, 5), StoredFile("more", "b" * 64, 5))
    it = replace(assignment(1, JobTemplate(command="use", inputs=(("in", "j", "o"),))), files=given)
    a, b = messages.FILE_PREFIX + "a" * 64, messages.FILE_PREFIX + "b" * 64
    assert node.see(m.Dispatched([it])) == [m.FetchArtifact(a), m.FetchArtifact(b)]
    assert node.see(m.ArtifactReady(a)) == []
    assert node.see(m.ArtifactReady(b)) == [m.StartAttempt(it)]
