"""The worker's state machine: inputs in, instructions out."""

from __future__ import annotations

import pytest

from support.worker_machine import PLAIN, SCRIPT, Node, dispatched, exited, result, start, unstarted
from titan.model.dag import JobTemplate, Limits
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.machine import Phase

HASH = SCRIPT.file_hash
TIMED = JobTemplate(command="true", timeout_s=10.0)


# -- one attempt's way -----------------------------------------------------------------------------
def test_an_attempt_goes_from_dispatch_to_acknowledgement() -> None:
    node = Node()
    assert node.see(dispatched(1)) == [start(1)]
    assert node.see(m.AttemptStarted(1, 1.0), at=1.0) == [m.ReportStarted([1], [1.0])]
    assert node.see(exited(1), at=2.0) == []
    assert node.phases() == {1: Phase.ENDED}
    assert node.see(m.LogsSent(1), at=3.0) == [m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])]
    assert node.phases() == {1: Phase.DONE}
    assert node.see(m.ResultsAcked([1])) == [m.Forget([1])]
    assert (node.phases(), node.machine.busy) == ({}, 0)


def test_reports_of_one_turn_go_out_together() -> None:
    node = Node(slots=3)
    assert node.see(dispatched(1, 2, 3)) == [start(1), start(2), start(3)]
    assert node.see(m.AttemptStarted(1, 1.0), m.AttemptStarted(2, 1.0)) == [m.ReportStarted([1, 2], [1.0, 1.0])]
    node.see(m.AttemptStarted(3, 1.0), exited(1), exited(2))
    assert node.see(m.LogsSent(1), m.LogsSent(2)) == [
        m.ReportResults([result(1, Outcome.SUCCEEDED, 0, ""), result(2, Outcome.SUCCEEDED, 0, "")])
    ]


def test_a_start_and_its_end_in_one_turn_are_reported_as_the_result_only() -> None:
    node = Node()
    node.see(dispatched(1))
    assert node.see(m.AttemptStarted(1, 1.0), exited(1), m.LogsSent(1)) == [m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])]


def test_reports_are_gathered_briefly_while_attempts_wait_for_a_slot() -> None:
    node = Node(slots=1)
    node.see(dispatched(1, 2, 3), at=1.0)
    assert node.see(m.AttemptStarted(1, 1.0), at=1.0) == []
    assert (node.machine.gathering, node.machine.next_due()) == (True, 1.0 + m.GATHER_S)
    assert node.see(exited(1), m.LogsSent(1), at=1.002) == [start(2)]
    assert node.see(m.TimePassed(), at=1.006) == [m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])]
    node.see(exited(2), m.LogsSent(2), at=1.007)
    assert not node.machine.gathering, "attempt 3 has its slot, so no attempt waits here"


def test_gathered_reports_are_sent_before_a_heartbeat() -> None:
    node = Node(slots=1)
    node.see(dispatched(1, 2, 3), m.AttemptStarted(1, 1.0), at=4.999)
    node.see(exited(1), m.LogsSent(1), at=4.999)
    assert node.see(m.TimePassed(), at=5.0) == [
        m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "", started_at=0.0)]),
        m.Beat([2, 3], [0.0, 0.0]),
    ]


def test_attempts_without_a_slot_wait_in_order() -> None:
    node = Node(slots=1)
    assert node.see(dispatched(1, 2, 3)) == [start(1)]
    assert node.phases() == {1: Phase.STARTING, 2: Phase.WAITING, 3: Phase.WAITING}
    node.see(m.AttemptStarted(1, 1.0))
    assert node.see(exited(1)) == [start(2)]


def test_a_dispatch_that_comes_twice_is_one() -> None:
    node = Node(slots=2)
    node.see(dispatched(1))
    assert node.see(dispatched(1, 1)) == []
    assert node.phases() == {1: Phase.STARTING}


