"""The order in which files reach the disk. The test checks the system calls, because no kill of a
process can show this order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest

from titan.journal import JournalWriter, SyncPolicy, repair_tail, write_snapshot
from titan.journal.files import segment_name, snapshot_name

FIRST, SECOND = segment_name(1), segment_name(2)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that records the calls that make files durable, as `call name`."""
    seen: list[str] = []

    def watch(call: str) -> None:
        real: Callable[..., None] = getattr(os, call)

        def watched(what: int | Path, *rest: int | Path) -> None:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(rest[0])
            seen.append(f"{call} {Path(path).name}")
            real(what, *rest)

        monkeypatch.setattr(os, call, watched)

    for call in ("fsync", "fdatasync", "rename", "ftruncate"):
        watch(call)
    return seen


def test_a_segment_is_named_and_synced_before_a_report_and_synced_before_the_next_exists(tmp_path: Path, calls: list[str]) -> None:
    told: SimpleQueue[object] = SimpleQueue()
    store = tmp_path / "store"

    def tell(seq: int) -> None:
        calls.append(f"told {seq}")
        told.put(seq)

    journal = JournalWriter(
        store,
        next_seq=1,
        term=1,
        policy=SyncPolicy.ALWAYS,
        segment_bytes=4096,
        on_synced=tell,
        on_failed=told.put,
    )
    for _ in range(2):
        journal.append(bytes(3000), 1)
        told.get(timeout=10)
    journal.close()
    assert calls == [
        f"fsync {tmp_path.name}",
        *("fdatasync next.tmp", f"rename {FIRST}", "fsync store"),
        *("fdatasync synced", "fsync store"),
        *(f"fdatasync {FIRST}", "told 1"),
        *("fdatasync next.tmp", f"rename {SECOND}", "fsync store"),
        # The end mark is synced before the cut, because a cut file must have one.
        *(f"fdatasync {FIRST}", f"ftruncate {FIRST}", f"fsync {FIRST}"),
        "fdatasync synced",
        *(f"fdatasync {SECOND}", "told 2"),
        *(f"fdatasync {SECOND}", f"ftruncate {SECOND}", f"fsync {SECOND}"),
        "fdatasync synced",
    ]


def test_a_repair_also_syncs_a_segment_that_it_does_not_cut(tmp_path: Path, calls: list[str]) -> None:
    journal = JournalWriter(
        tmp_path, next_seq=1, term=1, policy=SyncPolicy.NO, on_synced=lambda seq: None, on_failed=lambda failure: None
    )
    journal.append(b"a", 1)
    journal.close()
    calls.clear()
    assert repair_tail(tmp_path) is None
    assert calls == [f"ftruncate {FIRST}", f"fsync {FIRST}", f"fsync {tmp_path.name}"]


def test_unsynced_records_are_synced_before_the_next_segment_exists(tmp_path: Path, calls: list[str]) -> None:
    journal = JournalWriter(
        tmp_path, next_seq=1, term=1, policy=SyncPolicy.NO, on_synced=lambda seq: None, on_failed=lambda failure: None
    )
    calls.clear()
    journal.append(b"a", 1)
    journal.rotate()
    journal.close()
    assert calls[:3] == [f"fdatasync {FIRST}", "fdatasync next.tmp", f"rename {SECOND}"]


def test_a_snapshot_is_synced_before_it_has_its_name(tmp_path: Path, calls: list[str]) -> None:
    write_snapshot(tmp_path, seq=3, term=1, chunks=[b"a"])
    assert calls == [f"fsync {snapshot_name(3)}.tmp", f"rename {snapshot_name(3)}", f"fsync {tmp_path.name}"]
