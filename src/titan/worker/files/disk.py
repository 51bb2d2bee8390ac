"""The disk of a worker's home: how much is free, what the master was told of that, and how a
refusal is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from titan.model.disk import FREE_DISK, Facts, news_of


def why_lost(number: int, text: str = "") -> str:
    """Why output is lost that the system refused with this errno."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of its worker is full ({os.strerror(number)})"
    return f"its worker cannot write it ({text or os.strerror(number)})"


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
