"""Writer of the event StoreChanged. One recovery thus restores both jobs and store data.

The store executes commands itself, and returns for each command the commands that repeat its
effect. In the process that executed the client's commands, the effect is already in the store when
the event is applied. In recovery, and in processes without a live store, this writer executes the
repeating commands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State


def _on_store_changed(state: State, e: ev.StoreChanged) -> None:
    if not state.store_is_live:
        replay = state.store.replay
        for db, args in zip(e.databases, e.commands, strict=True):
            replay(db, args)


WRITERS: dict[type, Callable[[State, Any], None]] = {ev.StoreChanged: _on_store_changed}
