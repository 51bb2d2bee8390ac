"""Checks of the handler of workers before the core gets an input."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from titan.content.blobs import put
from titan.content.directory import DirectoryStore
from titan.core import inputs
from titan.core.state.state import State
from titan.master.core_loop import CoreLoop
from titan.master.handlers.secrets import SecretHandler
from titan.master.handlers.workers import WorkerHandler
from titan.master.log_store import LogStore
from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.model.values import RAISED_AT, RETURNED_AT, by_content
from titan.net.peer import Peer
from titan.protocol import messages as msg

HERE = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
"""SHA-256 of b"foo"."""
GONE = "0" * 64


def value(hash_: str, tag: bytes = RETURNED_AT) -> bytes:
    return by_content(tag, bytes.fromhex(hash_), 3)


def test_a_result_whose_content_is_gone_is_tried_again(tmp_path: Path) -> None:
    """A worker that was disconnected for longer than the grace period may name content that was
    removed after its upload."""
    store = DirectoryStore(tmp_path / "files", spare_bytes=0)
    put(store, HERE, b"foo")
    told: list[Any] = []
    state = State()
    state.workers[1] = cast(Any, SimpleNamespace(held={}))
    core = cast(CoreLoop, SimpleNamespace(state=state, see=told.append))
    logs = LogStore(tmp_path / "logs")
    handler = WorkerHandler(core, logs, cast(SecretHandler, None), store, lambda run, job: None)
    n = 6
    results = msg.Results(
        0,
        list(range(1, n + 1)),
        [int(Outcome.SUCCEEDED)] * 5 + [int(Outcome.EXITED)],
        [0] * 5 + [1],
        [""] * n,
        [1.0] * n,
        [2.0] * n,
        [0.0] * n,
        [0] * n,
        [b"", b"i1", value(HERE), value(GONE), b"", value(GONE, RAISED_AT)],
        [(StoredFile("a", HERE, 3),), (), (), (), (StoredFile("a", HERE, 3), StoredFile("b", GONE, 3)), ()],
    )
    handler.on_results(cast(Peer, SimpleNamespace(worker=1, number=1)), results)
    logs.close()
    (heard,) = told
    assert isinstance(heard, inputs.ResultsReported)
    assert heard.outcomes == [0, 0, 0, Outcome.BROKEN, Outcome.BROKEN, Outcome.BROKEN]
    assert heard.reasons[3:5] == [
        "its result is not on the master's disk any more",
        "output 'b' is not on the master's disk any more",
    ]
    assert heard.values == [b"", b"i1", value(HERE), b"", b"", b""]
