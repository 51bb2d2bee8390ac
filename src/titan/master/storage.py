"""Storage of a master's log.

Only this module chooses an engine. All other modules use the interface (`journal.engine`).
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

from titan import core, model
from titan._version import __version__
from titan.journal import SyncPolicy
from titan.journal.engine import LogEngine
from titan.journal.file_engine import FileEngine
from titan.journal.memory_engine import NoLog


def open_storage(
    location: str | Path, *, policy: SyncPolicy | None = SyncPolicy.ALWAYS, places: tuple[Path, ...] = ()
) -> LogEngine:
    """Return the engine of the log at `location` (see `LogEngine.location`), without opening files.

    No log is kept if `policy` is None. `places` are files and folders that must stay at their
    paths. If one of them is moved or replaced, no further record becomes durable.
    """
    if policy is None:
        return NoLog()
    return FileEngine(Path(location), policy=policy, places=places, origin=origin())


def store_of(home: Path) -> Path:
    """Return the directory of a home's log."""
    return home / "store"


@cache
def origin() -> bytes:
    """Return the origin for new records, at most 32 bytes: the version and a digest of the code.

    The digest covers the packages that define events and snapshots.
    """
    digest = 0
    for package in (core, model):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest = zlib.crc32(path.read_bytes(), digest)
    return f"{__version__[:22]} {digest:08x}".encode()
