"""Services in the worker's state machine: readiness, restarts, reports, and end."""

from __future__ import annotations

import msgspec
import pytest

from support.worker_machine import Node, dispatched, exited, start
from titan.model.dag import JobTemplate, Limits, Needs, Service
from titan.model.services import STEADY_S
from titan.model.states import Outcome
from titan.worker.state_machine import machine as m
from titan.worker.state_machine import messages
from titan.worker.state_machine.services import FIRST_CHECK_S, REPORT_S

TCP = Service(interval_s=1.0, start_s=10.0, backoff_s=0.5, backoff_max_s=4.0)


def of(service: Service = TCP, **fields: object) -> JobTemplate:
    return msgspec.structs.replace(JobTemplate(command="serve", kind="service", service=service), **fields)


def serving(service: Service = TCP, **fields: object) -> Node:
    """Return a node with one slot, on which the process of a service has started at 1."""
    node = Node()
    template = of(service, **fields)
    assert node.see(dispatched(1, template=template), at=1.0) == [start(1, template)]
    node.see(messages.PortChosen(1, 8080), m.AttemptStarted(1, 1.0))
    return node


def healthy(node: Node, at: float, *, well: bool = True, why: str = "connection refused") -> list[m.Instruction]:
    """Let the check that is due run, and answer it at once."""
    orders = node.see(m.TimePassed(), at=at)
    (probe,) = [it.probe for it in orders if isinstance(it, messages.CheckHealth)]
    return node.see(messages.HealthSeen(1, probe, well, "" if well else why, at))


def told(orders: list[m.Instruction]) -> messages.ReportServices | None:
    found = [it for it in orders if isinstance(it, messages.ReportServices)]
    assert len(found) <= 1
    return found[0] if found else None


def restarts(orders: list[m.Instruction]) -> bool:
    return messages.RestartService(1) in orders


def results(orders: list[m.Instruction]) -> list[tuple[Outcome, str]]:
    return [(r.outcome, r.reason) for it in orders if isinstance(it, m.ReportResults) for r in it.results]


def after_logs(node: Node) -> list[tuple[Outcome, str]]:
    return results(node.see(m.LogsSent(1)))


# -- READY -----------------------------------------------------------------------------------------
def test_a_service_is_ready_after_a_successful_health_check() -> None:
    node = serving()
    assert node.machine.next_due() == 1.0 + FIRST_CHECK_S
    healthy(node, 1.05, well=False)
    assert node.machine.services.all[1].ready_at == 0.0
    healthy(node, 2.5)
    report = told(node.see(m.TimePassed(), at=3.5))
    assert report is not None
    assert (report.leases, report.started, report.ready_ats, report.ports, report.restarts) == ([1], [1.0], [2.5], [8080], [0])


def test_a_service_without_a_health_check_is_ready_when_its_process_runs() -> None:
    node = serving(msgspec.structs.replace(TCP, health="none"))
    assert node.machine.services.all[1].ready_at == 1.0


def test_a_service_that_is_not_healthy_in_time_is_restarted() -> None:
    node = serving()
    at = 1.0
    orders: list[m.Instruction] = []
    while m.StopAttempt(1, 5.0) not in orders:
        at = node.machine.services.all[1].due
        assert at < 13.0
        orders = healthy(node, at, well=False)
    assert at >= 11.0
    assert node.machine.services.all[1].reason == "was not healthy within 10 s: connection refused; does it listen on $TITAN_PORT?"
    node.see(exited(1, -15), at=at)
    assert restarts(node.see(m.TimePassed(), at=at + 0.5))


def test_a_service_is_restarted_after_several_failed_checks_in_a_row() -> None:
    node = serving(msgspec.structs.replace(TCP, misses=2))
    healthy(node, 1.05)
    assert m.StopAttempt(1, 5.0) not in healthy(node, 2.05, well=False, why="503")
    assert m.StopAttempt(1, 5.0) in healthy(node, 3.05, well=False, why="503")
    node.see(exited(1, 0), at=3.1)
    watch = node.machine.services.all[1]
    assert (watch.reason, watch.restarts) == ("unhealthy, 2 checks in a row failed: 503", 1)


def test_a_late_answer_about_a_former_process_is_dropped() -> None:
    node = serving()
    node.see(m.TimePassed(), at=1.05)
    node.see(exited(1, 1), at=1.1)
    assert restarts(node.see(m.TimePassed(), at=1.6))
    node.see(m.AttemptStarted(1, 1.6), at=1.6)
    node.see(messages.HealthSeen(1, 1, True, "", 1.65), at=1.65)
    assert node.machine.services.all[1].ready_at == 0.0


# -- restarts --------------------------------------------------------------------------------------
def crash(node: Node, at: float, code: int = 7) -> float:
    """End the process at this time, and let the next process start. Return the seconds between
    both."""
    node.see(exited(1, code), at=at)
    due = node.machine.services.all[1].due
    assert not restarts(node.see(m.TimePassed(), at=due - 0.001))
    assert restarts(node.see(m.TimePassed(), at=due))
    node.see(m.AttemptStarted(1, due))
    return due - at


def test_the_backoff_doubles_with_each_restart_up_to_its_maximum() -> None:
    node = serving()
    waits = [crash(node, node.now + 0.1) for _ in range(6)]
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0, 4.0, 4.0])
    assert node.machine.busy == 1, "one slot, from its first process to its last"


@pytest.mark.parametrize("ill", [False, True], ids=["it ends", "it falls ill"])
def test_the_backoff_is_reset_after_a_long_healthy_time(ill: bool) -> None:
    node = serving(msgspec.structs.replace(TCP, misses=1))
    for _ in range(3):
        crash(node, node.now + 0.1)
    healthy(node, node.machine.services.all[1].due)
    later = node.now + STEADY_S + 1
    if ill:
        healthy(node, later, well=False)
    assert crash(node, later + 1) == pytest.approx(0.5)


