"""Events about secrets; see `events`. No event contains the value of a secret."""

from __future__ import annotations

from titan.core.events.base import Fact


class SecretChanged(Fact, frozen=True, tag="secret_changed"):
    """A secret was set, for the `version`th time, or removed (`version` 0)."""

    name: str
    version: int
    at: float
    actor: str = ""