@pytest.mark.parametrize(
    ("code", "outcome", "shown", "reason"),
    [
        (0, Outcome.SUCCEEDED, 0, ""),
        (3, Outcome.EXITED, 3, "exit code 3"),
        (-9, Outcome.SIGNALED, 137, "killed by SIGKILL"),
        (-63, Outcome.SIGNALED, 191, "killed by signal 63"),
    ],
)
def test_an_exit_becomes_an_outcome_with_its_reason(code: int, outcome: Outcome, shown: int, reason: str) -> None:
    node = Node()
    node.run(1)
    assert node.see(exited(1, code), m.LogsSent(1)) == [m.ReportResults([result(1, outcome, shown, reason)])]


@pytest.mark.parametrize(("final", "outcome"), [(True, Outcome.REFUSED), (False, Outcome.BROKEN)])
def test_an_attempt_that_could_not_be_started_is_reported(final: bool, outcome: Outcome) -> None:
    node = Node()
    node.see(dispatched(1, 2))
    assert node.see(m.AttemptRefused(1, "no such file", final, 2.0), at=3.0) == [start(2)]
    assert node.see(m.LogsSent(1)) == [m.ReportResults([unstarted(1, outcome, "no such file", 2.0)])]


def test_reports_about_attempts_that_are_not_there_are_ignored() -> None:
    node = Node()
    node.see(dispatched(1))
    stray = [m.AttemptStarted(9, 1.0), exited(9), m.AttemptRefused(9, "x", True, 1.0), m.LogsSent(9), m.LogsSent(1)]
    assert node.see(*stray, m.ResultsAcked([9, 1]), m.StopOrdered([9], 5.0)) == []
    assert node.phases() == {1: Phase.STARTING}


# -- artifacts -------------------------------------------------------------------------------------
def test_a_script_is_fetched_once_for_all_attempts() -> None:
    node = Node(slots=2)
    assert node.see(dispatched(1, 2, template=SCRIPT)) == [m.FetchArtifact(HASH)]
    assert node.see(dispatched(3, template=SCRIPT)) == []
    assert node.see(m.ArtifactReady(HASH)) == [start(1, SCRIPT), start(2, SCRIPT)]
    node.see(m.AttemptStarted(1, 1.0))
    assert node.see(exited(1), dispatched(4, template=SCRIPT)) == [start(3, SCRIPT)]
    assert node.phases()[4] is Phase.WAITING


def test_an_attempt_that_waits_for_its_script_delays_no_other() -> None:
    node = Node()
    assert node.see(dispatched(1, template=SCRIPT), dispatched(2)) == [m.FetchArtifact(HASH), start(2)]


@pytest.mark.parametrize(("retryable", "outcome"), [(True, Outcome.BROKEN), (False, Outcome.REFUSED)])
def test_an_attempt_whose_script_cannot_be_fetched_is_reported_with_the_reason(retryable: bool, outcome: Outcome) -> None:
    node = Node()
    node.see(dispatched(1, 2, template=SCRIPT))
    assert node.see(m.ArtifactFailed(HASH, "gone", retryable), at=3.0) == [
        m.ReportResults([unstarted(lease, outcome, "a file of the job could not be fetched: gone", 3.0) for lease in (1, 2)])
    ]
    assert node.see(dispatched(3, template=SCRIPT)) == [m.FetchArtifact(HASH)], "the next attempt requests the script again"


def test_an_artifact_that_was_here_at_the_start_is_not_fetched() -> None:
    node = Node()
    node.machine.have[HASH] = None
    assert node.see(dispatched(1, template=SCRIPT)) == [start(1, SCRIPT)]


# -- stop ------------------------------------------------------------------------------------------
def test_a_stop_of_a_waiting_or_fetching_attempt_is_reported_at_once() -> None:
    node = Node()
    node.see(dispatched(1, 2), dispatched(3, template=SCRIPT))
    why = "stopped before it started"
    assert node.see(m.StopOrdered([2, 3], 5.0), at=3.0) == [
        m.ReportResults([unstarted(2, Outcome.STOPPED, why, 3.0), unstarted(3, Outcome.STOPPED, why, 3.0)])
    ]
    assert node.see(m.ArtifactReady(HASH)) == []


