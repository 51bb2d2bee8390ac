"""A worker's log pump between real files and a master that only stores what it receives."""

from __future__ import annotations

from pathlib import Path

from support.worker_machine import assignment
from titan.protocol.messages import LogData
from titan.worker.log_pump import LogPump

Key = tuple[str, int]
"""(job, stream)"""


class Link:
    """Connection of the pump. Messages are in flight until `deliver`; `cut` loses the messages in
    flight."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connected = True
        self.congested = False
        self.flight: list[tuple[LogData, bytes]] = []
        self.written: dict[Key, bytes] = {}
        self.received: dict[Key, bytes] = {}
        self.leases: list[int] = []
        self.done: list[int] = []
        """Leases of the attempts for which the pump reported that all output was sent."""
        self.lagged = 0
        self.pump = LogPump(lambda: self.connected and not self.congested, self._send, self._on_sent, self._on_lag)

    def _send(self, message: LogData, data: bytes) -> None:
        assert self.connected and not self.congested, "sent to nobody"
        assert sum(message.sizes) == len(data)
        self.flight.append((message, data))

    def _on_sent(self, lease: int) -> None:
        self.pump.flush()
        self.done.append(lease)

    def _on_lag(self) -> None:
        self.lagged += 1

    def open(self, lease: int) -> None:
        paths = [self.folder / f"{lease}.{stream}" for stream in ("stdout", "stderr")]
        for path in paths:
            path.touch()
        self.leases.append(lease)
        self.pump.open(assignment(lease), str(paths[0]), str(paths[1]))

    def write(self, lease: int, stream: int, data: bytes, skipped: int = 0) -> None:
        key = (f"j{lease}", stream)
        so_far = self.written.get(key, b"")
        with (self.folder / f"{lease}.{('stdout', 'stderr')[stream - 1]}").open("ab") as log:
            log.write(data)
        self.written[key] = so_far + data
        self.pump.on_output(lease, stream, len(so_far), data, skipped)

    def deliver(self, messages: int = 1000) -> None:
        for message, data in self.flight[:messages]:
            at = 0
            for job, stream, offset, size in zip(message.jobs, message.streams, message.offsets, message.sizes, strict=True):
                have = self.received.get((job, stream), b"")
                assert offset <= len(have), f"{job}, stream {stream}: a gap from {len(have)} to {offset}"
                self.received[job, stream] = have + data[at : at + size][len(have) - offset :]
                at += size
        del self.flight[:messages]

    def cut(self) -> None:
        self.connected = self.congested = False
        self.flight.clear()
        self.pump.disconnected()

    def reconnect(self) -> None:
        for lease in self.leases:
            self.pump.resume(lease, *(len(self.received.get((f"j{lease}", stream), b"")) for stream in (1, 2)))
        self.connected = True

    def catch_up(self) -> None:
        while self.pump.catch_up():
            pass
