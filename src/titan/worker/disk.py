"""Looks at how much is free on the disk of a worker's home, which takes microseconds, and remembers what the master was told."""

from __future__ import annotations

import os
from pathlib import Path

from titan.model.disk import FREE_DISK, Facts, news_of


class DiskWatch:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._told: Facts = {}

    def facts(self) -> dict[str, str | int | float]:
        """For a registration: the master knows them from now on."""
        found = self._look()
        self._told = found
        return found

    def news(self) -> dict[str, str | int | float]:
        """For a heartbeat: what has changed since."""
        found = news_of(self._look(), self._told)
        self._told = {**self._told, **found}
        return found

    def _look(self) -> dict[str, str | int | float]:
        """{} if the home is gone, which others notice, or on a file system that does not count."""
        try:
            disk = os.statvfs(self._home)
        except OSError:
            return {}
        return {FREE_DISK: disk.f_bavail * disk.f_frsize} if disk.f_blocks else {}