@pytest.mark.parametrize("running", [True, False])
def test_a_stop_of_a_running_attempt_stops_its_process(running: bool) -> None:
    node = Node()
    node.see(dispatched(1, 2))
    if running:
        node.see(m.AttemptStarted(1, 1.0))
    assert node.see(m.StopOrdered([1], 7.0)) == [m.StopAttempt(1, 7.0)]
    assert node.see(m.StopOrdered([1], 7.0)) == [], "said twice"
    assert node.machine.busy == 1, "the attempt keeps its slot until its process is gone"
    assert node.see(exited(1, -15)) == [start(2)]
    ended = result(1, Outcome.STOPPED, 143, "stopped", started_at=1.0 if running else 0.0)
    assert node.see(m.LogsSent(1)) == [m.ReportResults([ended])]


@pytest.mark.parametrize("sent", [True, False])
def test_a_stop_of_an_ended_attempt_changes_nothing(sent: bool) -> None:
    node = Node()
    node.run(1)
    node.see(exited(1), *([m.LogsSent(1)] if sent else []))
    assert node.see(m.StopOrdered([1], 5.0)) == []


def test_recalled_attempts_that_have_not_started_are_returned() -> None:
    node = Node()
    node.see(dispatched(1, 2), dispatched(3, template=SCRIPT))
    why = "taken back for an idle worker"
    assert node.see(m.RecallOrdered([1, 2, 3, 9]), at=3.0) == [
        m.ReportResults([unstarted(lease, Outcome.RETURNED, why, 3.0) for lease in (2, 3)])
    ]
    assert node.see(m.RecallOrdered([2])) == []
    assert node.phases() == {1: Phase.STARTING, 2: Phase.DONE, 3: Phase.DONE}


# -- time limits -----------------------------------------------------------------------------------
def test_an_attempt_that_exceeds_its_time_limit_is_stopped() -> None:
    node = Node()
    node.run(1, template=TIMED)
    assert node.machine.next_due() == 5.0
    node.see(m.TimePassed(), at=10.0)
    assert node.machine.next_due() == 11.0
    assert node.see(m.TimePassed(), at=11.0) == [m.StopAttempt(1, 5.0)]
    assert node.see(exited(1, -15, at=11.5), m.LogsSent(1), at=12.0) == [
        m.ReportResults([result(1, Outcome.TIMED_OUT, 143, "timed out after 10 s", at=11.5)])
    ]


def test_an_attempt_that_ended_in_time_and_was_seen_late() -> None:
    node = Node()
    node.run(1, template=TIMED)
    node.see(m.TimePassed(), at=11.0)
    assert node.see(exited(1, 0, at=10.9), m.LogsSent(1), at=12.0)[0] == m.ReportResults(
        [result(1, Outcome.SUCCEEDED, 0, "", at=10.9)]
    )


def test_a_stop_by_the_master_outranks_a_time_out() -> None:
    node = Node()
    node.run(1, template=TIMED)
    node.see(m.TimePassed(), at=11.0)
    assert node.see(m.StopOrdered([1], 5.0)) == [m.StopAttempt(1, 5.0)]
    assert node.see(exited(1, -9, at=12.0), m.LogsSent(1)) == [
        m.ReportResults([result(1, Outcome.STOPPED, 137, "stopped", at=12.0)])
    ]


def test_the_time_limit_counts_from_the_start_and_not_from_the_dispatch() -> None:
    node = Node()
    node.see(dispatched(1, template=TIMED), at=1.0)
    node.see(m.AttemptStarted(1, 20.0), at=20.0)
    assert m.StopAttempt(1, 5.0) not in node.see(m.TimePassed(), at=29.9)


# -- the connection --------------------------------------------------------------------------------
def test_a_heartbeat_lists_the_attempts_held_and_not_yet_reported() -> None:
    node = Node(slots=3)
    node.run(1, 2)
    node.see(dispatched(3, 4), exited(2), m.LogsSent(2))
    assert node.machine.next_due() == 5.0
    assert node.see(m.TimePassed(), at=5.0) == [m.Beat([1, 3, 4], [1.0, 0.0, 0.0])]
    assert node.machine.next_due() == 10.0
    assert node.machine.holdings() == m.Beat([1, 2, 3, 4], [1.0, 1.0, 0.0, 0.0])


