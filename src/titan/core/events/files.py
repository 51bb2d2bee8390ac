"""Events about files; see `events`."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.files import Published


class ArtifactPublished(Fact, frozen=True, tag="artifact_published"):
    """A file was published under a key of a run, or under a shared key if `run` is ""."""

    run: str
    key: str
    version: Published
    at: float
    actor: str = ""


class ArtifactRemoved(Fact, frozen=True, tag="artifact_removed"):
    """A shared key was removed."""

    key: str
    at: float
    actor: str = ""
