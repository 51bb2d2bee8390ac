"""Handler of writes to TitanStore, which become events; see `apply.store`."""

from __future__ import annotations

from titan.core import inputs
from titan.core.events import events as ev
from titan.core.turn import Turn


def on_store_written(turn: Turn, received: inputs.StoreWritten) -> None:
    turn.emit(ev.StoreChanged([db for db, _ in received.changes], [args for _, args in received.changes], turn.now))
