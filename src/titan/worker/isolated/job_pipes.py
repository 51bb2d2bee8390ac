"""Pipes of jobs. The worker holds their read ends too, so output that a job wrote before it killed
its warden can still be read.

`Pipes` is the warden's side, `HeldPipes` the worker's. Pipes are created in advance for `BATCH`
jobs at a time, and their read ends go to the worker in one message. Both sides map a memory file
that records which job took which pair, because the warden may die before it reports the start. The
worker reads the file when reports come. So a job needs no message of its own, and wakes nobody.

The file is a ring of `RING` entries. Entry n % RING holds a job's key and n + 1: the job has the
n-th of the pairs that were handed over, counted from 0. If no pair can be handed over, because the
worker does not take them or has no descriptors to spare, a job still has pipes. Their content is
lost with the warden.

Part of the warden, and like it without imports of Titan.
"""

from __future__ import annotations

import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

BATCH = 16
RING = 1024
ENTRY_BYTES = 16
NOTE_BYTES = RING * ENTRY_BYTES
FDS_BYTES = 2 * BATCH * 4


class Pipes:
    """Supply of pipes. `take` returns [stdout's read end, its write end, the same of stderr]."""

    def __init__(self, link: int = -1, note: int = -1) -> None:
        """Create an empty supply. `link` is the socket to the worker's `HeldPipes`, -1 for none;
        `note` is the memory file."""
        self._link = _socket.socket(fileno=link) if link >= 0 else None
        self._note = note
        # (n, ends), the next pair is last; n is -1 for a pair that the worker does not hold
        self._ready: list[tuple[int, list[int]]] = []
        self._handed = 0

    def take(self, key: int) -> list[int]:
        """Return the pipes of a job. Raises OSError if there are no descriptors left."""
        if not self._ready:
            self._make()
        n, ends = self._ready.pop()
        if n >= 0:
            entry = key.to_bytes(8, "little", signed=True) + (n + 1).to_bytes(8, "little")
            os.pwrite(self._note, entry, n % RING * ENTRY_BYTES)
        return ends

    def _make(self) -> None:
        made: list[list[int]] = []
        ends: list[int] = []
        try:
            for _ in range(BATCH if self._link is not None else 1):
                ends = []
                ends += os.pipe()
                ends += os.pipe()
                made.append(ends)
        except OSError:
            if ends and (not made or ends is not made[-1]):
                for fd in ends:
                    os.close(fd)
            if not made:
                raise
        first = self._hand_over(made)
        self._ready = [(first + i if first >= 0 else -1, ends) for i, ends in enumerate(made)][::-1]

    def _hand_over(self, made: list[list[int]]) -> int:
        """Send the read ends to the worker. Return the number of the first pair, -1 if the worker
        does not take them now."""
        if self._link is None:
            return -1
        fds = b"".join([fd.to_bytes(4, sys.byteorder) for ends in made for fd in ends[::2]])
        try:
            self._link.sendmsg(
                [bytes([len(made)])], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)], _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
            )
        except OSError:
            return -1
        first, self._handed = self._handed, self._handed + len(made)
        return first


class HeldPipes:
    """Pipes held by the worker. Call `look` when reports have come, and `release` when a job is
    over."""

    def __init__(self, link: socket, note: int, most: int) -> None:
        """Take over the link, which `close` closes, and map the memory file. Pipes of at most
        `most` jobs are held."""
        import mmap  # not at the top: the warden does not need these
        import struct

        self._entry = struct.Struct("<qQ").unpack_from
        self._link = link
        self._note = mmap.mmap(note, NOTE_BYTES, access=mmap.ACCESS_READ)
        self._most = most
        # number -> pair that was handed over and is not known to belong to a job
        self._spare: dict[int, tuple[int, int]] = {}
        self._received = 0
        self._next = 0  # number of the first pair that is not known to belong to a job
        self._of: dict[int, tuple[int, int]] = {}  # key -> pair

    def look(self) -> None:
        """Read which jobs have begun."""
        while True:
            key, mark = self._entry(self._note, self._next % RING * ENTRY_BYTES)
            if mark <= self._next:
                return
            while self._received <= self._next and self._receive():
                pass
            pair = self._spare.pop(self._next, None)
            if pair is not None:
                if mark == self._next + 1:
                    self._of[key] = pair
                else:  # overwritten, because more than RING jobs began since the last look
                    _close(pair)
            self._next += 1

    def begun(self) -> list[int]:
        """Return the jobs that have begun and were not released."""
        return list(self._of)

    def take(self, key: int) -> tuple[int, int] | None:
        """Return the read ends of a job's stdout and stderr. The caller owns them from then on."""
        return self._of.pop(key, None)

    def release(self, key: int) -> None:
        pair = self._of.pop(key, None)
        if pair is not None:
            _close(pair)

    def close(self) -> None:
        """Close all pipes, also those that wait in the socket."""
        if self._note.closed:
            return
        while self._receive():
            pass
        for pair in (*self._spare.values(), *self._of.values()):
            _close(pair)
        self._spare.clear()
        self._of.clear()
        self._link.close()
        self._note.close()

    def _receive(self) -> bool:
        """Receive a message. Return whether there was one."""
        try:
            room = _socket.CMSG_SPACE(FDS_BYTES)
            data, control, _, _ = self._link.recvmsg(1, room, _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if not data:
            return False
        fds = [
            int.from_bytes(body[at : at + 4], sys.byteorder)
            for level, kind, body in control
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for at in range(0, len(body) - 3, 4)
        ]
        whole = len(fds) == 2 * data[0] and len(self._spare) + len(self._of) + data[0] <= self._most
        if whole:
            self._spare.update({self._received + i: (fds[2 * i], fds[2 * i + 1]) for i in range(data[0])})
        else:  # the kernel truncated the message because no descriptors were left
            for fd in fds:
                os.close(fd)
        self._received += data[0]
        return True


def _close(pair: tuple[int, int]) -> None:
    for fd in pair:
        os.close(fd)
