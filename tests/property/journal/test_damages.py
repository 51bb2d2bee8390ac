"""Random damage to the files of a journal: no acknowledged record is lost without an error.

After each damage, either a start recovers all acknowledged records, or both the start and `verify`
report the damage. The suite tries some damages of each kind. All 1,400 are tried with

    TITAN_DAMAGES=1400 python -m pytest tests/property/journal/test_damages.py
"""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from support.waiting import until
from titan.errors import JournalCorrupt
from titan.journal import (
    JournalWriter,
    SyncPolicy,
    accept_loss,
    latest_snapshot,
    open_journal,
    prune,
    read_records,
    read_snapshot,
    repair_tail,
    verify,
    write_snapshot,
)
from titan.journal.files import list_segments, list_snapshots
from titan.journal.records import RecordScanner, decode_segment_header

DAMAGES = int(os.environ.get("TITAN_DAMAGES", "140"))
SEGMENT_BYTES = 4096
IN_THE_SNAPSHOT = 120


def payload(seq: int) -> bytes:
    return b"record %d " % seq + bytes([65 + seq % 26]) * (seq * 37 % 300)


def digest(total: int, seq: int, data: bytes) -> int:
    return zlib.crc32(data + b"%d" % seq, total)


def make(folder: Path, *, stopped: bool, snapshot: bool, records: int = 180) -> int:
    """Write a journal of several segments, and return its last sequence. If `stopped`, the writer
    was closed in order; otherwise it was killed a second after its last record."""
    last = 0
    for first, until_seq in ((1, 60), (61, IN_THE_SNAPSHOT), (IN_THE_SNAPSHOT + 1, records)):
        done: list[int] = []
        writer = JournalWriter(
            folder,
            next_seq=first,
            term=1,
            policy=SyncPolicy.ALWAYS,
            segment_bytes=SEGMENT_BYTES,
            on_synced=done.append,
            on_failed=lambda failure: None,
        )
        if snapshot and first > IN_THE_SNAPSHOT:
            write_snapshot(folder, seq=IN_THE_SNAPSHOT, term=1, chunks=[b"%d" % _state(folder)[1], bytes(500)])
            prune(folder)
        for seq in range(first, until_seq + 1):
            last = writer.append(payload(seq), 1)
        until(lambda done=done, last=last: done and done[-1] == last, "all is synced")  # type: ignore[misc]
        if until_seq == records and not stopped:
            _settle(folder, last)
            shutil.copytree(folder, folder.with_suffix(".killed"))
        writer.close()
    if not stopped:
        shutil.rmtree(folder)
        folder.with_suffix(".killed").rename(folder)
    return last


def _settle(folder: Path, last: int) -> None:
    from titan.journal.watermark import read_watermark

    until(lambda: read_watermark(folder).synced_seq == last, "the watermark is young")


def _state(folder: Path) -> tuple[int, int]:
    """Return (last sequence, digest of all payloads) as a start finds them."""
    choice = latest_snapshot(folder)
    seq, total = choice.seq, 0
    if choice.path is not None:
        chunks = list(read_snapshot(choice.path).chunks)
        total = int(chunks[0])
    for record in read_records(folder, seq):
        total = digest(total, record.last_seq, record.payload)
        seq = record.last_seq
    return seq, total


def start(folder: Path) -> tuple[int, int]:
    repair_tail(folder)
    found = _state(folder)
    return (max(found[0], open_journal(folder).last_seq), found[1])


def faults_of_a_repair(folder: Path, last: int) -> list[str]:
    """Return the faults after `accept_loss`. A start must succeed with a prefix of the records, and
    must continue from there. No file may be deleted."""
    before = sum(path.stat().st_size for path in folder.iterdir())
    mended = accept_loss(folder, name="aside")
    assert mended.aside is not None and sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) >= before - SEGMENT_BYTES
    faults = list(verify(folder).problems)
    end, total = start(folder)
    if end != mended.last_seq or end > last:
        faults.append(f"the mended journal ends at {end}, not at {mended.last_seq}")
    if end > IN_THE_SNAPSHOT or not list_snapshots(folder):
        expected = 0
        for seq in range(1, end + 1):
            expected = digest(expected, seq, payload(seq))
        if total != expected:
            faults.append(f"the records up to {end} are not what was written")
    return faults


# -- damages ---------------------------------------------------------------------------------------
def chosen(folder: Path, chance: random.Random) -> Path:
    segments, snapshots = [f.path for f in list_segments(folder)], [f.path for f in list_snapshots(folder)]
    return chance.choice([chance.choice(segments), segments[-1], *snapshots])


