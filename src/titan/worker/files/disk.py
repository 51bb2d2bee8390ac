"""Disk of a worker's home: its free space, the free space last reported to the master, and the
error texts for refused writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from titan.host.free_space import free_space
from titan.model.disk import FREE_DISK, Facts, news_of


def why_lost(number: int, text: str = "") -> str:
    """Return the reason why output is lost. The system refused to write it with errno `number`."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of its worker is full ({os.strerror(number)})"
    if number == errno.EOWNERDEAD:
        return "the process that kept its last part was killed"
    return f"its worker cannot write it ({text or os.strerror(number)})"


class DiskWatch:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._reported: Facts = {}

    def facts(self) -> dict[str, str | int | float]:
        """Return all facts for a registration, and record them as reported."""
        found = self._measure()
        self._reported = found
        return found

    def news(self) -> dict[str, str | int | float]:
        """Return the facts that changed since the last report, for a heartbeat, and record them as
        reported."""
        found = news_of(self._measure(), self._reported)
        self._reported = {**self._reported, **found}
        return found

    def _measure(self) -> dict[str, str | int | float]:
        """Return the free space. The result is empty if the home is gone, which other code reports,
        or if the file system does not count space."""
        space = free_space(self._home)
        return {FREE_DISK: space.free} if space.total else {}
