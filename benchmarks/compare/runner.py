"""Runner of the turns: for each workload, each peer has one turn per round. A peer is started again
for every turn and runs alone.

So the figures of two peers in one round are measured within seconds, and idle processes of one peer
do not disturb another. The start is not timed. A warm-up comes before each measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from benchmarks.compare import confine
from benchmarks.compare.peer import Peer
from benchmarks.compare.workloads import WORKLOADS, Workload

ROOT = Path(__file__).resolve().parents[2]
START_S = 90.0
RUN_S = 120.0
STOP_S = 15.0
ROUND_S = 7.0
"""Intended duration of a round, where the number of tasks follows the peer's pace."""


class Failed(Exception):
    """A peer could not do its work. The message is for the report."""


class Cell(msgspec.Struct):
    """Results of one peer for one workload."""

    count: int = 0
    """Number of tasks in each round."""
    figures: dict[str, list[float]] = {}
    """Metric -> one figure per round."""
    error: str = ""
    """Reason why there are no figures, or no further ones."""


class Turn:
    """Turn of a peer, which is started for one workload. `with Turn(...) as turn:
    turn.run(100)`."""

    def __init__(self, peer: str, workload: str, scratch: Path | None = None) -> None:
        self._words = [peer, workload]
        self._scratch = scratch

    def __enter__(self) -> Self:
        # The path is short, because a peer puts sockets below it, and the path of a socket has at
        # most 108 bytes.
        self._home = Path(tempfile.mkdtemp(prefix="tb-", dir=self._scratch))
        try:
            self._start()
            self._answer(START_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._host.terminate()  # the host may be in the middle of its work
        self.close()

    def _start(self) -> None:
        self._answers, answer = os.pipe()
        self._unread = b""
        (self._home / "tmp").mkdir()
        with (self._home / "log").open("wb") as log:
            self._host = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.compare.host", *self._words, str(answer)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=environment(self._home),
                pass_fds=(answer,),
                start_new_session=True,
            )
        os.close(answer)

    def run(self, count: int) -> dict[str, float]:
        """Do the work once, with this number of tasks. Return a figure for each metric. Raises
        Failed."""
        assert self._host.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._host.stdin.write(b"%d\n" % count)
            self._host.stdin.flush()
        return self._answer(RUN_S)

    def _answer(self, patience_s: float) -> dict[str, Any]:
        until = time.monotonic() + patience_s
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise Failed(f"no answer within {patience_s:g} s")
            data = os.read(self._answers, 65536)
            if not data:
                raise Failed(self._last_words())
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise Failed(clean(said["error"]))
        return said

    def _last_words(self) -> str:
        code = self._host.wait(STOP_S)
        said = (self._home / "log").read_text(errors="replace").strip()
        return clean(f"its process ended with code {code}: {said[said.rfind(chr(10)) + 1 :]}")

    def close(self) -> None:
        host = getattr(self, "_host", None)
        try:
            if host is not None:
                with contextlib.suppress(OSError):
                    host.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    host.wait(STOP_S)
        finally:
            confine.end_descendants()
            if host is not None:
                host.wait()
                os.close(self._answers)
            shutil.rmtree(self._home, ignore_errors=True)


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a host and of all that it starts. The programs of our interpreter
    come first, and the home is a folder of its own."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "USER") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home / "tmp")}


def clean(message: str) -> str:
    """Return the message without paths of this machine, short enough for the foot of a table."""
    line = message.strip().partition("\n")[0]
    return re.sub(r"(?<![\w.:/])/[\w.@+~-]+(?:/[\w.@+~-]+)+", "a path", line)[:300]


class Plan(msgspec.Struct, frozen=True):
    workloads: list[str]
    peers: dict[str, type[Peer]]
    """Peers that can run here, by name."""
    rounds: int
    quick: bool = False
    scratch: Path | None = None


def measure(plan: Plan, tell: Callable[[str], None]) -> dict[str, dict[str, Cell]]:
    """Return workload -> peer -> cell, for the peers that offer the workload."""
    found: dict[str, dict[str, Cell]] = {}
    for name in plan.workloads:
        workload = WORKLOADS[name]
        cells = {peer: Cell() for peer, cls in plan.peers.items() if cls.offers(workload.work)}
        found[name] = cells
        for turn in range(plan.rounds):
            for peer, cell in cells.items():
                if cell.error:
                    continue
                try:
                    take_turn(plan, workload, peer, cell)
                    said = ", ".join(f"{cell.figures[m.name][-1]:,.4g} {m.unit}" for m in workload.metrics)
                except Failed as error:
                    cell.error = str(error)
                    said = cell.error
                tell(f"{name}, round {turn + 1} of {plan.rounds}: {peer} {said}")
    return found


def take_turn(plan: Plan, workload: Workload, peer: str, cell: Cell) -> None:
    with Turn(peer, workload.name, plan.scratch) as turn:
        if plan.quick:
            cell.count = workload.quick
        elif not cell.count:
            cell.count = settle(workload, turn)
        else:
            turn.run(workload.first)
        figures = turn.run(cell.count)
    for name, figure in figures.items():
        cell.figures.setdefault(name, []).append(figure)


def settle(workload: Workload, turn: Turn) -> int:
    """Return the number of tasks in the rounds of this peer. The measurements for this also warm
    the peer up."""
    count = workload.first
    while True:
        began = time.perf_counter()
        turn.run(count)
        took = time.perf_counter() - began
        if not workload.scaled:
            return workload.most
        if took >= 1.0 or count == workload.most:
            return rounded(min(workload.most, count * ROUND_S / took))
        count = min(workload.most, count * 5)


def rounded(count: float) -> int:
    """Return the count rounded down to two significant digits."""
    size: int = 10 ** max(0, len(str(int(count))) - 2)
    return max(1, int(count) // size * size)
