"""Events about files; see `events`."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.files import Published


class ArtifactPublished(Fact, frozen=True, tag="artifact_published"):
    """A file is published under a key: of a run, or shared (`run` "")."""

    run: str
    key: str
    version: Published
    at: float
    actor: str = ""


class ArtifactRemoved(Fact, frozen=True, tag="artifact_removed"):
    """A shared key is gone."""

    key: str
    at: float
    actor: str = ""
