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


def test_a_result_waits_for_the_output_files_and_the_printed_output() -> None:
    node = running()
    assert node.see(exited(1), m.LogsSent(1)) == [messages.KeepOutputs(1)]
    assert node.machine.busy == 0  # the slot is free
    assert node.see(messages.OutputsKept(1, LEFT)) == []
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outputs=LEFT)])]


def test_a_missing_output_file_fails_the_attempt() -> None:
    node = running()
    node.see(exited(1))
    told = node.see(messages.OutputsKept(1, (), "output 'o' (o.bin) was not written", Outcome.EXITED), m.LogsSent(1))
    assert told == [m.ReportResults([replace(DONE, outcome=Outcome.EXITED, reason="output 'o' (o.bin) was not written")])]


def test_a_failed_attempt_uploads_no_outputs() -> None:
    node = running()
    assert node.see(exited(1, 3), m.LogsSent(1)) == [m.ReportResults([result(1, Outcome.EXITED, 3, "exit code 3")])]


def test_a_stop_during_the_upload_gives_up_the_outputs() -> None:
    node = running()
    node.see(exited(1))
    assert node.see(m.StopOrdered([1], 1.0)) == [messages.GiveUpOutputs(1)]
    assert node.see(m.StopOrdered([1], 1.0), messages.OutputsKept(1, LEFT)) == []
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outcome=Outcome.STOPPED, reason="stopped")])]


def test_a_disconnect_during_the_upload_changes_nothing() -> None:
    node = running()
    node.see(exited(1))
    node.see(m.Disconnected(), m.Welcomed("c"), m.Registered(5.0), m.LogsSent(1))
    assert node.machine.holdings() == m.Beat([1], [1.0])
    node.see(messages.OutputsKept(1, LEFT))
    assert node.see(m.LogsSent(1)) == [m.ReportResults([replace(DONE, outputs=LEFT)])]


def test_an_attempt_waits_for_its_input_files() -> None:
    node = Node()
    given = (StoredFile("in", "a" * 64, 5), StoredFile("too", "a" * 64, 5), StoredFile("more", "b" * 64, 5))
    it = replace(assignment(1, JobTemplate(command="use", inputs=(("in", "j", "o"),))), files=given)
    a, b = messages.FILE_PREFIX + "a" * 64, messages.FILE_PREFIX + "b" * 64
    assert node.see(m.Dispatched([it])) == [m.FetchArtifact(a), m.FetchArtifact(b)]
    assert node.see(m.ArtifactReady(a)) == []
    assert node.see(m.ArtifactReady(b)) == [m.StartAttempt(it)]
