"""Any chunks can be read back from a snapshot. All other bytes are refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan.errors import JournalCorrupt
from titan.journal import read_snapshot, write_snapshot

CHUNKS = st.lists(st.binary(max_size=60), max_size=6)
NUMBERS = st.integers(0, 2**64 - 1)


@settings(max_examples=50, deadline=None)
@given(NUMBERS, NUMBERS, CHUNKS)
def test_a_snapshot_is_read_as_written(seq: int, term: int, chunks: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        snapshot = read_snapshot(write_snapshot(Path(name), seq=seq, term=term, chunks=chunks))
        assert (snapshot.seq, snapshot.term, list(snapshot.chunks)) == (seq, term, chunks)


@settings(max_examples=100, deadline=None)
@given(CHUNKS, st.data())
def test_changed_cut_or_lengthened_bytes_are_refused(chunks: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write_snapshot(Path(name), seq=9, term=1, chunks=chunks)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        changed = data.draw(st.one_of(st.just(b""), st.binary(min_size=1, max_size=9)))
        bad = whole[:at] + changed + (whole[at + len(changed) :] if changed and data.draw(st.booleans()) else b"")
        if bad == whole:
            return
        path.write_bytes(bad)
        found: list[bytes] = []
        with pytest.raises(JournalCorrupt):
            snapshot = read_snapshot(path)
            found.extend(snapshot.chunks)
        assert found == chunks[: len(found)]
