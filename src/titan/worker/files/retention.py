"""Retention of what runs leave on a worker: how long, and how many bytes.

Owns the rule which folders of runs are removed. Must not know jobs: the caller names the runs in
use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from titan.host.folder_size import folder_bytes
from titan.model.durations import EXAMPLE, duration_text, parse_duration
from titan.model.sizes import SIZE_RULE, format_size, parse_size

KEEP_S = 7 * 86_400.0
LEAST_S = 60.0
SWEEP_S = 3600.0
SIZED_SWEEP_S = 60.0
"""Pause between two sweeps if the size is limited."""
ARTIFACT_S = 3600.0
"""Shortest time for which scripts and archives are kept, because jobs that wait need them."""


class Retention(NamedTuple):
    keep_s: float = KEEP_S
    """Seconds for which the folder of a run is kept after its last change."""
    keep_bytes: int = 0
    """Bytes that the folders of runs may take, 0 for no limit."""

    @property
    def pause_s(self) -> float:
        """Pause between two sweeps."""
        often = SIZED_SWEEP_S if self.keep_bytes else SWEEP_S
        return max(min(often, self.keep_s / 4), LEAST_S / 4)

    @property
    def keep_option(self) -> str:
        return f"--keep {duration_text(self.keep_s)}"

    @property
    def size_option(self) -> str:
        return f"--keep-size {format_size(self.keep_bytes).replace(' ', '')}"


KEEP_WEEK = Retention()


def keep_duration(text: str) -> float:
    """Return the seconds of a --keep option. Raises ValueError."""
    seconds = parse_duration(text)
    if seconds is None:
        raise ValueError(f"give {EXAMPLE}" if parse_duration(f"{text}s") is None else f"give a unit, as in {text}s or 7d")
    if seconds < LEAST_S:
        raise ValueError("must be at least 1m")
    return seconds


def keep_size(text: str) -> int:
    """Return the bytes of a --keep-size option. Raises ValueError."""
    size = parse_size(text)
    if size is None:
        raise ValueError(f"give {SIZE_RULE}")
    if size < 1 << 20:
        raise ValueError("must be at least 1MiB")
    return size


def over_limit(parents: Iterable[str], keep_bytes: int, in_use: Callable[[str], bool]) -> list[str]:
    """Return the folders of the runs to remove until the folders take at most `keep_bytes`. The
    oldest go first. Runs in use count, and stay."""
    found: dict[str, tuple[float, int, list[str]]] = {}
    for parent in parents:
        for entry in list(os.scandir(parent)):
            with suppress(FileNotFoundError):
                changed, size, paths = found.get(entry.name, (0.0, 0, []))
                changed = max(changed, entry.stat(follow_symlinks=False).st_mtime)
                found[entry.name] = (changed, size + folder_bytes(entry.path), [*paths, entry.path])
    total = sum(size for _, size, _ in found.values())
    removed: list[str] = []
    for run, (_, size, paths) in sorted(found.items(), key=lambda item: item[1][0]):
        if total <= keep_bytes:
            break
        if not in_use(run):
            removed += paths
            total -= size
    return removed
