"""Processes whose wall clock a test sets while they run, by libfaketime. Their monotonic clock is
not changed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

SLEEP = """\
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
"""Replacement of time.sleep in these processes. time.sleep calls clock_nanosleep with a time of the
monotonic clock. libfaketime takes it for a time of the wall clock, and the call fails with EINVAL.
Programs that run with -I, such as wardens, do not load the replacement. Wardens only sleep when
they end."""


def libraries() -> list[Path]:
    return sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def remove_leftovers() -> None:
    """Remove the shared memory that processes under libfaketime leave when they are killed."""
    for file in Path("/dev/shm").glob("*faketime_*"):
        pid = re.fullmatch(r"(?:sem\.)?faketime_(?:shm|sem)_(\d+)", file.name)
        if pid is not None and not Path(f"/proc/{pid[1]}").exists():
            file.unlink(missing_ok=True)


class FalseClock:
    """False wall clock. `environment` is the environment for a process. `set` sets the wall clock
    of that process and of all processes that it starts."""

    def __init__(self, file: Path) -> None:
        found = libraries()
        if not found:
            pytest.skip("libfaketime is not installed: sh tests/packages.sh")
        self._file = file
        folder = file.with_suffix(".python")
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(SLEEP)
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: float) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{ahead_s:+.0f}\n")
        part.replace(self._file)
