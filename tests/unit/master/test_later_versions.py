"""Data of a later Titan is refused by a start and by verify, with an error that names the version
and the next step. It is never read in part."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from support.core import Master as CoreMaster
from support.core import dag, register, submit
from titan.cli.journal import journal as journal_command
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.versions import check_chunk, check_events
from titan.errors import JournalTooNew
from titan.journal import JournalWriter, SyncPolicy, latest_snapshot, read_snapshot, write_snapshot
from titan.master.compaction import compact
from titan.master.recovery import recover
from titan.master.storage import open_storage, origin
from titan.model.settings import Settings

LATER = b"99.1.0 deadbeef"


def written() -> list[bytes]:
    """Return payloads of records as this Titan writes them."""
    master = CoreMaster()
    turns = [list(master.events)]
    turns.append(master.see(register(slots=2), at=1.0).events)
    turns.append(master.see(submit(dag({"a": "", "b": "a"}), key="k"), at=2.0).events)
    return [ev.encode(events)[0] for events in turns]


def write(store: Path, payloads: list[bytes], *, by: bytes = LATER) -> None:
    failed: list[Exception] = []
    writer = JournalWriter(
        store, next_seq=1, term=1, policy=SyncPolicy.NO, on_synced=lambda seq: None, on_failed=failed.append, origin=by
    )
    for payload in payloads:
        writer.append(payload, len(msgspec.msgpack.decode(payload)))
    writer.close()
    assert not failed


def with_more(payload: bytes, event: str, *more: object) -> bytes:
    """Return the payload with further fields at the end of each event of this kind."""
    events = msgspec.msgpack.decode(payload)
    found = [one for one in events if one[0] == event]
    assert found
    for one in found:
        one.extend(more)
    return msgspec.msgpack.encode(events)


def verified(home: Path) -> tuple[int, str]:
    done = CliRunner().invoke(journal_command, ["verify", "--home", str(home), "--json"])
    return done.exit_code, " ".join(json.loads(done.output)["problems"])


def refused(home: Path) -> str:
    with pytest.raises(JournalTooNew) as caught:
        recover(open_storage(home / "store"), Settings())
    code, problems = verified(home)
    assert code == 1 and problems == str(caught.value)
    assert "Titan 99.1.0 wrote it" in problems and "start that version again" in problems
    return problems


def test_data_written_by_this_version_is_accepted(tmp_path: Path) -> None:
    for payload in written():
        check_events(payload)
    write(tmp_path / "store", written(), by=origin())
    recovered = recover(open_storage(tmp_path / "store"), Settings())
    for chunk in snapshot.dump(recovered.state):
        check_chunk(chunk)
    assert verified(tmp_path) == (0, "") and len(origin()) <= 32


def test_data_of_an_older_version_with_fewer_fields_is_accepted(tmp_path: Path) -> None:
    write(tmp_path / "store", written(), by=b"0.0.1 00000000")
    assert recover(open_storage(tmp_path / "store"), Settings()).state.runs


def test_an_unknown_event_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "store", [*written(), msgspec.msgpack.encode([["job_teleported", 7, 1.0]])])
    assert "this Titan does not know 'job_teleported'" in refused(tmp_path)


def test_an_unknown_field_of_a_known_event_is_refused(tmp_path: Path) -> None:
    *before, last = written()
    full = ev.encode(ev.decode(last))[0]
    write(tmp_path / "store", [*before, with_more(full, "run_submitted", {"priority": 3})])
    assert "RunSubmitted has 1 more fields than this Titan knows" in refused(tmp_path)


def test_an_unknown_field_inside_a_part_of_an_event_is_refused(tmp_path: Path) -> None:
    *before, last = written()
    events = msgspec.msgpack.decode(last)
    (submitted,) = [one for one in events if one[0] == "run_submitted"]
    (template, *_) = submitted[5]
    if isinstance(template, dict):
        template["gravity"] = 9.81
    else:
        template.extend([None] * 40)
    write(tmp_path / "store", [*before, msgspec.msgpack.encode(events)])
    assert "JobTemplate has" in refused(tmp_path)


@pytest.mark.parametrize("what", ["field", "chunk", "field of a run"])
def test_a_snapshot_of_a_later_titan_is_refused(tmp_path: Path, what: str) -> None:
    store = tmp_path / "store"
    write(store, written(), by=origin())
    recovered = recover(open_storage(store), Settings())
    made = compact(open_storage(store), recovered.follower.seq)
    assert made is not None
    path = Path(made.name)
    snapshot = read_snapshot(path)
    chunks = [msgspec.msgpack.decode(chunk) for chunk in snapshot.chunks]
    if what == "field":
        chunks[0].extend([0] * 3)
    elif what == "chunk":
        chunks.append(["wormhole", 1])
    else:
        (run,) = [chunk[1] for chunk in chunks if chunk[0] == "run"]
        run["mass"] = 1
    again = [msgspec.msgpack.encode(chunk) for chunk in chunks]
    write_snapshot(store, seq=snapshot.seq, term=snapshot.term, chunks=again, origin=LATER)
    assert latest_snapshot(store).path == path
    assert "the snapshot as of sequence" in refused(tmp_path)
