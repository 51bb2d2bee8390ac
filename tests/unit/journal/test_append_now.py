"""Records that the appending thread writes itself: when this happens, in which order, and what
follows from an error."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from titan.errors import JournalFailed
from titan.journal import JournalWriter, SyncPolicy, read_records, writer
from titan.journal.records import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES

Told = SimpleQueue[int | JournalFailed]


@pytest.fixture(autouse=True)
def _patient() -> Iterator[None]:
    """Count the disk as fast enough, however busy the machine is. This also holds after a
    `monkeypatch.undo` of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "DIRECT_S", 60.0)
        yield


def start(directory: Path, told: Told, *, policy: SyncPolicy = SyncPolicy.ALWAYS, segment_bytes: int = 4096) -> JournalWriter:
    return JournalWriter(
        directory, next_seq=1, term=1, policy=policy, segment_bytes=segment_bytes, on_synced=told.put, on_failed=told.put
    )


def settled(journal: JournalWriter, payload: bytes = b"x") -> int:
    """Append a record by the writer thread. When the thread is idle, append another record with
    `append_now`."""
    journal.append(payload, 1)
    for _ in range(10_000):
        if (seq := journal.append_now(payload, 1)) is not None:
            return seq
        threading.Event().wait(0.001)
    raise AssertionError("the thread is never done")


def test_append_now_returns_durable_records_and_keeps_the_order(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    assert journal.append_now(b"two", 2) == 2
    assert (journal.synced_seq, journal.pending_bytes, told.empty()) == (2, 0, True)
    assert settled(journal, b"y") == 4
    assert [(r.first_seq, r.payload) for r in read_records(tmp_path)] == [(1, b"two"), (3, b"y"), (4, b"y")]
    journal.close()
    with pytest.raises(JournalFailed, match="closed"):
        journal.append_now(b"z", 1)


def test_append_now_is_refused_while_records_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    held, entered, real = threading.Event(), threading.Event(), os.fdatasync

    def slow(fd: int) -> None:
        entered.set()
        assert held.wait(10)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal.append(b"first", 1)
    assert entered.wait(10)
    assert journal.append_now(b"second", 1) is None
    held.set()
    assert told.get(timeout=10) == 1
    journal.close()
    assert [r.payload for r in read_records(tmp_path)] == [b"first"]


def test_append_now_leaves_large_slow_or_segment_filling_records_to_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, segment_bytes=2 * writer.DIRECT_BYTES)
    assert journal.append_now(bytes(writer.DIRECT_BYTES), 1) is None
    fits = writer.DIRECT_BYTES - RECORD_HEADER_BYTES
    assert journal.append_now(bytes(fits), 1) == 1
    assert journal.append_now(b"", 1) is None, "half full, and the next segment is not prepared"
    assert settled(journal) == 3
    assert journal.append_now(bytes(fits - SEGMENT_HEADER_BYTES), 1) is None, "no room for it"
    monkeypatch.setattr(writer, "DIRECT_S", 0.0)
    assert journal.append_now(b"", 1) is None, "the disk was slow"
    journal.close()


def test_the_thread_keeps_the_time_of_a_sync_that_is_due_later(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, policy=SyncPolicy.EVERYSEC)
    assert journal.append_now(b"", 1) is None
    journal.close()


def test_an_error_in_append_now_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    assert journal.append_now(b"good", 1) == 1
    syncs = []

    def failing(fd: int) -> None:
        syncs.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", failing)
    with pytest.raises(JournalFailed, match="Input/output error"):
        journal.append_now(b"bad", 1)
    monkeypatch.undo()
    for append in (journal.append, journal.append_now):
        with pytest.raises(JournalFailed, match="Input/output error"):
            append(b"more", 1)
    journal.close()
    assert len(syncs) == 1 and journal.synced_seq == 1 and told.empty()
