"""Writers of events about published files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import State
from titan.model.files import MAX_VERSIONS


def _artifact_published(state: State, e: ev.ArtifactPublished) -> None:
    keys = state.runs[e.run].published if e.run else state.published
    versions = [v for v in keys.get(e.key, ()) if v.hash != e.version.hash]
    keys[e.key] = [*versions, e.version][-MAX_VERSIONS:]


def _artifact_removed(state: State, e: ev.ArtifactRemoved) -> None:
    del state.published[e.key]


WRITERS: dict[type, Callable[[State, Any], None]] = {
    ev.ArtifactPublished: _artifact_published,
    ev.ArtifactRemoved: _artifact_removed,
}