def test_without_a_connection_nothing_is_reported_and_attempts_continue() -> None:
    node = Node()
    node.see(dispatched(1, 2), at=1.0)
    node.see(m.Disconnected())
    assert node.machine.next_due() is None
    assert node.see(m.AttemptStarted(1, 1.0)) == []
    assert node.see(exited(1)) == [start(2)]
    assert node.see(m.LogsSent(1)) == []
    assert node.see(m.TimePassed(), at=60.0) == []
    assert node.machine.holdings() == m.Beat([1, 2], [1.0, 0.0])


def test_a_result_that_is_not_acknowledged_is_sent_again_on_the_next_connection_behind_its_output() -> None:
    node = Node(slots=2)
    node.run(1, 2)
    node.see(exited(1), exited(2), m.LogsSent(1))
    node.see(m.Disconnected(), m.LogsSent(2))
    assert node.machine.holdings().leases == [1, 2]
    assert node.see(m.Welcomed("c"), m.Registered(5.0), at=9.0) == [m.ReportResults([result(2, Outcome.SUCCEEDED, 0, "")])]
    assert node.see(m.LogsSent(1)) == [m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])]


def test_a_result_that_is_not_acknowledged_for_long_is_sent_again() -> None:
    node = Node()
    node.run(1)
    report = m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])
    assert node.see(exited(1), m.LogsSent(1), at=2.0) == [report]
    assert node.see(m.TimePassed(), at=11.9) == [m.Beat([], [])]
    assert node.see(m.TimePassed(), at=16.9) == [report, m.Beat([], [])]


def test_an_acknowledgement_that_comes_twice() -> None:
    node = Node()
    node.run(1)
    node.see(exited(1), m.LogsSent(1))
    assert node.see(m.ResultsAcked([1, 1])) == [m.Forget([1])]
    assert node.see(m.ResultsAcked([1])) == []


def test_an_acknowledgement_of_a_running_attempt_is_ignored() -> None:
    node = Node()
    node.run(1)
    assert node.see(m.ResultsAcked([1])) == []
    node.see(exited(1))
    assert node.see(m.ResultsAcked([1])) == [], "its output is still on its way"


# -- another cluster -------------------------------------------------------------------------------
def of_an_old_cluster() -> Node:
    """Return a disconnected node with an attempt in each phase. A master of another cluster will
    answer it."""
    node = Node(slots=4)
    node.run(1, 2, 3, template=TIMED)
    node.see(exited(1), exited(2), m.LogsSent(1))
    node.see(dispatched(4, 5, 6, 7), dispatched(8, template=SCRIPT))
    assert list(node.phases().values()) == [
        Phase.DONE, Phase.ENDED, Phase.RUNNING, Phase.STARTING, Phase.STARTING, Phase.STARTING, Phase.WAITING, Phase.FETCHING
    ]  # fmt: skip
    node.see(m.Disconnected())
    return node


def test_attempts_of_the_old_cluster_are_stopped_and_not_reported_to_a_new_one() -> None:
    node = of_an_old_cluster()
    assert node.see(m.Welcomed("other")) == [
        m.Forget([1]),
        m.Forget([2]),
        *[m.StopAttempt(lease, 0.0) for lease in (3, 4, 5, 6)],
        m.Forget([7]),
        m.Forget([8]),
    ]
    assert node.machine.holdings() == m.Beat([], [])
    assert node.see(m.Registered(5.0)) == []
    assert node.see(m.AttemptStarted(4, 2.0)) == [], "the start of a stopped attempt is not reported"
    assert node.see(m.TimePassed(), at=6.0) == [m.Beat([], [])]
    assert node.see(exited(3, -9), exited(4, -9)) == [m.Forget([3]), m.Forget([4])]
    assert node.machine.busy == 2


