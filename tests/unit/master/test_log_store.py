"""The output of attempts, in one file per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.master import log_store
from titan.master.log_store import LogStore, RunLog


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    store = LogStore(tmp_path / "logs")
    yield store
    store.close()


def told(store: LogStore, job: str = "a", attempt: int = 1, *, run: str = "r", seen: dict[int, int] | None = None) -> list[object]:
    return list(store.pieces(run, job, attempt, {} if seen is None else seen))


def test_pieces_come_in_the_order_of_arrival_over_both_streams(store: LogStore) -> None:
    for stream, offset, data in ((1, 0, b"one"), (2, 0, b"oops"), (1, 3, b"two")):
        assert store.append("r", "a", 1, stream, offset, data) == len(data)
    assert told(store) == [(1, 0, b"one"), (2, 0, b"oops"), (1, 3, b"two")]
    assert store.received("r", "a", 1) == (6, 4)


def test_jobs_attempts_and_runs_are_kept_apart(store: LogStore) -> None:
    for run, job, attempt in (("r", "a", 1), ("r", "b", 1), ("r", "a", 2), ("s", "a", 1)):
        store.append(run, job, attempt, 1, 0, f"{run}{job}{attempt}".encode())
    assert told(store, "a", 1) == [(1, 0, b"ra1")]
    assert told(store, "a", 2) == [(1, 0, b"ra2")]
    assert told(store, "b", 1) == [(1, 0, b"rb1")]
    assert told(store, run="s") == [(1, 0, b"sa1")]


def test_output_that_arrives_twice_is_kept_once(store: LogStore) -> None:
    assert [store.append("r", "a", 1, 1, *piece) for piece in ((0, b"abc"), (0, b"abc"), (1, b"bcde"), (0, b"a"))] == [3, 0, 2, 0]
    assert told(store) == [(1, 0, b"abc"), (1, 3, b"de")]


def test_a_reader_continues_at_its_offsets(store: LogStore) -> None:
    seen: dict[int, int] = {}
    store.append("r", "a", 1, 1, 0, b"one")
    assert told(store, seen=seen) == [(1, 0, b"one")]
    assert told(store, seen=seen) == []
    store.append("r", "a", 1, 2, 0, b"two")
    assert (told(store, seen=seen), seen) == ([(2, 0, b"two")], {1: 3, 2: 3})


def test_logs_that_are_not_there_are_empty_and_make_no_file(store: LogStore) -> None:
    assert told(store) == told(store, run="../r") == []
    assert store.received("r", "a", 1) == (0, 0)
    assert list(store.folder.iterdir()) == [], "a question makes no file"


@pytest.mark.parametrize(
    ("run", "job", "attempt", "stream", "offset"),
    [
        ("../r", "a", 1, 1, 0),
        ("r", "a/b", 1, 1, 0),
        ("r", "a", 1, 0, 0),
        ("r", "a", 1, 3, 0),
        ("r", "a", -1, 1, 0),
        ("r", "a", 1 << 32, 1, 0),
        ("r", "a", 1, 1, -1),
        ("r", "a", 1, 1, 1 << 64),
    ],
)
def test_output_with_invalid_fields_is_not_kept(
    store: LogStore, run: str, job: str, attempt: int, stream: int, offset: int
) -> None:
    assert store.append(run, job, attempt, stream, offset, b"x") == 0
    assert list(store.folder.iterdir()) == []


def test_all_output_is_readable_after_a_restart(store: LogStore) -> None:
    store.append("r", "a", 1, 1, 0, b"one")
    store.append("r", "b", 2, 2, 0, memoryview(b"two"))
    store.close()
    again = LogStore(store.folder)
    assert told(again) == [(1, 0, b"one")]
    assert again.append("r", "a", 1, 1, 0, b"one and more") == 9
    assert told(again) == [(1, 0, b"one"), (1, 3, b" and more")]
    assert told(again, "b", 2) == [(2, 0, b"two")]
    again.close()


def test_a_record_that_is_cut_anywhere_is_dropped_and_comes_again(tmp_path: Path) -> None:
    path = tmp_path / "r.log"
    log = RunLog(path)
    log.append("a", 1, 1, 0, b"first")
    first = path.stat().st_size
    log.append("job", 1, 2, 0, b"second")
    log.close()
    whole = path.read_bytes()
    for cut in range(first, len(whole)):
        path.write_bytes(whole[:cut])
        log = RunLog(path)
        assert path.stat().st_size == first
        assert (log.received("a", 1, 1), log.received("job", 1, 2)) == (5, 0)
        log.append("job", 1, 2, 0, b"second")
        log.close()
        assert path.read_bytes() == whole


def test_files_that_are_not_in_use_are_closed_and_opened_again(store: LogStore) -> None:
    for n in range(log_store._MAX_OPEN + 5):
        store.append(f"r{n}", "a", 1, 1, 0, b"x")
    assert len(store._open) == log_store._MAX_OPEN
    assert told(store, run="r0") == [(1, 0, b"x")]


def test_a_reader_that_pauses_while_its_file_is_closed_goes_on(store: LogStore) -> None:
    store.append("r", "a", 1, 1, 0, b"one")
    store.append("r", "a", 1, 1, 3, b"two")
    pieces = store.pieces("r", "a", 1, {})
    assert next(pieces) == (1, 0, b"one")
    for n in range(log_store._MAX_OPEN):
        store.append(f"r{n}", "a", 1, 1, 0, b"x")
    assert list(pieces) == [(1, 3, b"two")]


def test_a_write_error_leaves_the_log_unchanged(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append("r", "a", 1, 1, 0, b"one")
    write = os.write
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:9]))
        store.append("r", "a", 1, 1, 3, b"two")
    assert store.append("r", "a", 1, 1, 3, b"two") == 3
    store.close()
    again = LogStore(store.folder)
    assert told(again) == [(1, 0, b"one"), (1, 3, b"two")]
    again.close()


def test_a_write_marks_the_log_for_the_next_sync(store: LogStore) -> None:
    assert not store.written.is_set()
    store.append("r", "a", 1, 1, 0, b"one")
    assert store.written.is_set() and store._open["r"].dirty
    store.sync()
    assert not store._open["r"].dirty


def test_an_attempt_that_is_begun_anew_is_heard_from_its_beginning(tmp_path: Path) -> None:
    """The same attempt number was used before, in a history that the restored home does not
    have."""
    logs = LogStore(tmp_path)
    logs.append("r", "j", 1, log_store.STDOUT, 0, b"of another past")
    logs.begin("r", "j", 1)
    logs.begin("r", "j", 2)
    logs.begin("elsewhere", "j", 1)
    assert logs.received("r", "j", 1) == (0, 0)
    logs.append("r", "j", 1, log_store.STDOUT, 0, b"now")
    for store in (logs, LogStore(tmp_path)):
        store.close()  # the next read opens the file again
        assert [data for _, _, data in store.pieces("r", "j", 1, {})] == [b"now"]
        assert store.received("r", "j", 1) == (3, 0)
        store.close()


def test_a_gap_is_known_once_and_after_a_restart(tmp_path: Path) -> None:
    store = LogStore(tmp_path / "logs")
    store.append("r", "a", 1, 1, 0, b"head")
    assert store.append("r", "a", 1, 1, 4, b"tail", 1000) == 4
    assert store.append("r", "a", 1, 1, 4, b"tail", 1000) == 0
    size = store.size("r")
    for _ in range(2):
        assert told(store) == [(1, 0, b"head"), (1, 4, b"tail")]
        assert [store.skipped("r", "a", 1, 1, offset) for offset in (0, 4)] == [0, 1000]
        assert store.received("r", "a", 1) == (8, 0)
        store.close()
        store = LogStore(tmp_path / "logs")
    assert store.size("r") == size
    store.begin("r", "a", 1)
    assert store.skipped("r", "a", 1, 1, 4) == 0, "the output of that number is void"
    store.close()


def test_output_of_a_run_is_read_in_the_order_of_arrival(store: LogStore) -> None:
    for job, stream, offset, data in (("a", 1, 0, b"1"), ("b", 2, 0, b"2"), ("a", 1, 1, b"3"), ("b", 1, 0, b"4")):
        store.append("r", job, 1, stream, offset, data)
    found = list(store.run_pieces("r", 0))
    assert [(job, stream, data) for _, job, _, stream, _, data in found] == [
        ("a", 1, b"1"),
        ("b", 2, b"2"),
        ("a", 1, b"3"),
        ("b", 1, b"4"),
    ]
    assert [piece[-1] for piece in store.run_pieces("r", found[1][0] + 1)] == [b"3", b"4"]
    store.begin("r", "a", 1)
    assert [piece[-1] for piece in store.run_pieces("r", 0)] == [b"2", b"4"], "voided output is not read"
    assert list(store.run_pieces("none", 0)) == []
