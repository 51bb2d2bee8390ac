"""TitanStore within the state: what was done there becomes an event like any other, so one recovery
restores jobs and data alike.

The store executes commands itself, and each leaves the commands that repeat what it did. Live these
have been done when the event is applied; in recovery, and where the store is not live, they are
repeated.
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
