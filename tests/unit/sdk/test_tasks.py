"""Tasks: the graph that their calls become, and how the results reach the futures."""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import pickle
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

import pytest

import titan.sdk.tasks
from titan.errors import CallerError, InvalidGraph, JobFailed
from titan.model import graph
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.call_jobs import CallJobs
from titan.sdk.compute import Computed
from titan.sdk.functions import Function, value_of
from titan.sdk.status import JobStatus, job_status
from titan.sdk.tasks import Plan, TaskCall, nodes_of, plan, task
from titan.worker.isolated.runner import Arguments

U = TypeVar("U")


@task
def inc(x: int) -> int:
    return x + 1


@task(retries=2, timeout=30, priority=5, requirement="GPU", name="sum of <all>")
def total(*xs: Any, **more: Any) -> Any:
    return sum(xs)


def planned(*wanted: TaskCall[Any]) -> Plan:
    made = plan(list(wanted), Function)
    assert [list(p) for p in graph.resolve(made.spec)] == made.parents
    return made


def test_a_call_is_a_node_and_run_is_a_call() -> None:
    assert isinstance(inc(1), TaskCall)
    assert inc.run(1) == inc.function(1) == 2
    assert repr(inc) == "<Task inc>" and inc.__doc__ is None


def test_options_of_tasks_make_templates() -> None:
    spec = planned(total(inc(1), inc(2)), inc(3), inc.options(retries=1)(4)).spec
    assert [(t.retries, t.timeout_s, t.priority, t.requirement) for t in spec.templates] == [
        (0, 0.0, 1, "GENERAL"),
        (2, 30.0, 5, "GPU"),
        (1, 0.0, 1, "GENERAL"),
    ]
    assert spec.template_of == [0, 0, 1, 0, 2]
    assert spec.ids == ["inc-0", "inc-1", "sum_of_all_-2", "inc-3", "inc-4"]
    assert spec.name == "2 tasks"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": -1}, "retries"),
        ({"retries": True}, "retries"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"priority": 1.5}, "priority"),
        ({"requirement": "a b"}, "capability"),
        ({"colour": 1}, "unknown option 'colour'"),
    ],
)
def test_invalid_options_of_a_task_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph, match=says):
        inc.options(**options)


def test_nodes_are_found_wherever_they_stand() -> None:
    @dataclasses.dataclass
    class Box:
        it: Any

    a, b, c, d = inc(1), inc(2), inc(3), inc(4)
    node = total([1, (a, {"k": b})], a, Box(c), key=d)
    assert node.parents == (a, b, c, d)
    args, kwargs = Arguments(node.payload, [b"i" + pickle.dumps(n) for n in (10, 20, 30, 40)]).load()
    assert args[:2] == ([1, (10, {"k": 20})], 10)
    assert args[2].it == 30 and kwargs == {"key": 40}


def test_a_result_that_is_used_twice_is_one_object() -> None:
    a = inc(1)
    (first, second) = Arguments(total(a, a).payload, [b"i" + pickle.dumps([1])]).load()
    assert first is second


def test_the_value_none_needs_no_payload() -> None:
    assert Arguments(total(inc(1)).payload, [b""]).load() == (None,)


def test_a_shared_node_is_one_job_and_parents_come_first() -> None:
    a = inc(0)
    b, c = inc(a), inc(a)
    made = planned(total(b, c), a)
    assert made.parents == [[], [0], [0], [1, 2]] and made.wanted == [3, 0]


def test_a_long_chain_needs_no_recursion() -> None:
    node = inc(0)
    for _ in range(100_000):
        node = inc(node)
    made = plan([node], Function)
    assert len(made.spec.ids) == 100_001 and made.parents[-1] == [99_999]
    assert len(made.needed_for([100_000])) == 100_001
    del node, made


def test_values_that_are_no_node_or_cannot_be_pickled_are_refused() -> None:
    with pytest.raises(CallerError, match=r"@titan\.task"):
        plan([3], Function)  # type: ignore[list-item]
    with pytest.raises(CallerError, match="not 3"):
        nodes_of(3)
    with pytest.raises(CallerError, match="cannot be sent"):
        inc(x for x in "")
    with pytest.raises(TypeError, match="has no result yet"):
        bool(inc(1))
    with pytest.raises(pickle.PicklingError, match="has no result yet"):
        pickle.dumps(inc(1))
    with pytest.raises(CallerError, match="plain function"):
        task(inc)


def test_in_a_job_the_name_is_the_plain_function() -> None:
    @task
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)  # type: ignore[operator]

    assert pickle.loads(Function(fib.function).pickled)(10) == 55


