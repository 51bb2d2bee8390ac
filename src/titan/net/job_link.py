"""Connection of a job to its worker. It carries requests, which are answered, and notes, which are
not. Both are messages of TITAN_PROTO.

A connection begins with the line `TITAN LEASE job TOKEN`. The worker's end of the connection is
`titan.worker.context.requests`.

This module imports only the standard library, the errors and the back-off, so that `titan context`
and the first call of a script start fast. For the same reason it has a small MessagePack
implementation of its own, which tests compare with the codec. Only the function `ask`, which takes
message objects, imports msgspec.

    link = JobLink()
    # Opcode, then the fields after the request id. 0 is the lease, which the worker fills in.
    answer = link.ask(READ_VALUE, (0, "prepare"))
    link.tell(REPORT_PROGRESS, (0.5, "half"))  # has no answer
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time

from titan.errors import CallerError, ConnectionLost, ProtocolError, TitanError, from_code
from titan.net.backoff import Backoff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from titan.protocol.messages import Message

    A = TypeVar("A", bound=Message)

ERROR = 3
WHO_AM_I, IDENTITY, NOTED, REPORT_PROGRESS, SET_STATUS, SET_RESULT, READ_VALUE, VALUE_READ = range(184, 192)
FIND_ARTIFACT, ARTIFACTS, PUBLISH_PATH, FETCH_PATH = 208, 210, 212, 213
PATIENCE_S = 60.0
"""Seconds for which a retryable request is retried."""
ANSWER_S = 120.0
"""Timeout of one send or receive on the socket."""
WAIT_MIN_S, WAIT_MAX_S = 0.02, 1.0
SOCKET, LEASE, TOKEN = "TITAN_CONTEXT", "TITAN_LEASE", "TITAN_CONTEXT_TOKEN"
_BLOB = 0x08
_header = struct.Struct(">BBBBI")


class NotInJob(CallerError):
    """Use of the connection in a process that no worker started."""

    code = "not_in_job"


class AttemptIdentity:
    """Identity of the attempt that this process runs."""

    __slots__ = ("attempt", "job", "lease", "run", "seq")

    def __init__(self, lease: int, run: str, job: str, attempt: int, seq: int = 0) -> None:
        self.lease = lease
        self.run = run
        self.job = job
        self.attempt = attempt
        self.seq = seq
        """Sequence number of the call within its function runner; 0 outside of a call."""


def first_lease() -> str:
    """Return the lease from the environment; in a function runner, the runner's key, which begins
    with "-".

    Raises NotInJob.
    """
    path, lease = os.environ.get(SOCKET, ""), os.environ.get(LEASE, "")
    if not path or not lease.removeprefix("-").isdigit():
        raise NotInJob(
            "this process is not a job of Titan: TITAN_CONTEXT and TITAN_LEASE, which a worker sets for its jobs, are missing. "
            "Run this program as a job (`titan run`), or use titan.Client and `titan store` outside of jobs"
        )
    return lease


def first_line(lease: str, channel: str) -> bytes:
    """Return the first line of a connection to the worker."""
    return f"TITAN {lease} {channel} {os.environ.get(TOKEN, '')}\n".encode("utf-8", "surrogateescape")


def call_seq() -> int:
    """Return the sequence number of the current call within its function runner.

    Return 0 outside of a call. Also return 0 in a child process that executed another program,
    because it cannot know its call.
    """
    runner = sys.modules.get("_titan_runner")
    marks = getattr(runner, "current_marks", None)
    return int(marks[0]) if marks is not None else 0


class JobLink:
    """One connection to the worker, opened by the first request.

    Threads may share it: a lock makes their requests wait for one another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0
        self._seq = -1
        self._numbers = 0
        self._inbox = b""
        self.identity: AttemptIdentity | None = None

    def ask(self, opcode: int, fields: tuple[Any, ...], blob: bytes | memoryview | None = None) -> list[Any]:
        """Send a request and return the fields of its answer.

        A retryable failure (no master, a broken connection) is retried for PATIENCE_S. A request
        that must not run twice therefore carries an idempotency key. Raises the error of the
        answer, NotInJob, ConnectionLost.
        """
        until, backoff = time.monotonic() + PATIENCE_S, Backoff(WAIT_MIN_S, WAIT_MAX_S)
        while True:
            try:
                with self._lock:
                    self._open()
                    return self._exchange(opcode, fields, blob)
            except TitanError as e:
                if not e.retryable or time.monotonic() > until:
                    raise
            time.sleep(backoff.next_s())

    def tell(self, opcode: int, fields: tuple[Any, ...]) -> None:
        """Send a note, which has no answer.

        A connection that breaks during the send is no error, because a job ends with its worker.
        Raises NotInJob, and ConnectionLost if there is no connection and none can be opened.
        """
        with self._lock:
            self._open()
            try:
                assert self._socket is not None
                self._socket.sendall(_frame(opcode, (0, *fields)))
            except OSError:
                self._drop()

    def identify(self) -> AttemptIdentity:
        """Return the attempt of this process. In a function runner, the worker answers this;
        elsewhere the environment has the answer."""
        lease = first_lease()
        if not lease.startswith("-"):
            env = os.environ
            return AttemptIdentity(
                int(lease), env.get("TITAN_RUN", ""), env.get("TITAN_JOB", ""), int(env.get("TITAN_ATTEMPT") or 0), 0
            )
        with self._lock:
            self._open()
            assert self.identity is not None
            return self.identity

    # -- the connection ----------------------------------------------------------------------------
    def _open(self) -> None:
        """Connect if necessary, and identify the current call to the worker. Raises NotInJob,
        ConnectionLost, Conflict."""
        lease = first_lease()
        seq = call_seq() if lease.startswith("-") else 0
        if self._socket is None or self._pid != os.getpid() or is_closed(self._socket):
            self._drop()
            sock = socket.socket(socket.AF_UNIX)
            # These options in place of settimeout, with which the peek in `is_closed` would wait.
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(ANSWER_S), 0))
            try:
                sock.connect(os.environ[SOCKET])
                sock.sendall(first_line(lease, "job"))
            except OSError as e:
                sock.close()
                raise ConnectionLost(f"this job's worker cannot be reached at {os.environ[SOCKET]}: {e}") from e
            self._socket, self._pid, self._seq, self._inbox = sock, os.getpid(), -1, b""
        if lease.startswith("-") and (self._seq != seq or not seq):
            self.identity = None
            lease, run, job, attempt = self._exchange(WHO_AM_I, (seq,), None)[1:5]
            self.identity = AttemptIdentity(int(lease), run, job, attempt, seq)
            self._seq = seq

    def _exchange(self, opcode: int, fields: tuple[Any, ...], blob: bytes | memoryview | None) -> list[Any]:
        sock = self._socket
        assert sock is not None
        self._numbers += 1
        try:
            sock.sendall(_frame(opcode, (self._numbers, *fields), blob))
            while True:
                kind, answer = self._receive(sock)
                if kind == ERROR and answer[0] in (0, self._numbers):
                    raise from_code(answer[1], answer[2]) if not answer[4] else _retryable(answer[1], answer[2])
                if answer[0] == self._numbers:
                    return answer
        except OSError as e:
            self._drop()
            raise ConnectionLost(f"the connection to this job's worker broke: {e or type(e).__name__}") from e

    def _receive(self, sock: socket.socket) -> tuple[int, list[Any]]:
        while True:
            if len(self._inbox) >= _header.size:
                _, opcode, flags, _, size = _header.unpack_from(self._inbox)
                if len(self._inbox) >= _header.size + size:
                    payload, self._inbox = self._inbox[_header.size : _header.size + size], self._inbox[_header.size + size :]
                    if flags & _BLOB:
                        payload = payload[4 : 4 + int.from_bytes(payload[:4], "big")]
                    return opcode, _unpack(payload)
            data = sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError("the worker closed it")
            self._inbox += data

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self.identity = None, None


