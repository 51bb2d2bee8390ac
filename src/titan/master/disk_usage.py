"""Measurement of the disk space that a master's home takes, by sort of files and by run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from titan.host.folder_size import FolderSizes, entries_of
from titan.host.free_space import free_space
from titan.master.log_store import SUFFIX
from titan.master.storage import store_of
from titan.model.names import is_name

JOURNAL, SNAPSHOTS, LOGS, CONTENT, HISTORY, OTHER = "journal", "snapshots", "logs", "content", "history", "other"


class Usage(NamedTuple):
    places: dict[str, int]
    logs: dict[str, int]
    """Run -> bytes of its output."""
    free: int
    total: int
    complete: bool


def measure(home: Path, sizes: FolderSizes) -> Usage:
    """Measure a home. May take long.

    Folders of workers in the home do not count, because their workers measure them.
    """
    places: Counter[str] = Counter()
    logs: dict[str, int] = {}
    for path in entries_of(store_of(home)):
        places[SNAPSHOTS if path.suffix == ".snap" else JOURNAL] += sizes.bytes_of(path)
    for path in entries_of(home / "logs"):
        size = sizes.bytes_of(path)
        places[LOGS] += size
        if path.suffix == SUFFIX and is_name(path.stem):
            logs[path.stem] = size
    for path in entries_of(home):
        if path.name.startswith("history.sqlite"):
            places[HISTORY] += sizes.bytes_of(path)
        elif path.name == "perm_files" or not path.is_dir():
            places[OTHER] += sizes.bytes_of(path)
    places[CONTENT] = sizes.bytes_of(home / "files")
    return Usage(dict(places), logs, *free_space(home), sizes.complete)
