"""Capture of a job's stream from its pipe into its log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from titan.worker.isolated.capture import READ_BYTES, Capture


def piped(data: bytes) -> int:
    """Return the reading end of a pipe that contains `data` and is closed after it."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, data)
    os.close(writing)
    return reading


def bytes_of(reports: list[tuple[Any, ...]]) -> bytes:
    assert all(report[0] == "output" for report in reports)
    return b"".join(report[5] for report in reports)


def gaps_of(reports: list[tuple[Any, ...]]) -> dict[int, int]:
    """Return offset in the log -> number of bytes that were dropped there."""
    return {report[3]: report[4] for report in reports if report[4]}


def test_the_head_is_never_only_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that reads output and then writes it can be killed in between, and loses the
    output. The test checks that no output is read before it is written."""

    def refuse(*_: object) -> None:
        raise AssertionError("the output was read before it was written")

    pipe = piped(b"x" * 50_000)
    for name in ("write", "pwrite"):
        monkeypatch.setattr(os, name, refuse)
    reports: list[tuple[Any, ...]] = []
    capture = Capture(1, 1, pipe, str(tmp_path / "log"), 1 << 20)
    capture.pump(reports, 1 << 20)
    capture.finish(reports)
    assert (tmp_path / "log").read_bytes() == bytes_of(reports) == b"x" * 50_000
    assert capture.pipe == -1


def test_nothing_printed_makes_no_log(tmp_path: Path) -> None:
    capture = Capture(1, 1, piped(b""), str(tmp_path / "log"), 1000)
    reports: list[tuple[Any, ...]] = []
    capture.pump(reports, READ_BYTES)
    capture.finish(reports)
    assert not (tmp_path / "log").exists()
    assert reports == []


@pytest.mark.parametrize("splices", [True, False], ids=["splice", "read and write"])
@pytest.mark.parametrize("size", [1, 700, 750, 751, 1000, 1001, 20_000])
def test_splice_and_copy_write_the_same_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, splices: bool, size: int) -> None:
    if not splices:
        monkeypatch.delattr(os, "splice")
    data = bytes(i % 251 for i in range(size))
    capture = Capture(1, 1, piped(data), str(tmp_path / "log"), 1000)
    reports: list[tuple[Any, ...]] = []
    capture.pump(reports, 1 << 20)
    capture.finish(reports)
    log = (tmp_path / "log").read_bytes()
    assert bytes_of(reports) == log
    assert log == (data if size <= 1000 else data[:750] + data[-250:]), "a log has only bytes of the job"
    assert capture.dropped == max(0, size - 1000)
    assert gaps_of(reports) == ({750: size - 1000} if size > 1000 else {})


def test_a_file_system_that_cannot_splice_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "splice", refuse)
    capture = Capture(1, 1, piped(b"said"), str(tmp_path / "log"), 1000)
    reports: list[tuple[Any, ...]] = []
    capture.pump(reports, READ_BYTES)
    capture.finish(reports)
    assert (tmp_path / "log").read_bytes() == bytes_of(reports) == b"said"


def test_output_for_dev_null_is_reported_all_the_same() -> None:
    """The worker writes the log of a service."""
    capture = Capture(1, 1, piped(b"said"), os.devnull, 1000)
    reports: list[tuple[Any, ...]] = []
    capture.pump(reports, READ_BYTES)
    capture.finish(reports)
    assert bytes_of(reports) == b"said"


def test_a_log_that_cannot_be_written_says_why_and_takes_the_rest_from_the_pipe() -> None:
    capture = Capture(1, 1, piped(b"x" * 30_000), "/dev/full", 1000)
    reports: list[tuple[Any, ...]] = []
    capture.pump(reports, 1 << 20)
    capture.finish(reports)
    assert [report[0] for report in reports] == ["log_failed"]
    assert capture.dropped == 30_000
    assert capture.pipe == -1
