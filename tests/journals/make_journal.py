"""Writes the journal of this version for tests/journals: every durable event, and a snapshot in the
middle.

    python tests/journals/make_journal.py tests/journals/v1

Run this once when the format changes, into a new folder. The older folders are never changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from titan.core import inputs
from titan.core.events.events import encode
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.step import step
from titan.journal import JournalWriter, SyncPolicy, write_snapshot
from titan.model.dag import DagSpec, JobTemplate
from titan.model.settings import Settings
from titan.model.states import Outcome

DAG = DagSpec(
    name="old",
    version="1",
    templates=[
        JobTemplate(command="true"),
        JobTemplate(argv=("false",), retries=1, delay_s=2.0, env=(("A", "b"),)),
        JobTemplate(file="x.py", file_hash="0" * 64, affinity=True, timeout_s=9.0, priority=5),
        JobTemplate(command="nvidia-smi", requirement="GPU"),
    ],
    ids=["a", "b", "c", "d", "e"],
    template_of=[0, 1, 2, 3, 0],
    args=[(), ("x", "y"), (), (), ()],
    parents=[(), (), ("a",), (), ("b", "c")],
)


Moment = Callable[[State], list[inputs.Input]]


def held(state: State, worker: int) -> int:
    """Return the lease of the attempt that the worker has."""
    return next(iter(state.workers[worker].held))


def ends(worker: int, outcome: Outcome) -> Moment:
    code = 0 if outcome is Outcome.SUCCEEDED else 3

    def moment(state: State) -> list[inputs.Input]:
        lease = held(state, worker)
        started = inputs.AttemptsStarted(worker, [lease], [1.5])
        return [started, inputs.ResultsReported(worker, [lease], [outcome], [code], ["why"], [1.5], [2.5], [0.5], [4096], 0.5)]

    return moment


def sees(*inputs: inputs.Input) -> Moment:
    return lambda state: list(inputs)


def comes(name: str, incarnation: str, *leases: int) -> inputs.WorkerRegistered:
    return inputs.WorkerRegistered(7, 1, name, incarnation, ("GENERAL",), 1, {"host": "h"}, list(leases), [0.0] * len(leases))


def script() -> list[tuple[float, Moment]]:
    """Run a script that leaves at least one event of each durable kind."""
    return [
        (1.0, sees(inputs.MasterBooted("cluster", 1))),
        (
            2.0,
            sees(comes("w1", "1"), inputs.DagSubmitted(9, 1, "run1", "key1", DAG), inputs.DagSubmitted(9, 2, "run2", "key2", DAG)),
        ),
        (3.0, ends(1, Outcome.SUCCEEDED)),
        (4.0, ends(1, Outcome.SUCCEEDED)),
        (5.0, sees(inputs.TimePassed())),
        (5.5, ends(1, Outcome.EXITED)),
        (6.0, sees(inputs.CancelRequested(9, 3, "run2", ""))),
        (9.0, sees(inputs.TimePassed())),
        (20.0, sees(comes("w1", "2", 99), comes("w2", "1"), inputs.WorkerBeat(1, [], []))),
        (20.5, sees(inputs.DagSubmitted(9, 4, "run3", "key3", DAG))),
        (21.0, sees(inputs.WorkerDraining(1), inputs.WorkerDraining(2))),
        (22.0, ends(1, Outcome.REFUSED)),
        (23.0, ends(2, Outcome.SUCCEEDED)),
        (24.0, sees(inputs.WorkerLeaving(2))),
        (60.0, sees(inputs.TimePassed())),
    ]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    state = State(Settings(prefetch=0))
    synced: list[int] = []
    writer = JournalWriter(
        folder, next_seq=1, term=1, policy=SyncPolicy.ALWAYS, segment_bytes=64 * 1024, on_synced=synced.append, on_failed=print
    )
    half = len(script()) // 2
    for i, (now, moment) in enumerate(script()):
        payload, count = encode(step(state, now, moment(state)).events)
        if count:
            last = writer.append(payload, count)
        if i == half:
            writer.rotate()
            written = (last, state.term, list(snapshot.dump(state)))
    writer.close()
    write_snapshot(folder, seq=written[0], term=written[1], chunks=written[2])
    chunks = [len(chunk).to_bytes(4, "big") + chunk for chunk in snapshot.dump(state)]
    (folder / "state.bin").write_bytes(b"".join(chunks))


if __name__ == "__main__":
    main()
