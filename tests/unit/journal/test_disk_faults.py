"""Disks that fail, are full or stop responding. An error is final, and nothing acknowledged is
lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from titan.errors import EnvironmentFault, JournalFailed
from titan.journal import JournalWriter, SyncPolicy, read_records, repair_tail, write_snapshot
from titan.journal.segments import OpenSegment

Told = SimpleQueue[int | JournalFailed]


def start(directory: Path, told: Told, *, segment_bytes: int = 4096, space_retry_s: float = 0.01) -> JournalWriter:
    return JournalWriter(
        directory,
        next_seq=1,
        term=1,
        policy=SyncPolicy.ALWAYS,
        segment_bytes=segment_bytes,
        on_synced=told.put,
        on_failed=told.put,
        space_retry_s=space_retry_s,
    )


def is_low(journal: JournalWriter) -> bool:
    # A function, because another thread changes the value, and a type checker would take it for a
    # constant.
    return journal.low_space


def fail_with(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def test_a_failed_sync_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    journal.append(b"good", 1)
    assert told.get(timeout=10) == 1
    calls = []

    def failing(fd: int) -> None:
        calls.append(fd)
        raise fail_with(errno.EIO)

    monkeypatch.setattr(os, "fdatasync", failing)
    journal.append(b"bad", 1)
    failure = told.get(timeout=10)
    assert isinstance(failure, JournalFailed) and not failure.retryable
    assert "Input/output error" in str(failure) and str(tmp_path) in str(failure) and "start the master again" in str(failure)
    monkeypatch.undo()
    for _ in range(2):
        with pytest.raises(JournalFailed, match="Input/output error"):
            journal.append(b"later", 1)
    journal.close()
    assert journal.failure is failure and journal.synced_seq == 1
    assert told.empty() and len(calls) == 1
    repair_tail(tmp_path)
    assert [r.payload for r in read_records(tmp_path)][:1] == [b"good"]


def test_a_failed_write_is_final_and_a_short_one_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: real(fd, [b"".join(buffers)[:10]], offset))
    journal.append(b"short", 1)
    assert told.get(timeout=10) == 1

    def failing(fd: int, buffers: list[bytes], offset: int) -> int:
        raise fail_with(errno.EIO)

    monkeypatch.setattr(os, "pwritev", failing)
    journal.append(b"bad", 1)
    assert isinstance(told.get(timeout=10), JournalFailed)
    journal.close()
    assert [r.payload for r in read_records(tmp_path)] == [b"short"]


def test_a_write_of_nothing_is_an_error_and_no_endless_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path / "x", os.O_RDWR | os.O_CREAT)
    segment = OpenSegment(tmp_path / "x", fd, first_seq=1, capacity=100)
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: 0)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    with pytest.raises(OSError, match="Input/output"):
        segment.write([b"abc"], 3)
    segment.close()


def test_a_callback_that_fails_stops_the_journal_and_is_reported(tmp_path: Path) -> None:
    told: Told = SimpleQueue()

    def broken(seq: int) -> None:
        raise RuntimeError("loop is closed")

    journal = JournalWriter(tmp_path, next_seq=1, term=1, policy=SyncPolicy.ALWAYS, on_synced=broken, on_failed=told.put)
    journal.append(b"a", 1)
    failure = told.get(timeout=10)
    assert isinstance(failure, JournalFailed) and "loop is closed" in str(failure)
    journal.close()


def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise fail_with(errno.ENOSPC)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JournalFailed, match=f"free space under {tmp_path} and start the master again"):
        start(tmp_path, SimpleQueue())
    assert list(tmp_path.iterdir()) == []


def test_low_space_is_tried_again_at_intervals_and_then_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, space_retry_s=3600)
    real, tries = os.posix_fallocate, []

    def full(fd: int, offset: int, size: int) -> None:
        tries.append(size)
        raise fail_with(errno.ENOSPC)

    monkeypatch.setattr(os, "posix_fallocate", full)
    for seq, size in ((1, 3000), (2, 10), (3, 10), (4, 10)):
        journal.append(bytes(size), 1)
        assert told.get(timeout=10) == seq
    assert is_low(journal) and tries == [4096]
    journal.rotate()  # a rotation would need space that is not there, so nothing happens
    journal.append(b"still room", 1)
    assert told.get(timeout=10) == 5 and journal.sealed_through == 0
    monkeypatch.setattr(os, "posix_fallocate", real)
    # The segment is full, so the next segment is allocated at once, whatever the interval is.
    journal.append(bytes(3000), 1)
    assert told.get(timeout=10) == 6
    assert not is_low(journal) and journal.sealed_through == 5
    journal.close()


def test_no_snapshot_on_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise fail_with(errno.ENOSPC)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentFault, match="the journal is complete without it"):
        write_snapshot(tmp_path, seq=1, term=1, chunks=[b"a"])
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Provide a file system of 1 MiB."""
    path = tmp_path / "small"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "titan-test", str(path)], capture_output=True, check=False
    ).returncode:
        pytest.skip("this root may not mount a tmpfs")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_fills_up_refuses_early_recovers_and_stops_only_when_nothing_is_left(small_disk: Path) -> None:
    told: Told = SimpleQueue()
    ballast = small_disk / "ballast"
    journal = start(small_disk / "store", told, segment_bytes=256 * 1024)
    ballast.write_bytes(bytes(700 * 1024))
    seq = 0

    def append(size: int) -> int | JournalFailed:
        nonlocal seq
        seq = journal.append(bytes([seq % 256]) * size, 1)
        return told.get(timeout=10)

    while not is_low(journal):
        assert append(4000) == seq
    assert seq <= 36  # half of the segment is used, and there is room left in it
    ballast.unlink()
    while is_low(journal):
        assert append(10) == seq
    while journal.sealed_through == 0:
        assert append(4000) == seq
    ballast.write_bytes(bytes(300 * 1024))
    acknowledged = 0
    while (said := append(4000)) == seq:
        acknowledged = seq
    assert isinstance(said, JournalFailed) and "free space under" in str(said) and journal.low_space
    journal.close()
    assert repair_tail(small_disk / "store") is None
    found = list(read_records(small_disk / "store"))
    assert [r.first_seq for r in found] == list(range(1, acknowledged + 1))
    assert all(set(r.payload) == {(r.first_seq - 1) % 256} for r in found)
