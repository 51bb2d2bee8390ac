"""Writes what events say of secrets: nothing. They are a record for people, and the state has no
secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State


def _secret_changed(state: State, e: ev.SecretChanged) -> None:
    """The vault has the change."""


WRITERS: dict[type, Callable[[State, Any], None]] = {ev.SecretChanged: _secret_changed}