def test_a_new_cluster_may_use_the_leases_of_the_old_one() -> None:
    """The time limit of the old cluster's attempt must not stop the new attempt with the same
    lease. The script of the old attempt must not start the new one."""
    node = of_an_old_cluster()
    node.see(m.Welcomed("other"), m.Registered(5.0))
    node.see(*[exited(lease, -9) for lease in (3, 4, 5, 6)])
    wanted = JobTemplate(file="y.sh", file_hash="e" * 64)
    assert node.see(dispatched(3), dispatched(8, template=wanted), at=6.0) == [m.FetchArtifact("e" * 64), start(3)]
    node.see(m.AttemptStarted(3, 6.0))
    assert node.see(m.ArtifactReady(HASH)) == []
    assert node.see(m.TimePassed(), at=60.0) == [m.Beat([3, 8], [6.0, 0.0])]


def test_a_reconnection_to_the_same_cluster_keeps_all_attempts() -> None:
    node = Node()
    node.run(1)
    node.see(m.Disconnected())
    assert node.see(m.Welcomed("c"), m.Registered(5.0)) == []
    assert node.phases() == {1: Phase.RUNNING}


# -- drain and quit --------------------------------------------------------------------------------
def test_a_drain_returns_waiting_attempts_and_finishes_running_ones() -> None:
    node = Node()
    node.run(1)
    node.see(dispatched(2))
    node.see(dispatched(3, template=SCRIPT))
    assert node.see(m.DrainOrdered(), at=4.0) == [
        m.AnnounceDrain(),
        m.ReportResults([unstarted(lease, Outcome.RETURNED, "the worker drains", 4.0) for lease in (2, 3)]),
    ]
    assert node.see(m.DrainOrdered()) == []
    assert node.see(m.ResultsAcked([2, 3]), exited(1), m.LogsSent(1)) == [
        m.Forget([2, 3]),
        m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")]),
    ]
    assert node.see(m.ResultsAcked([1])) == [m.Forget([1]), m.Leave()]
    assert node.see(m.TimePassed(), at=4.5) == [], "it leaves once"


def test_a_dispatch_that_crosses_the_drain_is_returned() -> None:
    node = Node()
    node.run(1)
    node.see(m.DrainOrdered())
    assert node.see(dispatched(2), at=4.0) == [m.ReportResults([unstarted(2, Outcome.RETURNED, "the worker drains", 4.0)])]


def test_a_draining_worker_announces_the_drain_on_each_connection() -> None:
    node = Node()
    node.run(1)
    node.see(m.Disconnected())
    assert node.see(m.DrainOrdered()) == []
    assert node.see(m.Welcomed("c"), m.Registered(5.0)) == [m.AnnounceDrain()]


def test_with_nothing_held_a_drain_ends_at_once() -> None:
    assert Node().see(m.DrainOrdered()) == [m.AnnounceDrain(), m.Leave()]


def test_quit_stops_all_and_costs_the_jobs_nothing() -> None:
    node = Node(slots=2)
    node.run(1)
    node.see(dispatched(2, 3), at=2.0)
    assert node.see(m.QuitOrdered()) == [
        m.AnnounceDrain(),
        m.StopAttempt(1, 0.0),
        m.StopAttempt(2, 0.0),
        m.ReportResults([unstarted(3, Outcome.RETURNED, "the worker drains", 2.0)]),
    ]
    assert node.see(exited(1, -9), exited(2, -9), m.LogsSent(1), m.LogsSent(2)) == [
        m.ReportResults(
            [
                result(1, Outcome.RETURNED, 137, "the worker was stopped"),
                result(2, Outcome.RETURNED, 137, "the worker was stopped", started_at=0.0),
            ]
        )
    ]
    assert node.see(m.ResultsAcked([1, 2, 3])) == [m.Forget([1, 2, 3]), m.Leave()]


def test_an_attempt_stopped_by_the_master_is_reported_as_stopped_although_the_worker_quits() -> None:
    node = Node()
    node.run(1)
    node.see(m.StopOrdered([1], 5.0), m.QuitOrdered())
    (report,) = node.see(exited(1, -9), m.LogsSent(1))
    assert report == m.ReportResults([result(1, Outcome.STOPPED, 137, "stopped")])


