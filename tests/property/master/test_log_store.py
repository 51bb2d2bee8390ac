"""A worker sends output again and again, although connections break and the master restarts. The
store keeps each byte once, in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from titan.master.log_store import LogStore

OUTPUT = {(job, stream): bytes((17 * i + stream) % 251 for i in range(60)) for job in ("a", "b") for stream in (1, 2)}
SENDS = st.tuples(
    st.sampled_from(list(OUTPUT)), st.integers(0, 60), st.integers(0, 20), st.sampled_from(["", "", "restart", "torn"])
)


@settings(max_examples=100, deadline=None)
@given(st.lists(SENDS, max_size=25))
def test_output_that_is_sent_again_is_kept_once(sends: list[tuple[tuple[str, int], int, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LogStore(Path(folder))
        have = dict.fromkeys(OUTPUT, 0)
        for (job, stream), back, length, then in sends:
            # A piece never begins behind the stored bytes: a worker goes on from the position that
            # the master reported.
            start = max(0, have[job, stream] - back)
            store.append("r", job, 1, stream, start, OUTPUT[job, stream][start : start + length])
            have[job, stream] = max(have[job, stream], min(60, start + length))
            if then:
                store.close()
                if then == "torn" and (path := Path(folder, "r.log")).exists():
                    path.write_bytes(path.read_bytes() + b"\0\1\1")
                store = LogStore(Path(folder))
        for job in ("a", "b"):
            assert store.received("r", job, 1) == (have[job, 1], have[job, 2])
            got = {1: b"", 2: b""}
            for stream, offset, data in store.pieces("r", job, 1, {}):
                assert offset == len(got[stream])
                got[stream] += data
            assert got == {stream: OUTPUT[job, stream][: have[job, stream]] for stream in (1, 2)}
        store.close()
