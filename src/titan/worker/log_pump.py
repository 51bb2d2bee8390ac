"""Transfer of the output of attempts to the master. New output is sent at once if the master can
take it. Otherwise it is read back from the log file later.

So a slow or absent master costs no memory: the log files are the buffer. Owns the offsets up to
which the output of each attempt was sent. This module must not know sockets: `send` takes a message
and its bytes, and `ready` returns whether a master is connected and reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from titan.protocol.messages import LogData
from titan.worker.state_machine.machine import Assignment

STDOUT, STDERR = 1, 2
CHUNK = 256 * 1024


class _Stream:
    __slots__ = ("added", "gaps", "path", "sent", "written")

    def __init__(self, path: str) -> None:
        self.path = path
        self.written = 0
        self.sent = 0
        self.added = b""
        """Bytes after the end of the file: a line about lost output, which the disk could not
        take."""
        self.gaps: dict[int, int] | None = None
        """Offset -> number of bytes that the job wrote there and that are not in the log."""

    def read(self) -> bytes:
        """Return the next unsent bytes, b"" if the file was removed. They end before a gap."""
        in_file = self.written - len(self.added) - self.sent
        if in_file <= 0:
            return self.added[-in_file:]
        to_gap = min((at - self.sent for at in self.gaps or () if at > self.sent), default=CHUNK)
        return _read(self.path, self.sent, min(CHUNK, in_file, to_gap))

    def skipped(self, offset: int) -> int:
        """Return the size of the gap right before a part."""
        return self.gaps.get(offset, 0) if self.gaps is not None else 0


class _Output:
    __slots__ = ("assignment", "ended", "streams")

    def __init__(self, assignment: Assignment, stdout: str, stderr: str) -> None:
        self.assignment = assignment
        self.streams = {STDOUT: _Stream(stdout), STDERR: _Stream(stderr)}
        self.ended = False

    @property
    def caught_up(self) -> bool:
        return all(s.sent >= s.written for s in self.streams.values())


class LogPump:
    def __init__(
        self,
        ready: Callable[[], bool],
        send: Callable[[LogData, bytes], None],
        on_sent: Callable[[int], None],
        on_lag: Callable[[], None],
    ) -> None:
        self._ready = ready
        self._send = send
        self._on_sent = on_sent
        self._on_lag = on_lag
        self._outputs: dict[int, _Output] = {}
        self._lagging: dict[int, None] = {}
        self._batch: list[tuple[Assignment, int, int, bytes, int]] = []

    def open(self, assignment: Assignment, stdout: str, stderr: str) -> None:
        self._outputs[assignment.lease] = _Output(assignment, stdout, stderr)

    def paths(self, lease: int) -> tuple[str, str] | None:
        """Return the log paths (stdout, stderr) of an open attempt."""
        output = self._outputs.get(lease)
        return None if output is None else (output.streams[STDOUT].path, output.streams[STDERR].path)

    def on_output(self, lease: int, stream: int, offset: int, data: bytes, skipped: int = 0) -> None:
        """Handle `data` that was just written to the log at `offset`. Empty data means that the log
        has output up to `offset` that no earlier call mentioned. `skipped` bytes before `data` were
        dropped."""
        output = self._outputs.get(lease)
        if output is None:
            return
        s = output.streams[stream]
        s.written = offset + len(data)
        if skipped:
            s.gaps = {**(s.gaps or {}), offset: skipped}
        if s.sent == s.written:
            return
        if s.sent == offset and self._ready():
            self._batch.append((output.assignment, stream, offset, data, skipped))
            s.sent = s.written
        else:
            self._lag(lease)

    def add(self, lease: int, text: bytes) -> None:
        """Add a last line to stderr. The line is kept in memory, because the disk refused
        output."""
        output = self._outputs.get(lease)
        if output is not None:
            s = output.streams[STDERR]
            s.added += text
            s.written += len(text)
            self._lag(lease)

    def on_ended(self, lease: int) -> None:
        """Note that no more output follows. `on_sent` is called when all output was sent to the
        master."""
        output = self._outputs.get(lease)
        if output is None:
            self._on_sent(lease)
            return
        output.ended = True
        if output.caught_up and self._ready():
            self._on_sent(lease)
        else:
            self._lag(lease)

    def forget(self, lease: int) -> bool:
        """Drop an attempt. Return whether the attempt may have printed output."""
        output = self._outputs.pop(lease, None)
        self._lagging.pop(lease, None)
        return output is None or any(stream.written for stream in output.streams.values())

    def disconnected(self) -> None:
        """Handle a lost connection, with which sent output may be lost. After the next registration
        the master names the offsets that it has (`resume`)."""
        self._batch.clear()
        self._lagging.update(dict.fromkeys(self._outputs))

    def resume(self, lease: int, stdout: int, stderr: int) -> None:
        """Send an attempt's output again from the offsets up to which the master has it."""
        output = self._outputs.get(lease)
        if output is not None:
            for stream, have in ((STDOUT, stdout), (STDERR, stderr)):
                output.streams[stream].sent = min(have, output.streams[stream].written)
            self._lag(lease)

    def flush(self) -> None:
        """Send the output that this turn gathered, as one message."""
        if self._batch:
            batch, self._batch = self._batch, []
            message = LogData(
                0,
                [a.run for a, *_ in batch],
                [a.job for a, *_ in batch],
                [a.attempt for a, *_ in batch],
                [stream for _, stream, *_ in batch],
                [offset for _, _, offset, _, _ in batch],
                [len(data) for _, _, _, data, _ in batch],
                skipped if any(skipped := [skipped for *_, skipped in batch]) else [],
            )
            self._send(message, b"".join([data for _, _, _, data, _ in batch]))

    def catch_up(self) -> bool:
        """Read one chunk of unsent output from a log and send it. Return False if there is no
        unsent output, or no master that reads."""
        while self._lagging and self._ready():
            lease = next(iter(self._lagging))
            output = self._outputs.get(lease)
            if output is None or output.caught_up:
                del self._lagging[lease]
                if output is not None and output.ended:
                    self._on_sent(lease)
                continue
            for stream, s in output.streams.items():
                if s.sent < s.written:
                    data = s.read()
                    if not data:  # the file was removed, so there is nothing left to send
                        s.sent = max(s.sent, s.written - len(s.added))
                        continue
                    self._batch.append((output.assignment, stream, s.sent, data, s.skipped(s.sent)))
                    s.sent += len(data)
                    self.flush()
                    return True
        return False

    def _lag(self, lease: int) -> None:
        self._lagging[lease] = None
        self._on_lag()


def _read(path: str, offset: int, length: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)