# -- the warden ------------------------------------------------------------------------------------
def test_when_a_warden_dies_its_attempts_are_broken_and_waiting_ones_start() -> None:
    node = Node(slots=2)
    node.run(1)
    node.see(dispatched(2, 3))
    assert node.see(m.WardenDied([1, 2], 3.0)) == [start(3)]
    why = "the worker's process runner died"
    broken = [m.Result(1, Outcome.BROKEN, -1, why, 1.0, 3.0, 0.0, 0), m.Result(2, Outcome.BROKEN, -1, why, 0.0, 3.0, 0.0, 0)]
    assert node.see(m.LogsSent(1), m.LogsSent(2)) == [m.ReportResults(broken)]


def test_an_attempt_of_a_dead_warden_is_returned_and_its_retry_runs_alone() -> None:
    node = Node(slots=2)
    node.run(1)
    node.run(2)
    node.see(m.WardenDied([1, 2], 3.0, [1]))
    why = "the worker's process runner died"
    returned = m.Result(1, Outcome.RETURNED, -1, why, 1.0, 3.0, 0.0, 0)
    innocent = m.Result(2, Outcome.RETURNED, -1, why, 1.0, 3.0, 0.0, 0)
    assert node.see(m.LogsSent(1), m.LogsSent(2)) == [m.ReportResults([returned, innocent])]
    again = m.Assignment(3, "r", "j1", 2, PLAIN, ())
    node.see(m.ResultsAcked([1, 2]), m.Dispatched([again]), dispatched(4, 5))
    assert [node.machine.held[lease].alone for lease in (3, 4)] == [True, False]


def test_an_attempt_that_kills_its_own_warden_has_failed() -> None:
    node = Node(slots=1)
    node.run(1)
    node.see(m.WardenDied([1], 3.0, [1]), m.LogsSent(1))
    node.see(m.ResultsAcked([1]), m.Dispatched([m.Assignment(3, "r", "j1", 2, PLAIN, ())]), m.AttemptStarted(3, 4.0))
    node.see(m.WardenDied([3], 5.0, [3]))
    (report,) = node.see(m.LogsSent(3))
    assert isinstance(report, m.ReportResults)
    assert (report.results[0].outcome, report.results[0].exit_code) == (Outcome.SIGNALED, 137)
    assert "a job must not kill its parent" in report.results[0].reason


def test_a_suspect_attempt_has_no_attempt_queued_behind_or_before_it() -> None:
    node = Node(slots=1)
    node.run(1)
    node.see(m.WardenDied([1], 1.001, [1]), m.LogsSent(1))
    node.run(2)
    node.see(exited(2, at=1.002), m.LogsSent(2), at=1.002)  # the attempt was quick
    again = m.Assignment(3, "r", "j1", 2, PLAIN, ())
    node.see(dispatched(4), m.Dispatched([again]))
    assert node.phases()[3] is m.Phase.WAITING
    node.see(m.AttemptStarted(4, 1.002), exited(4, at=1.003), dispatched(5), at=1.003)
    assert {lease: node.phases()[lease] for lease in (3, 5)} == {3: m.Phase.STARTING, 5: m.Phase.WAITING}


def test_a_call_that_ran_when_its_warden_died_runs_again_and_is_not_to_blame() -> None:
    node = Node(slots=1)
    node.see(dispatched(1, template=JobTemplate(function="f" * 64)))
    (order,) = node.see(m.ArtifactReady("f" * 64))
    assert isinstance(order, m.StartCalls)
    node.see(m.RunnerUp(order.runner))
    again = node.see(m.RunnerEnded(order.runner, 1, 1, "died", 2.0, spared=True))
    assert again + node.see(m.TimePassed(), at=3.0) == [m.StartCalls(order.runner, order.assignments)]


@pytest.mark.parametrize(("ran", "unfit", "outcome"), [(0, True, Outcome.BROKEN), (1, False, Outcome.SIGNALED)])
def test_a_runner_that_never_started_blames_the_worker_and_a_dead_runner_blames_the_call(
    ran: int, unfit: bool, outcome: Outcome
) -> None:
    node = Node(slots=1)
    node.see(dispatched(1, template=JobTemplate(function="f" * 64)))
    (order,) = node.see(m.ArtifactReady("f" * 64))
    assert isinstance(order, m.StartCalls)
    if ran:
        node.see(m.RunnerUp(order.runner))
    (report,) = node.see(m.RunnerEnded(order.runner, 1, ran, "why", 2.0, unfit=unfit))
    assert isinstance(report, m.ReportResults)
    assert (report.results[0].outcome, report.results[0].reason) == (outcome, "why")


