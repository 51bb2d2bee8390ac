"""Random inputs to the worker's state machine in any order. No more attempts run than there are
slots, no attempt is forgotten before its acknowledgement, and all attempts end."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.worker_machine import PLAIN, SCRIPT, Node, dispatched, exited
from titan.model.dag import JobTemplate
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.machine import Phase

TIMED = JobTemplate(command="true", timeout_s=3.0)
LEASES = st.integers(1, 6)
SEEN = st.one_of(
    st.builds(lambda lease, t: dispatched(lease, template=t), LEASES, st.sampled_from([PLAIN, PLAIN, SCRIPT, TIMED])),
    st.builds(m.AttemptStarted, LEASES, st.just(1.0)),
    st.builds(exited, LEASES, st.sampled_from([0, 1, -9])),
    st.builds(m.AttemptRefused, LEASES, st.just("x"), st.booleans(), st.just(1.0)),
    st.builds(m.LogsSent, LEASES),
    st.builds(m.StopOrdered, st.lists(LEASES, max_size=3), st.just(5.0)),
    st.builds(m.RecallOrdered, st.lists(LEASES, max_size=3)),
    st.builds(m.ResultsAcked, st.lists(LEASES, max_size=3)),
    st.just(m.ArtifactReady(SCRIPT.file_hash)),
    st.builds(m.ArtifactFailed, st.just(SCRIPT.file_hash), st.just("x"), st.booleans()),
    st.just(m.TimePassed()),
    st.just(m.Disconnected()),
    st.just(m.Registered(5.0)),
    st.builds(m.WardenDied, st.lists(LEASES, max_size=3), st.just(2.0)),
)
RARE = st.one_of(st.builds(m.Welcomed, st.sampled_from(["c", "d"])), st.just(m.DrainOrdered()), st.just(m.QuitOrdered()))
TURNS = st.lists(st.lists(st.one_of(SEEN, SEEN, SEEN, SEEN, SEEN, SEEN, RARE), max_size=4), max_size=25)


class Watched(Node):
    """Node that checks each turn: the machine must never do what these assertions exclude."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.ended: Counter[int] = Counter()

    def see(self, *inputs: Any, at: float | None = None) -> list[m.Instruction]:
        before = dict(self.machine.held) if hasattr(self, "machine") else {}
        out = super().see(*inputs, at=at)
        machine = self.machine
        there = [h for h in machine.held.values() if h.phase in (Phase.STARTING, Phase.RUNNING)]
        assert machine.busy == len(there) <= machine.slots
        if machine.busy < machine.slots:
            assert Phase.WAITING not in self.phases().values(), "an attempt waits beside a free slot"
        forgotten = [lease for one in out if isinstance(one, m.Forget) for lease in one.leases]
        dropped = [lease for lease, h in before.items() if machine.held.get(lease) is not h]
        assert set(dropped) <= set(forgotten), "the output of an attempt is kept too long"
        for one in out:
            if isinstance(one, m.ReportStarted | m.ReportResults | m.Beat):
                assert machine.connected
            if isinstance(one, m.ReportResults):
                assert len({r.lease for r in one.results}) == len(one.results), "a result twice in one report"
            if isinstance(one, m.StartAttempt):
                wanted = one.assignment.template.file_hash
                assert not wanted or wanted in machine.have, "started without its script"
        if any(isinstance(one, m.Leave) for one in out):
            assert not machine.held, "it leaves with attempts"
        return out


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3), TURNS)
def test_no_attempt_is_held_for_ever_in_any_order_of_inputs(slots: int, turns: list[list[Any]]) -> None:
    node = Watched(slots)
    for i, inputs in enumerate(turns):
        node.see(*inputs, at=1.0 + i)
    settle(node)
    assert (node.phases(), node.machine.busy) == ({}, 0), "an attempt is never forgotten"


def settle(node: Node) -> None:
    """Let everything end: scripts arrive, processes end, output is sent, and the master
    acknowledges."""
    node.see(m.Welcomed("c"), m.Registered(5.0))
    for _ in range(20):
        held = list(node.machine.held)
        node.see(m.ArtifactReady(SCRIPT.file_hash), at=node.now + 1)
        node.see(*[m.AttemptStarted(lease, node.now) for lease in held], *[exited(lease, at=node.now) for lease in held])
        node.see(*map(m.LogsSent, held), at=node.now + 1)
        node.see(m.ResultsAcked(held), at=node.now + 1)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), TURNS)
def test_every_dispatch_is_answered_by_one_result_or_dropped_with_its_cluster(slots: int, turns: list[list[Any]]) -> None:
    node = Node(slots)
    results: dict[int, set[m.Result]] = {}
    for i, inputs in enumerate([*turns, [m.Registered(5.0)]]):
        for one in node.see(*inputs, at=1.0 + i):
            if isinstance(one, m.ReportResults):
                for result in one.results:
                    results.setdefault(result.lease, set()).add(result)
            elif isinstance(one, m.Forget):
                for lease in one.leases:
                    results.pop(lease, None)
    assert all(len(told) == 1 for told in results.values()), "one attempt, two results"
