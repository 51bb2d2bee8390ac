"""The resources of a worker: how they are found, counted, assigned and returned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.worker_machine import Node, dispatched, exited
from titan.model.dag import JobTemplate, Needs
from titan.model.states import Outcome
from titan.worker import devices
from titan.worker.devices import count_gpus, find_resources
from titan.worker.state_machine import machine as m
from titan.worker.state_machine.resources import Resources
from titan.worker.translation import facts

GPU = JobTemplate(command="true", needs=Needs(gpus=1))
PAIR = JobTemplate(command="true", needs=Needs(gpus=2))
HALF = JobTemplate(command="true", needs=Needs(cpus=0.5, memory=2))


def node(slots: int = 4, gpus: int = 2) -> Node:
    made = Node(slots)
    made.machine.resources = Resources(1.0, 8, tuple(map(str, range(gpus))))
    return made


def started(instructions: list[m.Instruction]) -> dict[int, tuple[str, ...]]:
    """Return lease -> GPUs of the started attempts."""
    return {i.assignment.lease: i.gpus for i in instructions if isinstance(i, m.StartAttempt)}


def test_gpus_are_handed_out_the_lowest_first_and_come_back() -> None:
    it = node()
    assert started(it.see(dispatched(1, 2, 3, template=GPU))) == {1: ("0",), 2: ("1",)}
    it.see(m.AttemptStarted(1, 1.0))
    assert started(it.see(exited(1), at=2.0)) == {3: ("0",)}
    assert it.machine.resources.taken == (0, 0, 2)
    it.see(exited(2), exited(3), at=3.0)
    assert it.machine.resources.taken == (0, 0, 0)


def test_calls_take_their_devices_and_others_get_another_runner() -> None:
    it = node()
    call = JobTemplate(function="f" * 64, needs=Needs(gpus=1), session="s")
    it.see(dispatched(1, 2, 3, template=call))
    first, second = (i for i in it.see(m.ArtifactReady("f" * 64)) if isinstance(i, m.StartCalls))
    assert (first.gpus, second.gpus, first.runner != second.runner) == (("0",), ("1",), True)
    (third,) = (i for i in it.see(ended_call(first.runner), at=2.0) if isinstance(i, m.StartCalls))
    assert (third.gpus, third.runner) == (("0",), first.runner), "the freed device and its runner"
    it.see(m.RunnerEnded(second.runner, 1, 1, "died", 2.0, unfit=False), ended_call(third.runner), at=3.0)
    assert it.machine.resources.taken == (0, 0, 0)


def ended_call(runner: int) -> m.CallsEnded:
    return m.CallsEnded(runner, [""], [b""], [1.0], [2.0], [], {})


def test_an_attempt_whose_gpus_are_in_use_keeps_its_place_and_lets_others_pass() -> None:
    it = node()
    assert started(it.see(dispatched(1, template=GPU), dispatched(2, template=PAIR), dispatched(3, template=HALF))) == {
        1: ("0",),
        3: (),
    }
    assert started(it.see(exited(3), at=2.0)) == {}
    assert started(it.see(exited(1), at=3.0)) == {2: ("0", "1")}


def test_a_stopped_attempt_keeps_its_gpu_until_its_processes_are_gone() -> None:
    it = node(gpus=1)
    it.see(dispatched(1, 2, template=GPU), m.AttemptStarted(1, 1.0), at=1.0)
    assert started(it.see(m.StopOrdered([1], 5.0), at=2.0)) == {}
    assert started(it.see(exited(1, -15, at=4.0), at=4.0)) == {2: ("0",)}


@pytest.mark.parametrize("what", ["refused", "warden died"])
def test_an_attempt_that_never_ran_returns_its_resources(what: str) -> None:
    it = node()
    it.see(dispatched(1, template=GPU))
    it.see(m.AttemptRefused(1, "no", True, 1.0) if what == "refused" else m.WardenDied([1], 1.0))
    assert it.machine.resources.taken == (0, 0, 0)


def test_an_attempt_that_needs_more_than_the_worker_has_is_returned_as_broken() -> None:
    it = node(gpus=1)
    (report,) = it.see(dispatched(1, template=PAIR))
    assert isinstance(report, m.ReportResults)
    (result,) = report.results
    assert (result.outcome, result.reason) == (Outcome.BROKEN, "it asks for gpus 2; this worker has 1")


def test_cpus_and_memory_are_counted_exactly() -> None:
    stock = Resources(1.0, 100)
    tenth = JobTemplate(command="true", needs=Needs(cpus=0.1))
    assert [stock.take(lease, tenth) for lease in range(11)] == [()] * 10 + [None]
    for lease in range(10):
        stock.give_back(lease)
    assert stock.taken == (0, 0, 0)


# -- what a host has -------------------------------------------------------------------------------
def test_configured_resources_are_used() -> None:
    stock = find_resources(cpus=1.5, memory=100, gpus=2, environment={})
    assert (stock.total, stock.gpus) == ((1500, 100, 2), ("0", "1"))
    assert {name: facts(stock)[name] for name in ("cpus", "memory_bytes", "gpus")} == {"cpus": 1.5, "memory_bytes": 100, "gpus": 2}


def test_cpus_and_memory_are_detected_if_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_gpus", lambda: 3)
    stock = find_resources(environment={})
    assert stock.total[0] == len(os.sched_getaffinity(0)) * 1000
    assert stock.total[1] > 1 << 20
    assert stock.gpus == ("0", "1", "2")
    assert facts(stock)["cpus"] == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("visible", "gpus", "found"),
    [
        ("2,3", None, ("2", "3")),
        ("2,3", 1, ("2",)),
        ("2", 3, ("0", "1", "2")),
        ("", None, ()),
        ("GPU-1a, MIG-2b", None, ("GPU-1a", "MIG-2b")),
        ("0,-1,1", None, ("0",)),
        ("1,1", None, ("1",)),
    ],
)
def test_only_devices_that_the_process_may_use_are_counted(visible: str, gpus: int | None, found: tuple[str, ...]) -> None:
    assert find_resources(gpus=gpus, environment={"CUDA_VISIBLE_DEVICES": visible}).gpus == found


def put_smi(folder: Path, body: str) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)


def test_gpus_are_counted_by_the_drivers_tool_or_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    dev, proc = tmp_path / "dev", tmp_path / "proc"
    dev.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (dev / name).touch()
    put_smi(tmp_path, "echo 'GPU 0: A (UUID: GPU-1)'; echo '  MIG 1g'; echo 'GPU 1: B (UUID: GPU-2)'; echo 'GPU 2: C'")
    assert count_gpus(dev, proc) == 3
    put_smi(tmp_path, "echo 'NVIDIA-SMI has failed'; exit 9")
    assert count_gpus(dev, proc) == 2
    assert count_gpus(tmp_path / "none", proc) == 0
    for number in range(4):
        (proc / str(number)).mkdir(parents=True)
    assert count_gpus(tmp_path / "none", proc) == 4
