"""Writer of the event that TitanStore changed. One recovery thus restores jobs and data alike.

The store executes commands itself, and each command leaves the commands that repeat its effect.
Live, their effect is already in the store when the event is applied. In recovery, and where the
store is not live, they are repeated.
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
