"""Workloads: their sizes, the meaning of their figures, and the check of their results."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare.peer import Peer


class Metric(NamedTuple):
    name: str
    title: str
    unit: str
    more_is_better: bool


class Workload(NamedTuple):
    name: str
    work: str
    """Method of a peer that does the work."""
    metrics: tuple[Metric, ...]
    measure: Callable[[Peer, int], dict[str, float]]
    """Does the work once, with this number of tasks. Returns a figure for each metric. Raises
    Wrong."""
    first: int
    """Number of tasks with which a peer's pace is measured."""
    most: int
    """Maximum number of tasks in a round."""
    quick: int
    scaled: bool = True
    """True if the number of tasks follows the peer's pace; otherwise every round has `most`
    tasks."""
    needs: str = ""
    """Module without which the work cannot be done."""


class Wrong(Exception):
    """A peer gave a wrong result."""


def expect(*, condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def _functions(peer: Peer, count: int) -> dict[str, float]:
    began = time.perf_counter()
    results = list(peer.functions(count))
    took = time.perf_counter() - began
    expect(condition=results == list(range(count)), what="some results are missing or wrong")
    return {"rate": count / took}


def _chain(peer: Peer, length: int) -> dict[str, float]:
    began = time.perf_counter()
    result = peer.chain(length)
    took = time.perf_counter() - began
    expect(condition=result == length, what=f"a chain of {length} gave {result}")
    return {"rate": length / took}


def _call(peer: Peer, count: int) -> dict[str, float]:
    took = []
    for i in range(count):
        began = time.perf_counter()
        result = peer.call(i)
        took.append((time.perf_counter() - began) * 1e3)
        expect(condition=result == i, what=f"same({i}) gave {result}")
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}


BLOB = 10_000_000


def _blobs(peer: Peer, count: int) -> dict[str, float]:
    seen = []
    began = time.perf_counter()
    for data in peer.blobs(count, BLOB):
        expect(condition=len(data) == BLOB and data[0] == data[-1], what="a result came back damaged")
        seen.append(data[0])
    took = time.perf_counter() - began
    expect(condition=sorted(seen) == sorted(i % 256 for i in range(count)), what="some results are missing")
    return {"pace": count * BLOB / 1e6 / took}


NOOP = ""
NUMPY = "import numpy\nassert numpy.arange(4).sum() == 6\n"


def _write(peer: Peer, name: str, text: str) -> Path:
    path = peer.home / name
    if not path.exists():
        path.write_text(text)
    return path


def _scripts(text: str) -> Callable[[Peer, int], dict[str, float]]:
    def measure(peer: Peer, count: int) -> dict[str, float]:
        script = _write(peer, "script.py", text)
        began = time.perf_counter()
        took = peer.scripts(script, count)
        return {"rate": count / (took or time.perf_counter() - began)}

    return measure


def _processes(peer: Peer, count: int) -> dict[str, float]:
    began = time.perf_counter()
    took = peer.processes(count)
    return {"rate": count / (took or time.perf_counter() - began)}


def _script(peer: Peer, count: int) -> dict[str, float]:
    script = _write(peer, "script.py", NOOP)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        peer.script(script)
        took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return {"p50": took[len(took) // 2]}


WORKLOADS = {
    each.name: each
    for each in (
        Workload(
            "functions", "functions",
            (Metric("rate", "no-op functions, one task each", "calls/s", True),),
            _functions, first=200, most=100_000, quick=300,
        ),
        Workload(
            "chain", "chain",
            (Metric("rate", "a chain of 1,000 dependent functions", "calls/s", True),),
            _chain, first=20, most=1_000, quick=20, scaled=False,
        ),
        Workload(
            "latency", "call",
            (
                Metric("p50", "one function, nothing else to do: median", "ms", False),
                Metric("p99", "one function, nothing else to do: 99th percentile", "ms", False),
            ),
            _call, first=20, most=300, quick=20, scaled=False,
        ),
        Workload(
            "blobs", "blobs",
            (Metric("pace", "100 functions that return 10 MB each", "MB/s", True),),
            _blobs, first=4, most=100, quick=4, scaled=False,
        ),
        Workload(
            "scripts", "scripts",
            (Metric("rate", "no-op Python scripts", "scripts/s", True),),
            _scripts(NOOP), first=40, most=5_000, quick=20,
        ),
        Workload(
            "numpy", "scripts",
            (Metric("rate", "Python scripts that import numpy", "scripts/s", True),),
            _scripts(NUMPY), first=20, most=5_000, quick=10, needs="numpy",
        ),
        Workload(
            "script-latency", "script",
            (Metric("p50", "one no-op Python script, nothing else to do: median", "ms", False),),
            _script, first=10, most=100, quick=5, scaled=False,
        ),
        Workload(
            "true", "processes",
            (Metric("rate", "the program `true`", "processes/s", True),),
            _processes, first=100, most=10_000, quick=50,
        ),
    )
}  # fmt: skip
