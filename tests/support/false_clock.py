"""Processes whose wall clock is set while they run, by libfaketime; their monotonic clock goes on as it is."""

from __future__ import annotations

from pathlib import Path

import pytest


class FalseClock:
    """`environment` is for a process; `set` moves its wall clock, now and for what it starts."""

    def __init__(self, file: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("libfaketime is not installed: sh tests/packages.sh")
        self._file = file
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: float) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{ahead_s:+.0f}\n")
        part.replace(self._file)
