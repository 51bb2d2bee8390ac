"""The screen of `titan top`."""

from __future__ import annotations

import pytest

from titan.cli.table import width_of
from titan.cli.top import ClusterView
from titan.sdk.cluster_changes import ClusterChange, Queue
from titan.sdk.status import RunSummary, WorkerStatus

NOW = 1_700_000_000.0


def run(name: str, state: str = "RUNNING", dag: str = "etl") -> RunSummary:
    return RunSummary(name, dag, "1", state, 4, {"COMPLETED": 1, "RUNNING": 3}, NOW - 90, None)


def worker(name: str, state: str = "ALIVE", held: int = 1) -> WorkerStatus:
    return WorkerStatus(name, state, ("GENERAL", "GPU"), 4, held, NOW - 2, NOW - 100, {"host": "box"})


def change(
    *runs: RunSummary,
    workers: tuple[WorkerStatus, ...] = (),
    queues: tuple[Queue, ...] = (),
    gone: tuple[str, ...] = (),
    first: bool = False,
    gates: int = 0,
) -> ClusterChange:
    queued = sum(queue.jobs for queue in queues)
    return ClusterChange(first, NOW, list(runs), list(workers), list(gone), list(queues), len(queues), queued, 2, gates, 0, [])


def shown(view: ClusterView, columns: int = 100, rows: int = 40) -> str:
    return "\n".join(view.lines(columns, rows, NOW))


def test_the_screen_shows_workers_queues_and_runs() -> None:
    view = ClusterView("127.0.0.1:9090")
    assert "waiting for the master at 127.0.0.1:9090" in shown(view)
    view.take(change(run("r1"), workers=(worker("w1"),), queues=(Queue("GPU, cpus 2", 1200, NOW - 30, None),), first=True, gates=2))
    text = shown(view)
    assert "127.0.0.1:9090: 1 of 1 workers alive, 1 of 4 slots busy\n2 runs open, 1,200 jobs queued" in text
    assert "2 gates wait for a decision: titan gates" in text
    assert "GPU, cpus 2  1,200   30 s ago" in text
    assert "r1   etl  RUNNING  1/4   2 min ago" in text


def test_changes_replace_rows_and_a_new_beginning_replaces_all() -> None:
    view = ClusterView("m")
    view.take(change(run("r1"), run("r2"), workers=(worker("w1"), worker("w2")), first=True))
    view.take(change(run("r1", "COMPLETED"), workers=(worker("w1", "LOST"),), gone=("w2",)))
    text = shown(view)
    assert "r1   etl  COMPLETED" in text and "LOST" in text and "w2" not in text
    assert text.index("r2") < text.index("r1"), "open runs come first"
    view.take(change(run("r3"), first=True))
    assert "r1" not in shown(view) and "w1" not in shown(view)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 12), (200, 60), (20, 6)])
def test_the_screen_fits_the_terminal(columns: int, rows: int) -> None:
    view = ClusterView("a-host-with-a-rather-long-name.example:9090")
    hostile = run("r0", dag="\x1b[31m<b>\u202e\n" + "長" * 60)
    queues = tuple(Queue(f"CAPABILITY_{i}", i, NOW, None) for i in range(100))
    view.take(
        change(
            hostile,
            *(run(f"r{i}") for i in range(300)),
            workers=tuple(worker(f"worker-{i}") for i in range(100)),
            queues=queues,
            first=True,
            gates=3,
        )
    )
    lines = view.lines(columns, rows, NOW)
    assert len(lines) <= rows
    assert max(map(width_of, lines)) <= columns
    assert all(line.isprintable() for line in lines)
    if rows >= 24:
        assert any(line.endswith("more runs") for line in lines), "what is left out is said"