def cut(folder: Path, chance: random.Random) -> str:
    path = chosen(folder, chance)
    at = chance.randrange(path.stat().st_size)
    os.truncate(path, at)
    return f"{path.name} cut at {at}"


def cut_between_records(folder: Path, chance: random.Random) -> str:
    path = chance.choice([list_segments(folder)[-1], chance.choice(list_segments(folder))])
    at = chance.choice(borders(path.path, path.seq))
    os.truncate(path.path, at)
    return f"{path.path.name} cut behind a record, at {at}"


def zeros_behind_a_record(folder: Path, chance: random.Random) -> str:
    path = list_segments(folder)[-1]
    at, size = chance.choice(borders(path.path, path.seq)), path.path.stat().st_size
    os.truncate(path.path, at)
    os.truncate(path.path, size)
    return f"{path.path.name} is zeros from {at} on"


def borders(path: Path, first_seq: int) -> list[int]:
    data = path.read_bytes()
    header = decode_segment_header(data)
    assert header is not None
    size = header.size
    scanner = RecordScanner(data, next_seq=first_seq, offset=size)
    return [size, *(scanner.stop.offset for _ in scanner)]


def flip(folder: Path, chance: random.Random) -> str:
    path = chosen(folder, chance)
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(bytes(data).rstrip(b"\0")) or 1)
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return f"{path.name} flipped at {at}"


def flip_in_the_last_record(folder: Path, chance: random.Random) -> str:
    path = list_segments(folder)[-1]
    data = bytearray(path.path.read_bytes())
    *_, before, behind = [0, *borders(path.path, path.seq)]
    at = chance.randrange(before, max(behind, before + 1))
    data[at] ^= 1 << chance.randrange(8)
    path.path.write_bytes(data)
    return f"{path.path.name} flipped in its last record, at {at}"


def delete(folder: Path, chance: random.Random) -> str:
    path = chosen(folder, chance)
    path.unlink()
    return f"{path.name} deleted"


def empty(folder: Path, chance: random.Random) -> str:
    path = chosen(folder, chance)
    os.truncate(path, 0)
    return f"{path.name} emptied"


def duplicate(folder: Path, chance: random.Random) -> str:
    one, other = chosen(folder, chance), chosen(folder, chance)
    if one != other and one.suffix == other.suffix:
        shutil.copy(one, other)
    else:
        last = list_segments(folder)[-1]
        other = last.path.with_name(f"{last.seq + 1 + chance.randrange(400):020d}.seg")
        shutil.copy(one, other)
    return f"{one.name} copied over {other.name}"


def swap(folder: Path, chance: random.Random) -> str:
    one, other = chosen(folder, chance), chosen(folder, chance)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.name} and {other.name} swapped"


KINDS: list[Callable[[Path, random.Random], str]] = [
    *(cut, cut_between_records, zeros_behind_a_record, flip, flip_in_the_last_record, delete, empty, duplicate, swap),
]


@pytest.fixture(scope="module", params=["stopped", "stopped beside a snapshot", "killed", "killed beside a snapshot"])
def journal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("damages") / "store"
    last = make(folder, stopped="stopped" in request.param, snapshot="snapshot" in request.param)
    return folder, last


def test_no_damage_is_silent(journal: tuple[Path, int], tmp_path: Path) -> None:
    folder, last = journal
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    expected = start(whole)
    assert expected[0] == last and verify(folder).ok
    silent = []
    for number in range(DAMAGES // 4):
        chance = random.Random(number)
        damaged = tmp_path / "damaged"
        shutil.copytree(folder, damaged)
        what = chance.choice(KINDS)(damaged, chance)
        ok = verify(damaged).ok
        try:
            found = start(damaged)
        except JournalCorrupt as error:
            assert "titan journal verify" in str(error), error
            if ok:
                silent.append(f"{number}: {what}: verify reports no damage, but a start fails: {error}")
            silent += [f"{number}: {what}: {fault}" for fault in faults_of_a_repair(damaged, last)]
        else:
            if found != expected:
                silent.append(f"{number}: {what}: {expected[0]} acknowledged, {found[0]} there, verify ok: {ok}")
            elif not ok:
                silent.append(f"{number}: {what}: verify reports damage, but a start succeeds: {verify(damaged).problems}")
        shutil.rmtree(damaged)
    assert not silent, f"{len(silent)} of {DAMAGES // 4}:\n" + "\n".join(silent)
