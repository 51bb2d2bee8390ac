"""files/ of the master's home: what jobs left and what was published, by content, for as long as something refers to it.

    files/HASH              whole, and on disk
    files/KEY.part          on its way; after a cut, or a restart of the master, its sender goes on where it was

Scripts, archives and values are the registry's. Owns paths, room on the disk, and what may be removed; must not know who refers to
a file. All but `has` and `touch` may take as long as the disk does.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.master.registry import sync_directory
from titan.model.sizes import format_size

SPARE_BYTES = 64 << 20
"""What is left free on the disk: the journal may lie there."""
PART_S = 86_400.0
"""After this nobody goes on with what was cut."""
_HASH = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-f]{16,64}")


class KeptFiles:
    def __init__(self, folder: Path, *, spare_bytes: int = SPARE_BYTES) -> None:
        self.folder = folder
        self._spare_bytes = spare_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self.sweep_parts(())

    def has(self, hash_: str) -> bool:
        return _HASH.fullmatch(hash_) is not None and os.path.isfile(f"{self.folder}/{hash_}")

    def path(self, hash_: str) -> Path:
        """Raises NotFound."""
        if not self.has(hash_):
            raise NotFound(f"the master has no file {hash_[:12]!r} any more: run again the job that made it")
        return self.folder / hash_

    def touch(self, hash_: str) -> bool:
        """Whether it is here; then it stays for a while, whoever refers to it."""
        if not self.has(hash_):
            return False
        try:
            os.utime(self.folder / hash_)
        except OSError:
            return False
        return True

    def part(self, key: str) -> Path:
        """Where a file on its way lies. Raises CallerError."""
        if _KEY.fullmatch(key) is None:
            raise CallerError(f"{key[:80]!r} is no key of a sending: 16 to 64 hexadecimal digits")
        return self.folder / f"{key}.part"

    def expect_room(self, size: int) -> None:
        """For so many bytes more. Raises EnvironmentFault."""
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if size + self._spare_bytes > free:
            raise EnvironmentFault(
                f"the disk under the master's files is full: {format_size(free)} are free, and the file has {format_size(size)}:"
                " free space there, or let runs leave the history sooner (--set history_s, history_bytes)"
            )

    def enter(self, part: Path, hash_: str) -> None:
        """A part that is whole and synced becomes the file of that content."""
        part.rename(self.folder / hash_)
        sync_directory(self.folder)

    def all(self) -> dict[str, os.stat_result]:
        return {entry.name: entry.stat() for entry in os.scandir(self.folder) if _HASH.fullmatch(entry.name)}

    def remove_but(self, held: set[str], *, before: float) -> tuple[int, int]:
        """Removes what is not `held` and was not touched since `before`; returns how many files and bytes that were."""
        files = size = 0
        for name, about in self.all().items():
            if name not in held and about.st_mtime < before:
                (self.folder / name).unlink(missing_ok=True)
                files, size = files + 1, size + about.st_size
        return files, size

    def sweep_parts(self, active: tuple[Path, ...]) -> None:
        limit = time.time() - PART_S
        for path in self.folder.glob("*.part"):
            if path not in active and path.stat().st_mtime < limit:
                path.unlink(missing_ok=True)
