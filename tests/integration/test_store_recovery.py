"""TitanStore in the journal and in snapshots. A recovery restores what was written; from a cut file
it restores a prefix."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.journal import JournalWriter, SyncPolicy
from titan.journal.records import END_MARK_BYTES, SEGMENT_HEADER_BYTES, encode_segment_header
from titan.master.compaction import compact
from titan.master.recovery import recover
from titan.master.storage import open_storage
from titan.model.settings import Settings
from titan.store.store import Store


def written(store: Store, count: int) -> list[tuple[list[tuple[int, list[bytes]]], str]]:
    """Return batches of changes as a live store makes them, each with the digest of the store after
    it."""
    rng = random.Random(7)
    session = store.open_session(1, now_ms=1000)
    found = []
    for i in range(count):
        key = b"k%d" % rng.randrange(12)
        command = rng.choice(
            [
                [b"SET", key, b"v%d" % i, b"PX", b"100000000"],
                [b"INCR", b"n"],
                [b"RPUSH", b"l" + key, b"a", b"b"],
                [b"LPOP", b"l" + key],
                [b"HSET", b"h" + key, b"f%d" % rng.randrange(3), b"%d" % i],
                [b"ZADD", b"z" + key, b"%d" % rng.randrange(9), b"m%d" % rng.randrange(5)],
                [b"SPOP", b"s" + key],
                [b"SADD", b"s" + key, b"%d" % i, b"%d" % (i + 1)],
                [b"XADD", b"x", b"*", b"f", b"%d" % i],
                [b"DEL", key],
            ]
        )
        store.execute(1000 + i, session, command)
        changes = store.take_changes()
        if changes:
            found.append((changes, store.digest()))
    return found


def journal(folder: Path, batches: list[tuple[list[tuple[int, list[bytes]]], str]]) -> None:
    failed: list[BaseException] = []
    writer = JournalWriter(
        folder, next_seq=1, term=1, policy=SyncPolicy.NO, on_synced=lambda seq: None, on_failed=failed.append, segment_bytes=1 << 20
    )
    writer.append(*ev.encode([ev.MasterStarted(1, "c", 1.0)]))
    for changes, _ in batches:
        writer.append(*ev.encode([ev.StoreChanged([db for db, _ in changes], [args for _, args in changes])]))
    writer.close()
    assert not failed


@pytest.mark.parametrize("commands", [35, pytest.param(80, marks=pytest.mark.slow)])
def test_a_file_that_is_cut_anywhere_gives_a_prefix(tmp_path: Path, commands: int) -> None:
    batches = written(Store(), commands)
    journal(tmp_path / "whole", batches)
    (segment,) = (tmp_path / "whole").glob("*.seg")
    data = segment.read_bytes()[:-END_MARK_BYTES]
    # Use a header without a capacity, so that a cut file looks like the file of a killed master.
    data = encode_segment_header(1) + data[SEGMENT_HEADER_BYTES:]
    digests = [Store().digest(), *(digest for _, digest in batches)]
    at = 0
    for cut in range(SEGMENT_HEADER_BYTES, len(data) + 1):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / segment.name).write_bytes(data[:cut])
        there = recover(open_storage(folder), Settings()).state.store.digest()
        shutil.rmtree(folder)
        at = max(i for i in range(len(digests)) if digests[i] == there and i <= at + 1)
    assert at == len(digests) - 1, "the whole file holds it all"


def test_a_snapshot_holds_all_of_it(tmp_path: Path) -> None:
    store = Store()
    batches = written(store, 400)
    session = store.open_session(2, now_ms=1)
    for command in (
        [b"XGROUP", b"CREATE", b"x", b"g", b"0"],
        [b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"3", b"STREAMS", b"x", b">"],
        [b"SETBIT", b"bits", b"77", b"1"],
    ):
        store.execute(5000, session, command)
    store.choose(session, 1 << 33)
    store.execute(5000, session, [b"SET", b"of a run", b"v"])
    batches.append((store.take_changes(), store.digest()))
    journal(tmp_path / "j", batches)
    recovered = recover(open_storage(tmp_path / "j"), Settings())
    assert recovered.state.store.digest() == store.digest()
    again = State(Settings())
    snapshot.load(again, snapshot.dump(recovered.state))
    assert again.store.digest() == store.digest()
    assert compact(open_storage(tmp_path / "j"), recovered.follower.seq) is not None
    assert recover(open_storage(tmp_path / "j"), Settings()).state.store.digest() == store.digest()
