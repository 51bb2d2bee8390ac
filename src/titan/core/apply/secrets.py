"""Writer of the event SecretChanged, which changes nothing. The event is a record for people, and
the state has no secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State


def _secret_changed(state: State, e: ev.SecretChanged) -> None:
    """Do nothing: the shell has already changed the vault."""


WRITERS: dict[type, Callable[[State, Any], None]] = {ev.SecretChanged: _secret_changed}
