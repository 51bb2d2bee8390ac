"""Two pending changes of a cluster have the effect of one that replaces them."""

from __future__ import annotations

from titan.protocol import messages as msg
from titan.sdk.cluster_changes import merged


def run(name: str, state: int = 0) -> msg.RunRow:
    return msg.RunRow(name, "d", "1", state, 1, [1], 1.0, 0.0)


def worker(name: str, held: int = 0) -> msg.WorkerRow:
    return msg.WorkerRow(name, "ALIVE", ("GENERAL",), 4, held, 1.0, 1.0, {})


def change(
    *runs: msg.RunRow, workers: tuple[msg.WorkerRow, ...] = (), gone: tuple[str, ...] = (), first: bool = False, queued: int = 0
) -> msg.ClusterChanges:
    return msg.ClusterChanges(4, 1.0, first, list(runs), list(workers), list(gone), [], 0, queued)


def test_the_newest_row_of_each_run_and_worker_stays() -> None:
    both = merged(
        change(run("a"), run("b"), workers=(worker("w1"), worker("w2")), first=True, queued=1),
        change(run("a", 1), workers=(worker("w1", 3),), queued=2),
    )
    assert both == change(run("a", 1), run("b"), workers=(worker("w1", 3), worker("w2")), first=True, queued=2)


def test_a_worker_that_went_and_came_again_is_there() -> None:
    assert merged(change(gone=("w1",)), change(workers=(worker("w1"),))) == change(workers=(worker("w1"),))
    assert merged(change(workers=(worker("w1"),)), change(gone=("w1",))) == change(gone=("w1",))


def test_the_present_state_after_a_reconnection_replaces_what_was_pending() -> None:
    assert merged(change(run("a")), change(run("b"), first=True)) == change(run("b"), first=True)
