"""A function runner that uses too much memory is replaced between two calls. No call is lost or
made twice."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster


def keep(n: int) -> tuple[int, int]:
    """Leave 8 MiB in use in this process, and return its pid."""
    import os
    import sys
    import time

    sys.modules.setdefault("kept", type(sys)("kept")).__dict__[f"block{n}"] = b"x" * (8 << 20)
    time.sleep(0.02)  # 120 calls take 2.4 s, and a runner checks its memory every 0.5 s
    return n, os.getpid()


def test_a_runner_over_its_memory_is_replaced(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings=FAST) as c:
        given = ("--master", c.address, "--name", "w1", "--slots", "1", "--home", str(c.worker_home("w1")))
        c.workers["w1"] = c.spawn("worker", *given, env={"TITAN_RUNNER_MEMORY": "200M"}, label="w1")
        c.wait_for_workers("w1")
        done = list(c.client.map(keep, range(120), timeout=60.0))
    assert [n for n, _ in done] == list(range(120))
    runners = list(dict.fromkeys(pid for _, pid in done))
    assert 3 <= len(runners) <= 30, runners
    most = max(sum(pid == runner for _, pid in done) for runner in runners)
    assert most * 8 < 600, f"a runner went on with {most * 8} MiB"