def test_attempts_of_another_warden_continue() -> None:
    node = Node(slots=2)
    node.run(1)
    node.run(2)
    node.see(m.WardenDied([2, 7], 3.0))
    assert [node.machine.held[lease].phase for lease in (1, 2)] == [m.Phase.RUNNING, m.Phase.ENDED]


def test_an_attempt_being_stopped_when_the_warden_dies_is_reported_as_stopped() -> None:
    node = Node()
    node.run(1)
    node.see(m.StopOrdered([1], 5.0), m.WardenDied([1], 3.0))
    (report,) = node.see(m.LogsSent(1))
    assert isinstance(report, m.ReportResults)
    assert (report.results[0].outcome, report.results[0].reason) == (Outcome.STOPPED, "stopped")


def test_an_attempt_timed_out_when_the_warden_dies_is_reported_as_timed_out() -> None:
    """The warden was stopped, so it could not end the attempt in time. The reason of the end is
    still the time-out."""
    node = Node()
    node.run(1, template=TIMED)
    assert isinstance(node.see(m.TimePassed(), at=20.0)[0], m.StopAttempt)
    node.see(m.WardenDied([1], 22.0, [1]), at=22.0)
    (report,) = node.see(m.LogsSent(1), at=22.0)
    assert isinstance(report, m.ReportResults)
    assert (report.results[0].outcome, report.results[0].reason) == (Outcome.TIMED_OUT, "timed out after 10 s")


def test_an_attempt_that_ended_before_the_warden_died_keeps_its_result() -> None:
    node = Node()
    node.run(1)
    node.see(exited(1), m.WardenDied([1], 3.0))
    assert node.see(m.LogsSent(1)) == [m.ReportResults([result(1, Outcome.SUCCEEDED, 0, "")])]


def test_a_result_of_the_old_cluster_is_not_reported_to_a_new_cluster_with_the_same_lease() -> None:
    node = Node()
    inputs = [m.DrainOrdered(), dispatched(1), m.Welcomed("d"), dispatched(1)]
    assert [one for one in node.see(*inputs) if isinstance(one, m.ReportResults)] == [
        m.ReportResults([node.machine.held[1].result])  # type: ignore[list-item]
    ]


def test_calls_ordered_after_the_death_of_a_runner_go_to_its_successor() -> None:
    """The new runner executes these calls once, whatever is reported later about the old runner."""
    from titan.worker.state_machine.calls import Runners

    runners = Runners()
    assert runners.place(0.0, 1, free=True) == 0
    runners.up(0.0, 0)
    assert runners.ended(0.001, 0, 1, 0.0005) == [1]
    assert [runners.place(0.002, lease, free=lease == 2) for lease in (2, 3, 4)] == [0, 0, 0]
    assert runners.gone(0.003, 0, 2) == [2, 3]
    assert list(runners.queues[0]) == [4] and runners.busy == 1
    runners.up(0.004, 0)
    assert runners.ended(0.005, 0, 1, 0.0005) == [4] and runners.busy == 0


# -- limits ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "outcome", "exit_code", "reason"),
    [
        (-9, Outcome.SIGNALED, 137, "used more than its memory limit of 512 MiB"),
        (1, Outcome.EXITED, 1, "used more than its memory limit of 512 MiB"),
        (0, Outcome.SUCCEEDED, 0, ""),
    ],
)
def test_the_result_of_a_job_killed_for_memory_names_the_limit(code: int, outcome: Outcome, exit_code: int, reason: str) -> None:
    """If a job survives the death of its child process, its own exit code and reason count."""
    node = Node()
    node.see(dispatched(1, template=JobTemplate(command="true", limits=Limits(memory=512 << 20))), m.AttemptStarted(1, 1.0))
    node.see(m.AttemptExited(1, code, 2.0, 0.5, 1 << 20, True))
    it = node.machine.held[1].result
    assert it is not None
    assert (it.outcome, it.exit_code, it.reason) == (outcome, exit_code, reason)
