"""Results report the output of jobs that the master could not keep, and only what is really
missing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.master.log_store import STDERR, STDOUT, LogStore
from titan.master.output_losses import MOST, OutputLosses

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogStore]:
    made = LogStore(tmp_path)
    yield made
    made.close()


def test_refused_output_that_did_not_arrive_again_is_lost(logs: LogStore) -> None:
    losses = OutputLosses(logs)
    assert not losses and losses.take("r", "j", 1) == ""
    logs.append("r", "j", 1, STDOUT, 0, b"x" * 100)
    losses.refused("r", "j", 1, STDOUT, 300, FULL)
    losses.skipped("r", "j", 1, STDOUT, 1500)
    losses.refused("r", "j", 1, STDERR, 20, FULL)
    losses.skipped("r", "other", 1, STDOUT, 1500)
    assert losses
    said = losses.take("r", "j", 1)
    assert said == "1,420 bytes could not be kept (the master's disk: No space left on device)"
    assert not losses


def test_refused_output_that_arrived_again_is_not_lost(logs: LogStore) -> None:
    losses = OutputLosses(logs)
    losses.refused("r", "j", 1, STDOUT, 300, FULL)
    logs.append("r", "j", 1, STDOUT, 0, b"x" * 300)
    assert losses.take("r", "j", 1) == ""


def test_output_that_the_disk_did_not_sync_is_reported_as_doubtful(logs: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = OutputLosses(logs)
    logs.append("r", "j", 1, STDOUT, 0, b"x")
    error = OSError(errno.EIO, os.strerror(errno.EIO))

    def fail(fd: int) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        assert logs.sync() == [("r", {("j", 1)}, error)]
    losses.doubted("r", "j", 1, error)
    assert losses.take("r", "j", 1) == "some of it could not be kept (the master's disk: Input/output error)"
    assert logs.sync() == []


def test_the_number_of_remembered_losses_is_limited(logs: LogStore) -> None:
    losses = OutputLosses(logs)
    for number in range(MOST + 10):
        losses.refused("r", f"j{number}", 1, STDOUT, 5, FULL)
    assert losses.take("r", "j0", 1) == "" and losses.take("r", f"j{MOST}", 1)