def is_closed(sock: socket.socket) -> bool:
    """Return whether the other side is known to have closed a connection."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _retryable(code: str, message: str) -> TitanError:
    """Return a retryable error: of this code if such errors are retryable, else ConnectionLost."""
    error = from_code(code, message)
    return error if error.retryable else ConnectionLost(message)


# -- TITAN_PROTO -----------------------------------------------------------------------------------
def _frame(opcode: int, fields: tuple[Any, ...], blob: bytes | memoryview | None = None) -> bytes:
    payload = pack(fields)
    if blob is None:
        return _header.pack(1, opcode, 0, 0, len(payload)) + payload
    head = _header.pack(1, opcode, _BLOB, 0, 4 + len(payload) + len(blob))
    return b"".join((head, len(payload).to_bytes(4, "big"), payload, blob))


class Packed(bytes):
    """Bytes that are MessagePack already."""


def pack(value: Any) -> bytes:
    """Return a value as MessagePack. Raises TypeError for a type that MessagePack does not have."""
    if isinstance(value, Packed):
        return value
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return (b"\xcf" + struct.pack(">Q", value)) if value >= 0 else (b"\xd3" + struct.pack(">q", value))
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return b"\xdb" + len(data).to_bytes(4, "big") + data
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"\xc6" + len(value).to_bytes(4, "big") + bytes(value)
    if isinstance(value, (list, tuple)):
        return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(pack, value))
    if isinstance(value, dict):
        return b"\xdf" + len(value).to_bytes(4, "big") + b"".join([pack(k) + pack(v) for k, v in value.items()])
    raise TypeError(f"a message cannot hold {value!r}, which is a {type(value).__name__}")


def _unpack(data: bytes) -> list[Any]:
    value, end = unpack(data, 0)
    if not isinstance(value, list) or end != len(data):
        raise ProtocolError("the worker's answer is not a message")
    return value


_FIXED = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZED = {0xC4: (1, "bin"), 0xC5: (2, "bin"), 0xC6: (4, "bin"), 0xD9: (1, "str"), 0xDA: (2, "str"), 0xDB: (4, "str"),
          0xDC: (2, "list"), 0xDD: (4, "list"), 0xDE: (2, "map"), 0xDF: (4, "map")}  # fmt: skip


def unpack(data: bytes, at: int) -> tuple[Any, int]:
    """Return the value at an offset, and the offset of its end. Raises ProtocolError."""
    try:
        return _unpacked(data, at)
    except (IndexError, struct.error, UnicodeDecodeError, RecursionError, TypeError) as e:
        raise ProtocolError(f"the worker's answer cannot be read: {e}") from e


def _unpacked(data: bytes, at: int) -> tuple[Any, int]:
    first, at = data[at], at + 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 256, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first in _FIXED:
        form = struct.Struct(_FIXED[first])
        return form.unpack_from(data, at)[0], at + form.size
    if first in _SIZED:
        width, kind = _SIZED[first]
        size, at = int.from_bytes(data[at : at + width], "big"), at + width
    elif first < 0xC0:
        size, kind = first & (0x1F if first >= 0xA0 else 0x0F), "str" if first >= 0xA0 else "list" if first >= 0x90 else "map"
    else:
        raise ProtocolError(f"the worker's answer holds an unknown type byte {first:#x}")
    if kind in ("bin", "str"):
        if at + size > len(data):
            raise ProtocolError("the worker's answer ends too early")
        return (data[at : at + size] if kind == "bin" else data[at : at + size].decode()), at + size
    items = []
    for _ in range(size if kind == "list" else 2 * size):
        value, at = _unpacked(data, at)
        items.append(value)
    return (items if kind == "list" else dict(zip(items[::2], items[1::2], strict=True))), at


own = JobLink()
"""Connection that all requests of this process share."""


def ask(message: Message, kind: type[A], blob: bytes | None = None) -> A:
    """Send a request to the worker, which may forward it to the master. Return the answer as a
    `kind`.

    The other modules of the SDK use this function, which fills in the request id. Retries and
    errors are those of `JobLink.ask`.
    """
    import msgspec

    from titan.protocol.opcodes import OPCODE_OF

    encode = msgspec.msgpack.Encoder().encode
    fields = tuple([Packed(encode(getattr(message, name))) for name in message.__struct_fields__[1:]])
    return msgspec.convert(own.ask(OPCODE_OF[type(message)], fields, blob), kind)
