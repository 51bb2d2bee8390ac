"""Journals made of real files, most of them damaged at random. They are opened, verified, repaired
and replayed, or refused with an error of Titan."""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fuzz.harness import Fuzzer, damaged, main
from support.core import Master, dag, register, submit
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.errors import TitanError
from titan.host.remove_folder import remove_folder
from titan.journal import JournalWriter, SyncPolicy, accept_loss, inspect, verify
from titan.journal.files import segment_name, snapshot_name
from titan.journal.records import RecordScanner, decode_segment_header, encode_record, encode_segment_header
from titan.master.recovery import recover, replay
from titan.master.storage import open_storage, origin
from titan.model.settings import Settings

Files = dict[str, bytes]
NAMES = ("synced", "next.tmp", segment_name(1), segment_name(2), segment_name(10**19), snapshot_name(5), snapshot_name(0), "1.seg")


@cache
def whole() -> Files:
    """Return the files of a properly closed journal with two consecutive segments and a
    snapshot."""
    with tempfile.TemporaryDirectory(prefix="titan-fuzz-") as name:
        folder = Path(name)
        failed: list[Exception] = []
        writer = JournalWriter(
            folder,
            next_seq=1,
            term=1,
            policy=SyncPolicy.NO,
            segment_bytes=4096,
            on_synced=lambda seq: None,
            on_failed=failed.append,
            origin=origin(),
        )
        for payload, count in _payloads():
            writer.append(payload, count)
        writer.close()
        assert not failed
        follower = replay(open_storage(folder), Settings())
        open_storage(folder).put_snapshot(seq=follower.seq, term=follower.state.term, chunks=snapshot.dump(follower.state))
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _payloads() -> Iterator[tuple[bytes, int]]:
    master = Master()
    yield ev.encode(list(master.events))
    for i in range(30):
        yield ev.encode(master.see(register(slots=2, name=f"w{i}"), at=1.0 + i).events)
        yield ev.encode(master.see(submit(dag({"a": "", "b": "a", f"c{i}": "a"}), key=f"k{i}", run=f"r{i}"), at=1.5 + i).events)
        yield ev.encode([ev.StoreChanged([0], [[b"SET", b"k%d" % i, b"v" * i]])])


def make(rng: random.Random) -> Files:
    found = dict(whole())
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4))):
        name = rng.choice(sorted(found) or NAMES)
        data = found.get(name, b"")
        match rng.randrange(9):
            case 0:
                found.pop(name, None)
            case 1:
                found[rng.choice(NAMES)] = data
            case 2:
                found[name] = rng.randbytes(rng.randrange(3000))
            case 3:
                found[name] = b""
            case 4 | 5:
                found[name] = _forged(rng, name, data)
            case _:
                found[name] = damaged(rng, data, others=list(found.values()))
    return found


def _forged(rng: random.Random, name: str, data: bytes) -> bytes:
    """Return a segment with damaged payloads and correct checksums."""
    header = decode_segment_header(data)
    if not name.endswith(".seg") or header is None or header.version != 2:
        return damaged(rng, data)
    out = [encode_segment_header(header.first_seq, capacity=0, origin=rng.choice((origin(), b"", b"99.0 later")))]
    for record in RecordScanner(data, next_seq=header.first_seq, offset=header.size):
        payload = damaged(rng, record.payload) if rng.random() < 0.05 else record.payload
        out.append(
            encode_record(payload, first_seq=record.first_seq, count=record.count, term=record.term, synced_seq=record.synced_seq)
        )
    return b"".join(out)


def run(files: Files) -> None:
    home = Path(tempfile.mkdtemp(prefix="titan-fuzz-"))
    store = home / "store"
    try:
        store.mkdir()
        for name, data in files.items():
            (store / name).write_bytes(data)
        inspect(store)
        sound = verify(store).ok
        try:
            recover(open_storage(store), Settings())
        except TitanError:
            accept_loss(store, name="aside")
            problems = verify(store).problems
            assert not problems, f"a repair leaves damage: {problems}"
            raise
        assert sound, "the journal was recovered although verify reports damage"
    finally:
        remove_folder(home)


FUZZER = Fuzzer("journal", make, run, (TitanError,))

if __name__ == "__main__":
    sys.exit(main(FUZZER))
