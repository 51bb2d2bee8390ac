"""What was written in TitanStore; see `apply_store`."""

from __future__ import annotations

from titan.core import events as ev
from titan.core import inputs as seen
from titan.core.turn import Turn


def on_store_written(turn: Turn, it: seen.StoreWritten) -> None:
    turn.emit(ev.StoreChanged([db for db, _ in it.changes], [args for _, args in it.changes], turn.now))
