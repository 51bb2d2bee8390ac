"""Writer of the event SecretChanged. The state has the versions of the secrets, never their values:
the shell has already changed the vault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State


def _secret_changed(state: State, e: ev.SecretChanged) -> None:
    if e.version:
        state.secret_versions[e.name] = (e.version, e.at)
    else:
        state.secret_versions.pop(e.name, None)


WRITERS: dict[type, Callable[[State, Any], None]] = {ev.SecretChanged: _secret_changed}
