"""Pipes for the output of jobs. The warden and the worker both hold the read ends. So the worker
can still read output that a job wrote before the job killed its warden.

`Pipes` is the warden's side, `HeldPipes` the worker's. The warden creates pipes in advance for
`BATCH` jobs at a time, and sends their read ends to the worker in one message. A job has a pair of
pipes, for stdout and stderr. The warden records the pair of each job in a memory file that both
processes share, because the warden may die before it reports the start of the job. The worker reads
the file when reports come. So the start of a job needs no extra message, and does not wake the
worker.

The file is a ring of `RING` entries. Pairs are numbered from 0 in the order in which they are sent
to the worker. Entry n % RING has the key of the job that took pair n, and n + 1. A job also has
pipes if the warden cannot send them, because the worker does not read the messages or has no free
descriptors. The content of such pipes is lost if the warden dies.

Part of the warden. Like the warden it imports nothing of Titan.
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
    """Supply of pipes. `take` returns [read end, write end] of stdout, followed by those of
    stderr."""

    def __init__(self, link: int = -1, note: int = -1) -> None:
        """Create an empty supply. `link` is the socket to the worker's `HeldPipes`, -1 for none.
        `note` is the descriptor of the memory file."""
        self._link = _socket.socket(fileno=link) if link >= 0 else None
        self._note = note
        # (n, ends) of the pairs in stock. The next pair to use is last. n is -1 for a pair that the
        # worker does not hold.
        self._ready: list[tuple[int, list[int]]] = []
        self._handed = 0

    def take(self, key: int) -> list[int]:
        """Return the pipes for a job. Raises OSError if no descriptors are left."""
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
    """Read ends that the worker holds. Call `look` when reports have come, and `release` when a job
    is over."""

    def __init__(self, link: socket, note: int, most: int) -> None:
        """Take over the socket `link`, which `close` closes, and map the memory file `note`. The
        pipes of at most `most` jobs are held."""
        import mmap  # not at the top: the warden does not need these
        import struct

        self._entry = struct.Struct("<qQ").unpack_from
        self._link = link
        self._note = mmap.mmap(note, NOTE_BYTES, access=mmap.ACCESS_READ)
        self._most = most
        # number -> received pair that no known job has taken
        self._spare: dict[int, tuple[int, int]] = {}
        self._received = 0
        self._next = 0  # number of the first pair that no known job has taken
        self._of: dict[int, tuple[int, int]] = {}  # key -> pair

    def look(self) -> None:
        """Read from the memory file which jobs have begun."""
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
                else:  # the entry was overwritten, because more than RING jobs began since the last call
                    _close(pair)
            self._next += 1

    def begun(self) -> list[int]:
        """Return the keys of the jobs that have begun and were not released."""
        return list(self._of)

    def take(self, key: int) -> tuple[int, int] | None:
        """Return the read ends of a job's stdout and stderr, which the caller has to close. None:
        the worker does not hold them."""
        return self._of.pop(key, None)

    def release(self, key: int) -> None:
        pair = self._of.pop(key, None)
        if pair is not None:
            _close(pair)

    def close(self) -> None:
        """Close all pipes, including those in messages that were not received yet."""
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
        """Receive one message with pipes. Return False if there is none."""
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
        else:  # the worker has too many pipes, or the kernel truncated the message because no descriptors were left
            for fd in fds:
                os.close(fd)
        self._received += data[0]
        return True


def _close(pair: tuple[int, int]) -> None:
    for fd in pair:
        os.close(fd)
