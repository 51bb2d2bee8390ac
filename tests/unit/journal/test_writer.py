"""The writer on a real disk: order, rotation, sync policies, and the files afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from titan.errors import Bug, JournalFailed, LimitExceeded
from titan.journal import JournalWriter, SyncPolicy, open_journal, read_records, writer
from titan.journal.records import END_MARK_BYTES, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES

Told = SimpleQueue[int | JournalFailed]


def start(
    directory: Path,
    told: Told,
    *,
    next_seq: int = 1,
    term: int = 1,
    policy: SyncPolicy = SyncPolicy.ALWAYS,
    segment_bytes: int = 4096,
) -> JournalWriter:
    return JournalWriter(
        directory,
        next_seq=next_seq,
        term=term,
        policy=policy,
        segment_bytes=segment_bytes,
        on_synced=told.put,
        on_failed=told.put,
        sync_every_s=0.01 if policy is SyncPolicy.EVERYSEC else 3600,
    )


def wait_for(told: Told, seq: int) -> None:
    while (said := told.get(timeout=10)) != seq:
        assert isinstance(said, int) and said < seq


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_an_append_is_reported_when_it_can_be_read_back(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path / "new" / "store", told, next_seq=41, term=7)
    assert journal.append(b"two events", 2) == 42
    wait_for(told, 42)
    (record,) = read_records(tmp_path / "new" / "store", after_seq=40)
    assert (record.first_seq, record.last_seq, record.term, record.synced_seq) == (41, 42, 7, 40)
    assert (journal.written_seq, journal.synced_seq, journal.next_seq, journal.pending_bytes) == (42, 42, 43, 0)
    assert journal.append(b"", 1) == 43
    journal.close()
    assert [r.synced_seq for r in read_records(tmp_path / "new" / "store", after_seq=40)] == [40, 42]


def test_close_cuts_the_segment_to_its_true_size_and_leaves_nothing_else(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    journal.append(b"x" * 3000, 1)
    journal.append(b"y", 1)
    wait_for(told, 2)
    assert (tmp_path / f"{1:020d}.seg").stat().st_size == 4096
    journal.close()
    journal.close()
    assert names(tmp_path) == [f"{1:020d}.seg", "synced"]
    size = SEGMENT_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + 3001 + END_MARK_BYTES
    assert (tmp_path / f"{1:020d}.seg").stat().st_size == size
    with pytest.raises(JournalFailed, match="closed"):
        journal.append(b"z", 1)
    with pytest.raises(JournalFailed, match="closed"):
        journal.rotate()


def test_queued_records_are_written_in_one_write_and_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, segment_bytes=1 << 20)
    held, entered, syncs = threading.Event(), threading.Event(), []
    real = os.fdatasync

    def slow(fd: int) -> None:
        syncs.append(fd)
        entered.set()
        assert held.wait(10)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    journal.append(b"first", 1)
    assert entered.wait(10)
    for n in range(2000):  # more buffers than one writev call accepts
        journal.append(b"%d" % n, 1)
    assert journal.pending_bytes > 2000 * RECORD_HEADER_BYTES
    held.set()
    assert [told.get(timeout=10), told.get(timeout=10)] == [1, 2001]
    assert len(syncs) == 2
    journal.close()
    found = list(read_records(tmp_path))
    assert [r.payload for r in found] == [b"first", *(b"%d" % n for n in range(2000))]
    assert {r.synced_seq for r in found[1:]} == {1}


def test_appends_of_many_threads_come_back_in_the_order_of_their_sequences(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    given: list[list[tuple[int, bytes]]] = [[] for _ in range(8)]

    def run(mine: list[tuple[int, bytes]], name: int) -> None:
        for n in range(150):
            payload = b"%d/%d" % (name, n)
            mine.append((journal.append(payload, 1 + n % 3), payload))

    threads = [threading.Thread(target=run, args=(mine, name)) for name, mine in enumerate(given)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(told, journal.next_seq - 1)
    journal.close()
    assert [(r.last_seq, r.payload) for r in read_records(tmp_path)] == sorted(pair for mine in given for pair in mine)
    assert all(mine == sorted(mine) for mine in given)
    assert len(names(tmp_path)) > 5


def test_full_segments_are_sealed_and_a_large_record_gets_its_own(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    payloads = [b"a" * 3000, b"b" * 3000, b"c" * 50_000, b"d" * 60_000, b"e"]
    for payload in payloads:
        journal.append(payload, 10)
    wait_for(told, 50)
    assert journal.sealed_through == 40
    journal.close()
    assert [r.payload for r in read_records(tmp_path)] == payloads
    assert names(tmp_path) == [*(f"{first:020d}.seg" for first in (1, 11, 21, 31, 41)), "synced"]
    overhead = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + END_MARK_BYTES
    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.seg"))] == [overhead + len(payload) for payload in payloads]


def test_an_empty_segment_too_small_for_a_record_is_replaced_under_its_name(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    journal.append(b"x" * 10_000, 1)
    journal.append(b"y", 1)
    journal.close()
    assert [len(r.payload) for r in read_records(tmp_path)] == [10_000, 1]
    assert names(tmp_path) == [f"{1:020d}.seg", f"{2:020d}.seg", "synced"]


def test_the_next_segment_is_allocated_when_half_of_the_current_one_is_used(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told)
    journal.append(b"x" * 1000, 1)
    wait_for(told, 1)
    journal.append(b"x" * 1200, 1)
    wait_for(told, 2)
    journal.append(b"", 1)  # its report proves that the batch of record 2 is finished, with its allocation
    wait_for(told, 3)
    assert (tmp_path / "next.tmp").stat().st_size == 4096
    journal.append(b"x" * 3000, 1)
    wait_for(told, 4)
    assert names(tmp_path)[:2] == [f"{1:020d}.seg", f"{4:020d}.seg"]
    journal.close()
    assert "next.tmp" not in names(tmp_path)


def test_rotate_seals_the_appended_records(tmp_path: Path) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, policy=SyncPolicy.NO)
    journal.append(b"a", 5)
    assert journal.rotate() == 5
    assert journal.rotate() == 5
    journal.append(b"b", 1)
    wait_for(told, 6)
    assert (journal.sealed_through, journal.synced_seq, journal.written_seq) == (5, 5, 6)
    journal.close()
    assert journal.synced_seq == journal.sealed_through == 6
    assert names(tmp_path) == [f"{1:020d}.seg", f"{6:020d}.seg", "synced"]


def test_everysec_reports_at_once_and_syncs_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, policy=SyncPolicy.EVERYSEC)
    may_sync, synced = threading.Event(), threading.Event()
    monkeypatch.setattr(os, "fdatasync", _signalling(os.fdatasync, may_sync, synced))
    journal.append(b"a", 1)
    wait_for(told, 1)
    assert journal.written_seq == 1 and journal.synced_seq == 0
    may_sync.set()
    assert synced.wait(10)
    journal.append(b"b", 1)
    wait_for(told, 2)
    journal.close()
    assert [r.synced_seq for r in read_records(tmp_path)] == [0, 1]


def _signalling(real: Callable[[int], None], may_sync: threading.Event, synced: threading.Event) -> Callable[[int], None]:
    def sync(fd: int) -> None:
        assert may_sync.wait(10)
        real(fd)
        synced.set()

    return sync


def test_policy_no_leaves_syncing_to_the_kernel_until_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, policy=SyncPolicy.NO)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", lambda fd: pytest.fail("synced"))
        journal.append(b"a", 1)
        journal.append(b"b", 1)
        wait_for(told, 2)
        assert journal.synced_seq == 0
    journal.close()
    assert journal.synced_seq == 2 and journal.failure is None


def test_each_start_has_a_segment_of_its_own_and_an_unused_one_is_replaced(tmp_path: Path) -> None:
    for run in range(3):
        journal = start(tmp_path, SimpleQueue(), next_seq=open_journal(tmp_path).next_seq, term=run + 1)
        journal.append(b"%d" % run, 1)
        journal.close()
        start(tmp_path, SimpleQueue(), next_seq=run + 2, term=run + 1).close()
    assert [(r.first_seq, r.term) for r in read_records(tmp_path)] == [(1, 1), (2, 2), (3, 3)]
    assert names(tmp_path) == [*(f"{first:020d}.seg" for first in (1, 2, 3, 4)), "synced"]


def test_a_start_below_what_the_journal_holds_is_refused(tmp_path: Path) -> None:
    journal = start(tmp_path, SimpleQueue())
    journal.append(b"a", 5)
    journal.close()
    for next_seq in (1, 5):
        with pytest.raises(Bug, match=f"already goes past sequence {next_seq - 1}"):
            start(tmp_path, SimpleQueue(), next_seq=next_seq)


def test_bad_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Bug):
        start(tmp_path, SimpleQueue(), next_seq=0)
    monkeypatch.setattr(writer, "MAX_PAYLOAD_BYTES", 10)
    journal = start(tmp_path, SimpleQueue())
    with pytest.raises(Bug):
        journal.append(b"", 0)
    with pytest.raises(LimitExceeded, match="11 bytes"):
        journal.append(bytes(11), 1)
    journal.close()


@pytest.mark.parametrize("policy", SyncPolicy)
def test_a_synced_append_is_on_the_disk_when_it_is_reported_under_each_policy(tmp_path: Path, policy: SyncPolicy) -> None:
    told: Told = SimpleQueue()
    journal = start(tmp_path, told, policy=policy)
    seq = journal.append(b"a term began", 1, synced=True)
    wait_for(told, seq)
    assert journal.synced_seq == seq
    journal.close()