def test_the_next_start_is_reported_at_most_once_a_second() -> None:
    node = serving(msgspec.structs.replace(TCP, backoff_s=0.05, backoff_max_s=0.05))
    reports = []
    for _ in range(200):
        for orders in (node.see(exited(1, 7), at=node.now + 0.1), node.see(m.TimePassed(), at=node.now + 0.05)):
            reports += [told(orders)] if told(orders) else []
        node.see(m.AttemptStarted(1, node.now))
    assert 25 <= len(reports) <= 200 * 0.15 / REPORT_S + 2
    last = reports[-1]
    assert last is not None and last.reasons == ["exit code 7"] and last.restarts[0] > 180
    assert any(report.next_starts[0] > 0 for report in reports if report is not None)


def test_a_service_has_no_timer_before_its_first_start() -> None:
    """A service that still waits for its port must not wake the machine for a report that it cannot
    make."""
    node = Node()
    node.see(dispatched(1, template=of()), at=1.0)
    node.see(messages.PortChosen(1, 8080), at=1.0)
    due = node.machine.next_due()
    assert due is not None and due >= 5.0, "but for the heartbeat"


def test_a_service_killed_for_memory_names_the_limit() -> None:
    node = serving(limits=Limits(memory=64 << 20))
    node.see(m.AttemptExited(1, -9, 2.0, 0.25, 4096, True), at=2.0)
    assert node.machine.services.all[1].reason == "used more than its memory limit of 64 MiB"


@pytest.mark.parametrize(("policy", "code"), [("never", 0), ("never", 3), ("on-failure", 0)])
def test_a_restart_policy_can_let_a_service_end(policy: str, code: int) -> None:
    node = serving(msgspec.structs.replace(TCP, restart=policy))
    assert messages.CloseService(1) in node.see(exited(1, code), at=2.0)
    expected = (Outcome.EXITED, f"exit code {code}") if code else (Outcome.SUCCEEDED, "")
    assert after_logs(node) == [expected] and node.machine.busy == 0 and not node.machine.services.all


def test_a_service_ends_after_its_maximum_of_restarts() -> None:
    node = serving(msgspec.structs.replace(TCP, max_restarts=2))
    crash(node, 2.0)
    crash(node, node.now + 0.1)
    node.see(exited(1, 7), at=node.now + 0.1)
    assert after_logs(node) == [(Outcome.EXITED, "restarted 2 times in a row, and then: exit code 7")]


def test_a_service_keeps_its_resources_over_all_its_processes() -> None:
    node = Node(slots=2)
    node.machine.resources.total = (0, 0, 1)
    node.machine.resources.gpus = ("0",)
    gpu = of(needs=Needs(gpus=1))
    node.see(dispatched(1, template=gpu), at=1.0)
    node.see(messages.PortChosen(1, 8080), m.AttemptStarted(1, 1.0))
    crash(node, 2.0)
    assert node.machine.resources.taken == (0, 0, 1)
    other = JobTemplate(command="true", needs=Needs(gpus=1))
    assert node.see(dispatched(2, template=other)) == [], "the GPU is the service's"
    node.see(m.StopOrdered([1], 5.0))
    assert m.StartAttempt(m.Assignment(2, "r", "j2", 1, other, ()), ("0",)) in node.see(exited(1, -15))


# -- its end ---------------------------------------------------------------------------------------
def test_a_service_is_stopped_while_it_runs() -> None:
    node = serving()
    assert m.StopAttempt(1, 5.0) in node.see(m.StopOrdered([1], 5.0), at=2.0)
    assert messages.CloseService(1) in node.see(exited(1, -15), at=2.1)
    assert after_logs(node) == [(Outcome.STOPPED, "stopped")]


def test_a_service_is_stopped_between_two_processes() -> None:
    node = serving()
    node.see(exited(1, 7), at=2.0)
    orders = node.see(m.StopOrdered([1], 5.0), at=2.1)
    assert messages.CloseService(1) in orders and node.machine.busy == 0
    assert not restarts(node.see(m.TimePassed(), at=9.0))


@pytest.mark.parametrize("between", [False, True], ids=["it runs", "between two processes"])
def test_a_drain_returns_a_service_to_the_master(between: bool) -> None:
    node = serving()
    if between:
        node.see(exited(1, 7), at=2.0)
    node.see(m.DrainOrdered(), at=2.1)
    if not between:
        node.see(exited(1, -15), at=2.2)
    assert after_logs(node)[0][0] is Outcome.RETURNED


def test_after_a_disconnect_a_service_continues_and_its_state_is_reported_again() -> None:
    node = serving()
    healthy(node, 1.05)
    node.see(m.TimePassed(), at=2.1)
    node.see(m.Disconnected(), at=3.0)
    report = told(node.see(m.Welcomed("c"), m.Registered(5.0), at=60.0))
    assert report is not None and report.ready_ats == [1.05]


def test_a_ready_service_does_not_report_a_failed_check_from_before() -> None:
    node = serving()
    healthy(node, 1.05, well=False)
    assert node.machine.services.all[1].reason == "connection refused"
    healthy(node, 2.5)
    assert node.machine.services.all[1].reason == ""


def test_a_ready_service_still_reports_why_it_was_restarted() -> None:
    node = serving()
    crash(node, 1.02)
    watch = node.machine.services.all[1]
    healthy(node, watch.due)
    assert watch.ready_at
    assert (watch.reason, watch.restarts) == ("exit code 7", 1)
