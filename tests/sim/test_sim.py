"""Many seeds of the simulator with faults. A seed always gives the same simulation."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from titan.sim.__main__ import main
from titan.sim.run import SimulationFailed, simulate
from titan.sim.trace import Trace

CHUNK = 20
SEEDS = 120
LONG_SEEDS = 200
SEEDS_OF_EVERY_FAULT = (2, 5, 106, 171, 172, 182, 189)
"""Seeds that together meet all of FAULTS. If a change of the scenarios breaks this, the test
simulates further seeds until all faults are met."""
TRACED_SEEDS = 12
FAULTS = (
    "affinity released",
    "DeadPurged",
    "JobsRevived",
    "RunRestored",
    "WebhookEnded",
    "asked for resources",
    "blame taken back",
    "cancel",
    "caught up: all",
    "caught up: last",
    "caught up: skip",
    "cut",
    "deadline passed",
    "delayed",
    "doubt taken back",
    "duplicated",
    "gate approved",
    "gate expired",
    "gate rejected",
    "lost",
    "master crash",
    "partition",
    "poison",
    "held for a service",
    "process",
    "result reused",
    "room held",
    "rolling replacement",
    "StatusReported",
    "says progress",
    "says result",
    "says same status",
    "says status",
    "runner died",
    "schedule fired after waiting",
    "schedule replaced a run",
    "schedule run by hand",
    "schedule skipped: overlap",
    "service READY",
    "service restarted",
    "service stopped",
    "snapshot loaded",
    "stalled",
    "torn tail",
    "usurp",
    "webhook failed",
    "worker crash",
    "worker gone",
    "worker superseded",
    "worker told to leave",
)


@functools.cache
def trace_of(seed: int) -> Trace:
    """Return the trace of a seed. Each seed is simulated once per process."""
    return simulate(seed).trace


@pytest.mark.parametrize(
    "first",
    [
        *range(1, SEEDS + 1, CHUNK),
        *[pytest.param(first, marks=pytest.mark.slow) for first in range(SEEDS + 1, LONG_SEEDS + 1, CHUNK)],
    ],
)
def test_all_jobs_of_a_seed_end_and_the_oracle_agrees(first: int) -> None:
    failures = []
    for seed in range(first, first + CHUNK):
        try:
            trace_of(seed)
        except SimulationFailed as failure:
            failures.append(str(failure))
    assert not failures, "\n\n".join(["", *failures])


@pytest.mark.parametrize("seed", [1822, 2005, 2216, 2672, 3941, 4418, 20301, 21352])
def test_seeds_that_found_bugs_pass(seed: int) -> None:
    """Seeds that found bugs, which are fixed now:

    - A run that was restored from the history did not know where its jobs had run.
    - A DEAD failure handler that was retried never began.
    - A service that only jobs which were over had needed ran for ever.
    - A worker whose name another process had taken never ended.
    - A job went to the worker of its parent's earlier attempt, although the parent had been retried
      on another worker.
    - Counts of losses of a run were taken back while the run was in the history.
    """
    simulate(seed)


def test_the_seeds_meet_every_fault() -> None:
    """Without this test, green seeds could mean that no fault occurred."""
    met: Counter[str] = Counter()
    for seed in (*SEEDS_OF_EVERY_FAULT, *range(1, LONG_SEEDS + 1)):
        met.update(trace_of(seed).counts)
        if all(met[fault] for fault in FAULTS):
            break
    assert [fault for fault in FAULTS if not met[fault]] == []


def test_a_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    # This process has a random hash seed by default.
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    command = [sys.executable, "-m", "titan.sim", "--seeds", f"1..{TRACED_SEEDS}"]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    out = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout
    told = re.findall(r"digest (\w+)", out)
    assert told == [trace_of(seed).digest() for seed in range(1, TRACED_SEEDS + 1)]


def test_a_failure_prints_the_command_that_reproduces_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("titan.sim.oracle.oracle.Oracle.on_submitted", lambda *_: 1 / 0)
    with pytest.raises(SimulationFailed, match=r"python -m titan\.sim --seed 3 --without loss --trace"):
        simulate(3, without=("loss",))
    assert main(["--seed", "3", "--trace"]) == 1
    printed = capsys.readouterr().out
    assert "master: starts at sequence 0" in printed
    assert "reproduce with: python -m titan.sim --seed 3 --trace" in printed


def test_a_seed_can_be_stopped_early(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "1", "--until", "10", "--trace"]) == 0
    assert "ok, 10 s" in capsys.readouterr().out