class FakeJobs(CallJobs):
    """A master that runs the jobs in `running`, and cancels what it may."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.asked: list[str] = []

    def in_loop(self) -> bool:
        return False

    def wait(self, work: Coroutine[Any, Any, U]) -> U:
        return asyncio.run(work)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run(work)

    async def cancel(self, run: str, job: str = "", *, unstarted: bool = False) -> int:
        if unstarted and job in self.running:
            return 0
        self.asked.append(job)
        return 1

    async def status(self, run: str, job: str) -> JobStatus:
        row = msg.JobRow(job, int(JobState.RUNNING if job in self.running else JobState.QUEUED), 1, "w", -1, 0.0, 0.0, 0.0, "")
        return job_status(row)


# -- what came of it -------------------------------------------------------------------------------
def settle(future: Future[Any], state: int, value: bytes, reason: str) -> None:
    try:
        future.set_result(value_of(state, value, reason))
    except BaseException as e:
        future.set_exception(e)


def values(*rows: tuple[int, JobState, bytes, str]) -> msg.Values:
    return msg.Values(1, [r[0] for r in rows], [int(r[1]) for r in rows], [r[2] for r in rows], [r[3] for r in rows], False)


def raised(error: Exception) -> bytes:
    return b"e" + pickle.dumps((pickle.dumps(error), type(error).__name__, str(error), "the traceback"))


def test_a_node_after_a_failure_names_the_failed_node() -> None:
    a = inc(0)
    b = inc(a)
    sink = Computed(planned(a, inc(inc(b))), settle, FakeJobs())
    done, lost = sink.futures[0], sink.futures[3]
    sink.take(values((0, JobState.COMPLETED, b"i" + pickle.dumps(1), "")))
    sink.take(values((1, JobState.DEAD, raised(KeyError("k")), "KeyError"), (3, JobState.CANCELLED, b"", "its ancestor ...")))
    assert done.result(0) == 1
    error = lost.exception(0)
    assert isinstance(error, JobFailed) and str(error) == "inc-3 did not run: its ancestor inc-1 failed: KeyError: 'k'"
    assert isinstance(error.__cause__, KeyError) and "the traceback" in str(error.__cause__.__cause__)


def test_the_future_of_a_cancelled_node_is_cancelled() -> None:
    sink = Computed(planned(inc(0)), settle, FakeJobs())
    sink.take(values((0, JobState.CANCELLED, b"", "cancelled by a user")))
    with pytest.raises(CancelledError, match="by a user"):
        sink.futures[0].result(0)


def test_a_value_that_arrives_twice_counts_once() -> None:
    sink = Computed(planned(inc(0)), settle, FakeJobs())
    for n in (1, 2):
        sink.take(values((0, JobState.COMPLETED, b"i" + pickle.dumps(n), "")))
    assert sink.futures[0].result(0) == 1


def test_cancelling_spares_the_nodes_that_another_result_needs() -> None:
    a = inc(0)
    jobs = FakeJobs()
    sink = Computed(planned(a, inc(a), inc(5)), settle, jobs)
    sink.accepted("run")
    first, second, third = sink.futures.values()
    assert first.cancel() and first.cancelled()
    assert jobs.asked == []
    assert second.cancel() and jobs.asked == ["inc-1"]
    assert third.cancel() and jobs.asked == ["inc-1", "inc-2", ""]


def test_a_running_node_is_cancelled_only_by_force() -> None:
    jobs = FakeJobs()
    sink = Computed(planned(inc(0)), settle, jobs)
    sink.accepted("run")
    (future,) = sink.futures.values()
    jobs.running = {"inc-0"}
    assert future.running() and not future.cancel()
    assert (jobs.asked, future.done()) == ([], False)
    assert future.cancel(force=True) and future.cancelled()
    assert jobs.asked == ["inc-0", ""]


def test_a_future_that_is_cancelled_before_its_acknowledgement_cancels_its_job_then() -> None:
    jobs = FakeJobs()
    sink = Computed(planned(inc(0)), settle, jobs)
    (future,) = sink.futures.values()
    assert future.cancel() and future.cancel()
    assert wait([future], 0).done == {future}, "a waiter learns of it"
    sink.accepted("run")
    assert jobs.asked == ["inc-0", ""] and future.job == "run/inc-0"
    sink.take(values((0, JobState.COMPLETED, b"i" + pickle.dumps(1), "")))
    assert future.cancelled()


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(titan.sdk.tasks).failed == 0
