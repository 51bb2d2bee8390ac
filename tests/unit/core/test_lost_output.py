"""The loss of output is reported as data, from the worker to the user. No code searches for it in a
reason."""

from __future__ import annotations

import msgspec
import pytest

from support.core import FIRST, Master, alike, picture, register, replay, results, submit
from support.worker_machine import Node
from titan.cli import follow
from titan.core import inputs
from titan.errors import ProtocolError
from titan.gateway.inbound import worker_input
from titan.master.views import job_row
from titan.model.dag import JobTemplate
from titan.model.states import JobState, Outcome
from titan.protocol import messages as msg
from titan.sdk.status import JobStatus, RunStatus, RunSummary, job_status
from titan.worker.state_machine import machine as m
from titan.worker.state_machine import messages
from titan.worker.translation import results_messages

WHY = "the disk of its worker is full"
FULL = f"output lost: {WHY}"


def running(jobs: str = "a", *, retries: int = 1) -> Master:
    master = Master()
    master.see(register(slots=4), submit(alike(jobs, JobTemplate(command="x", retries=retries))))
    return master


def ended(lease: int, outcome: Outcome = Outcome.SUCCEEDED, lost: str = "") -> inputs.ResultsReported:
    return msgspec.structs.replace(results(1, (lease, outcome)), lost=[lost] if lost else [])


def status(master: Master) -> JobStatus:
    return job_status(job_row(master.state, master.job()))


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.EXITED])
def test_lost_output_is_in_the_journal_and_in_the_row_of_the_job(outcome: Outcome) -> None:
    master = running(retries=0)
    master.see(ended(FIRST, outcome, WHY), at=3.0)
    assert status(master).lost == WHY
    assert picture(replay(master.events)) == picture(master.state)


def test_the_next_attempt_has_its_own_report_of_lost_output() -> None:
    master = running()
    master.see(ended(FIRST, Outcome.EXITED, WHY), at=3.0)
    assert status(master).lost == WHY
    master.see(inputs.TimePassed(), register(slots=4), at=4000.0)
    assert master.job().state is JobState.DISPATCHED
    master.see(ended(master.lease()), at=4001.0)
    assert (master.job().state, status(master).lost) == (JobState.COMPLETED, None)
    assert picture(replay(master.events)) == picture(master.state)


def test_a_job_that_is_tried_again_by_a_user_has_lost_nothing_yet() -> None:
    master = running(retries=0)
    master.see(ended(FIRST, Outcome.EXITED, WHY), at=3.0)
    master.see(inputs.DeadRetried(9, 7, "r", "", "ada", "k", []), at=4.0)
    assert master.job().state is JobState.DISPATCHED and status(master).lost is None
    assert picture(replay(master.events)) == picture(master.state)


def test_a_reason_that_reads_like_lost_output_is_not_taken_for_it() -> None:
    """A call can raise an exception with any text."""
    master = running(retries=0)
    report = msgspec.structs.replace(ended(FIRST, Outcome.EXITED), reasons=[f"ValueError: {FULL}"])
    master.see(report, at=3.0)
    assert (status(master).lost, status(master).reason) == (None, f"ValueError: {FULL}")
    assert not follow.report_lost_output(_Shows([status(master)]), _summary(1))  # type: ignore[arg-type]


def test_only_lost_output_adds_to_the_size_of_an_event() -> None:
    master = running("a b")
    report = msgspec.structs.replace(results(1, (FIRST, Outcome.SUCCEEDED), (FIRST + 1, Outcome.EXITED)), lost=[WHY, ""])
    events = master.see(report, at=3.0).events
    assert [e.lost for e in events if hasattr(e, "lost")] == [[WHY], []]
    assert master.job(1).extra is None


# -- from the worker -------------------------------------------------------------------------------
def told(node: Node, *inputs: object) -> inputs.Input | None:
    """Return the input that the core gets from the results of these inputs to the machine."""
    (report,) = [it for it in node.see(*inputs) if isinstance(it, m.ReportResults)]
    (message,) = results_messages(report.results, 0.0)
    return worker_input(msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=msg.Results), 1, jitter=0.5)


@pytest.mark.parametrize(("code", "reason"), [(0, FULL), (3, f"exit code 3; {FULL}")])
def test_a_worker_reports_lost_output_beside_the_reason(code: int, reason: str) -> None:
    node = Node()
    node.run(1)
    report = told(node, m.AttemptExited(1, code, 2.0, 0.25, 4096, lost=WHY), m.LogsSent(1))
    assert isinstance(report, inputs.ResultsReported)
    assert (report.reasons, report.lost) == ([reason], [WHY])


def test_an_attempt_whose_files_could_not_be_kept_either_says_both() -> None:
    node = Node()
    node.run(1, template=JobTemplate(command="make", outputs=(("o", "o.bin"),)))
    node.see(m.AttemptExited(1, 0, 2.0, 0.25, 4096, lost=WHY))
    report = told(node, messages.OutputsKept(1, (), "no room for 'o'", Outcome.BROKEN), m.LogsSent(1))
    assert isinstance(report, inputs.ResultsReported)
    assert (report.reasons, report.lost) == ([f"no room for 'o'; {FULL}"], [WHY])


def test_the_column_of_lost_output_has_the_length_of_the_report_or_is_empty() -> None:
    node = Node()
    node.run(1)
    (report,) = [it for it in node.see(m.AttemptExited(1, 0, 2.0, 0.0, 0), m.LogsSent(1)) if isinstance(it, m.ReportResults)]
    (message,) = results_messages(report.results, 0.0)
    assert message.lost == []
    with pytest.raises(ProtocolError, match="columns"):
        worker_input(msgspec.structs.replace(message, lost=["x", "y"]), 1, jitter=0.5)


# -- to the user -----------------------------------------------------------------------------------
def _summary(count: int) -> RunSummary:
    return RunSummary("r", "d", "", "COMPLETED", count, {"COMPLETED": count}, 1.0, 2.0)


class _Shows:
    def __init__(self, jobs: list[JobStatus]) -> None:
        self._jobs = jobs

    def status(self, run: str) -> RunStatus:
        return RunStatus(run, "d", "COMPLETED", self._jobs, _summary(len(self._jobs)))


def test_a_followed_run_ends_with_a_line_about_lost_output(capsys: pytest.CaptureFixture[str]) -> None:
    master = running("a")
    fine = status(master)
    master.see(ended(FIRST, lost=WHY), at=3.0)
    assert follow.report_lost_output(_Shows([fine, status(master)]), _summary(2))  # type: ignore[arg-type]
    assert capsys.readouterr().err == f"titan: output of a was lost: {WHY}: free disk space there and run it again\n"
