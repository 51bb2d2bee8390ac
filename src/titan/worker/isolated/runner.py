"""The function runner: a long-lived process that executes Python calls for a worker, one at a time,
many per message.

It owns the calls in its queue, what they print, and the errors that they raise: whatever a call
does short of killing the process becomes that call's result. It knows nothing of jobs, attempts or
the master: a call is a sequence number here. It imports nothing of Titan but `orders` and
`reports`, which are like it, because it runs as `python runner.py SOCKET_PATH TOKEN STDOUT_PATH
STDERR_PATH LOG_LIMIT VALUES_FOLDER SESSION MEMORY` in the user's interpreter. That interpreter is
Python 3.10 or later and needs cloudpickle; without the latter every call is refused. It serves the
calls of one program (SESSION). It ends between two calls, with what has not begun, if it has more
than MEMORY bytes or far more threads or descriptors than a process needs.

Protocol: the runner connects to the AF_UNIX stream socket SOCKET_PATH and says ("hello", pid,
TOKEN). The worker answers with one zero byte that carries two descriptors: an eventfd
(EFD_SEMAPHORE | EFD_NONBLOCK) of tokens, and a memfd of 4096 bytes, the marks. Orders are messages
of tuples, see `orders`. Reports are plain fields, see `reports`: users' code runs here, so the
worker reads them without executing anything. Times are `time.monotonic()` in seconds.

Orders
    ("function", hash, pickled)                     enters a function; it is unpickled at its first call, and a failure of that is
                                                    kept as the error of every call
    ("calls", hash, first_seq, [payload, ...], priority)   payload: see `pack_arguments`; or a pair of that and a list of values
                                                    for which it has placeholders, see `Arguments`
    ("chunk", hash, seq, payload)                   one call for many values; payload: the pickle of a list of argument tuples
    ("give_back", k)                                the last k calls of the queue are the worker's again
    ("quit",)                                       exit once it is read, whatever is queued; so does the end of the stream
Reports
    ("results", first_seq, statuses, payloads, started_s, finished_s)   columns, one entry per call, in order
    ("printed", seq, stream, data)                  call `seq` printed `data` on stream 1 or 2; comes before the call's result
    ("unprinted", seq, errno)                       the system refused some of what call `seq` printed; comes before its result
    ("given_back", k)
    ("waits", seq, 1 or 0)                          call `seq`, which runs, waits for other calls, or goes on

Statuses and payloads
    0 OK        the pickle of the value; b"" is None. A chunk: the pickle of a list of (True, value) or (False, description)
    1 RAISED, 2 UNPICKLABLE (the result), 3 UNLOADABLE (function or arguments) a description: type
                name, str(exception), traceback, and the pickle of the exception or none. All but
                the last is text, so it can be read where the exception's class does not exist, and
                without executing anything

Taking back: each queued call has one token. The worker adds tokens before it sends the calls; the
runner takes one before it starts a call, always the front one; no token, no call. A worker that has
read k tokens itself knows that the last k calls of the queue never run, even while the runner is
busy. It sends "give_back", and no new calls until "given_back" has come.

    4 FILED     the value's pickle, if it is over 64 KiB, is in a file of VALUES_FOLDER: `FILED_HEAD`, then the name of the file

Marks: the first 8 bytes hold the seq of the call that was started last, the next 8 of the one that
ended last (0: none). After a death the worker knows by them which call was running, which had ended
without being reported, and which never began.

Results are sent when nothing is left to run, when 2 ms have passed since the last time, when 256
KiB wait, and before a call of a function that is not known to be quick: so a result waits behind a
slow call only where a long row of quick ones came before it.

Limits: 512 functions, the least recently ordered is forgotten; a message of 64 MiB, a result of 2
GiB; LOG_LIMIT bytes of output per call and stream, of which the head is kept. What a call prints is
on disk until the call ends. Output of threads or processes that outlive their call counts to the
next call.
"""

import errno
import fcntl
import gc
import io
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
import time
import traceback
import types
from collections import OrderedDict, deque
from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

if TYPE_CHECKING or __package__:
    from titan.worker.isolated.orders import take_orders
    from titan.worker.isolated.reports import FRAME_BYTES, pack_reports
else:  # the process itself: its first path is the folder of this file
    from orders import take_orders
    from reports import FRAME_BYTES, pack_reports

    del sys.modules["orders"], sys.modules["reports"]  # the user's may be called so

OK, RAISED, UNPICKLABLE, UNLOADABLE, FILED = range(5)
KIB = 1024
# of one call or result: a message holds at most 256 KiB besides it, and the columns
PAYLOAD_BYTES = FRAME_BYTES - 1024 * KIB
READ_BYTES = 64 * KIB
FLUSH_BYTES = 256 * KIB
FLUSH_S = 0.002
SLOW_S = 0.001
QUICK_ROW = 16  # quick calls in a row after which a function is taken for quick
FUNCTIONS = 512
MARK_BYTES = 4096
LOG_BYTES = 16 * KIB * KIB  # above any LOG_LIMIT
ENTRY_BYTES = 64  # what an entry of the columns takes besides its payload, and more
ERROR_BYTES = 1024 * KIB
INLINE_BYTES = 64 * KIB
VALUE_BYTES = 2048 * KIB * KIB
PIECE_BYTES = 1024 * KIB  # of a value: hashed and written while the CPU's cache holds it
# SHA-256, length; of the finished file inode, time of change, CPU time to write it (ns)
FILED_HEAD = struct.Struct(">32sQQQQ")
MAX_INT = (1 << 63) - 1
SCALARS = (int, float, bool)
TEXT_CHARS = 64 * KIB
TRACEBACK_CHARS = 256 * KIB
PROTOCOL = 5
LOOK_S = 0.5
MAX_THREADS = 256
MAX_DESCRIPTORS = 1024
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)

forked = False
current_marks: "memoryview | None" = None  # by which `titan.context` knows which call it is in
current: "Runner | None" = None  # by which the SDK says that a call waits for others


def pack_arguments(args: "tuple[Any, ...]", kwargs: "dict[str, Any]", dumps: "Callable[..., bytes]" = pickle.dumps) -> bytes:
    """The payload of a call: the pickle of `args`, or of (args, kwargs) where there are some or
    `args` looks like such a pair."""
    plain = not kwargs and not is_pair(args)
    return dumps(args if plain else (args, kwargs), PROTOCOL)


def is_pair(arguments: "tuple[Any, ...]") -> bool:
    return len(arguments) == 2 and type(arguments[0]) is tuple and type(arguments[1]) is dict


class Arguments(pickle.Unpickler):
    """A payload in which the results of other calls have their places: persistent id i is value i,
    unpickled when it is met.

    A value is b"" (None), b"i" and its pickle, b"f" and the path of a file that is its pickle, b"j"
    and JSON, b"g" and the path of a file that is JSON, or b"x" and the text that says why it cannot
    be had. The payload may be such a path, of a pickle, too.
    """

    def __init__(self, payload: bytes, values: "list[bytes]") -> None:
        super().__init__(open(payload[1:], "rb") if payload[:1] == b"f" else io.BytesIO(payload))
        self._values = values
        self._loaded: dict[int, Any] = {}

    def persistent_load(self, pid: "Any") -> "Any":
        if pid not in self._loaded:
            value = self._values[pid]
            if value[:1] == b"x":
                raise Refused(value[1:].decode())
            if value[:1] == b"f":
                with open(value[1:], "rb") as file:
                    self._loaded[pid] = pickle.load(file)
            elif value[:1] in (b"j", b"g"):
                self._loaded[pid] = load_json(value)
            else:
                self._loaded[pid] = pickle.loads(memoryview(value)[1:]) if value else None
        return self._loaded[pid]


def load_json(value: bytes) -> "Any":
    import json

    if value[:1] == b"j":
        return json.loads(value[1:])
    with open(value[1:], "rb") as file:
        return json.load(file)


# -- errors ----------------------------------------------------------------------------------------
class Refused(Exception):
    """A function or its arguments cannot be loaded, or a result cannot be sent; says why and what
    to do."""


def describe(error: BaseException) -> "tuple[bytes | None, str, str, str]":
    """What there is to say of an error: see the module's docstring. Never raises, whatever the
    exception's own methods do."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind is Refused:
        return None, name.rpartition(".")[2], str(error), str(error)
    own = describe.__code__.co_filename
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == own:
        trace = trace.tb_next
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<str() of this {name} raised {type(broken).__name__}>"
    try:
        lines = "".join(traceback.format_exception(kind, error, trace))
    except BaseException as broken:
        lines = f"{name}: <its traceback cannot be formatted: {type(broken).__name__}>\n"
    return pickled_error(error), name, cut(text, TEXT_CHARS), cut(lines, TRACEBACK_CHARS)


def pack_failure(pickled: "bytes | None", kind: str, text: str, trace: str) -> bytes:
    """What `describe` returns, as `titan.model.values.failure_of` reads it."""
    fields = [part.encode("utf-8", "backslashreplace") for part in (kind, text, trace)]
    head = struct.pack(">BIIII", 1, *map(len, fields), 0 if pickled is None else len(pickled) + 1)
    return b"".join([head, *fields, pickled or b""])


def cut(text: str, limit: int) -> str:
    """At most about `limit` characters, the head and the tail of `text`; what cannot be encoded is
    replaced."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n... {len(text) - limit} characters left out ...\n{text[len(text) - limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def pickled_error(error: BaseException) -> bytes | None:
    """None if it does not survive pickling, as with an __init__ that takes other arguments than it
    hands on, or is too large."""
    try:
        pickled = pickled_value(error)
        if len(pickled) > ERROR_BYTES:
            return None
        pickle.loads(pickled)
    except BaseException:
        return None
    return pickled


def pickled_value(value: object) -> bytes:
    """By plain pickle, and what that cannot do (lambdas, local classes) by cloudpickle. Raises what
    the latter raises."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:
        import cloudpickle

        pickled: bytes = cloudpickle.dumps(value, PROTOCOL)
        return pickled


# -- functions -------------------------------------------------------------------------------------
class Value:
    """Takes a pickle as it is made: in memory while it is small, then in a file of `folder`, hashed
    on the way."""

    __slots__ = ("_digest", "_fd", "_head", "_path", "_writing_ns", "size")

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/{os.getpid()}-{time.monotonic_ns()}.value"
        self._head = b""
        self._fd = -1
        self._digest: Any = None
        self._writing_ns = 0
        self.size = 0

    def write(self, data: "bytes | memoryview") -> int:
        count = len(data) if type(data) is bytes else memoryview(data).nbytes
        self.size += count
        if self._fd < 0:
            if self.size <= INLINE_BYTES:
                self._head = self._head + data if self._head else bytes(data)
                return count
            import hashlib

            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._digest = hashlib.sha256()
            self._append(self._head)
            self._head = b""
        if self.size > VALUE_BYTES:
            raise Refused(f"the result takes more than {VALUE_BYTES:,} bytes, which is the limit: write it to a file instead")
        self._append(data)
        return count

    def _append(self, data: "bytes | memoryview") -> None:
        """Nobody hashes the file again, so what may change meanwhile (an array that a thread of the
        call's writes to) is copied."""
        view = memoryview(data).cast("B")
        for at in range(0, len(view), PIECE_BYTES):
            piece = view[at : at + PIECE_BYTES]
            rest = piece if type(data) is bytes else memoryview(bytes(piece))
            self._digest.update(rest)
            began = time.thread_time_ns()
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._writing_ns += time.thread_time_ns() - began

    def end(self) -> tuple[int, bytes]:
        """(status, payload) of the result."""
        if self._fd < 0:
            return OK, self._head
        about = os.fstat(self._fd)
        os.close(self._fd)
        marks = about.st_ino & MAX_INT, about.st_mtime_ns & MAX_INT
        head = FILED_HEAD.pack(self._digest.digest(), self.size, *marks, self._writing_ns)
        return FILED, head + os.fsencode(os.path.basename(self._path))

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._path)


class Function:
    """One entered function. `quick_row` counts its quick calls since the last slow one."""

    __slots__ = ("failure", "pickled", "quick_row", "target")

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled
        self.target: Callable[..., Any] | None = None
        self.failure: bytes | None = None
        self.quick_row = 0

    def load(self, unusable: str | None) -> "Callable[..., Any] | None":
        """The function, or None: then `failure` is the payload that says why. Loads once, whatever
        comes of it."""
        if self.target is None and self.failure is None:
            try:
                if unusable is not None:
                    raise Refused(unusable)
                target = pickle.loads(self.pickled)
                if not callable(target):
                    raise Refused(f"what was sent as a function is a {type(target).__name__}, which cannot be called")
                self.target = target
            except BaseException as error:
                self.failure = pack_failure(*describe(error))
            self.pickled = b""
        return self.target


class Functions:
    """The last 512 functions by order. The same orders give the same content, so the worker can
    tell what is held."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Any, Function] = OrderedDict()

    def enter(self, key: "Any", pickled: bytes) -> None:
        if key not in self._entries:
            self._entries[key] = Function(pickled)
            if len(self._entries) > FUNCTIONS:
                self._entries.popitem(last=False)
        self._entries.move_to_end(key)

    def get(self, key: "Any") -> Function:
        function = self._entries.get(key)
        if function is not None:
            self._entries.move_to_end(key)
            return function
        missing = Function(b"")
        missing.failure = pack_failure(*describe(Refused("the worker did not send this function before its call: a bug of Titan")))
        return missing

    def __contains__(self, key: object) -> bool:
        return key in self._entries


# -- output ----------------------------------------------------------------------------------------
class Output:
    """Descriptors 1 and 2 as append-only files, and what was written to them since the last look."""

    def __init__(self, stdout_path: str, stderr_path: str, limit: int) -> None:
        self.limit = min(limit, LOG_BYTES)
        self.fds = [self._redirect(path, stream) for stream, path in ((1, stdout_path), (2, stderr_path))]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        if null > 2:
            os.close(null)
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]
        self.reopen()

    @staticmethod
    def _redirect(path: str, stream: int) -> int:
        """Points `stream` at the file. Returns a descriptor of ours to it, above 2 and not
        inherited."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(fd)
        os.dup2(own, stream)
        return own

    def reopen(self) -> None:
        """Fresh sys.stdout and sys.stderr: at the start, and after a call has closed them."""
        self.out = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        self.err = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stdout = sys.__stdout__ = self.out  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.err  # type: ignore[misc]

    def flush(self) -> int:
        """Of every stream object that can hold text back; one that a call has put there may raise
        anything. Returns the errno of what kept text from the disk that the call could not know of,
        or 0."""
        refused = 0
        try:
            self.out.flush()
            self.err.flush()
        except (OSError, ValueError) as error:
            code = error.errno if isinstance(error, OSError) else 0
            refused = code if code in _DISK_REFUSES else 0
            self.reopen()
        for stream, own in ((sys.stdout, self.out), (sys.stderr, self.err)):
            if stream is not own:
                try:
                    stream.flush()
                except BaseException:
                    pass
        return refused

    def take(self, stream: int) -> bytes:
        """All that is in the file of `stream`, and empties it; of more than the limit the head and
        a line about the rest."""
        fd = self.fds[stream - 1]
        size = os.lseek(fd, 0, os.SEEK_END)
        data = os.pread(fd, min(size, self.limit), 0)
        os.ftruncate(fd, 0)
        if size > self.limit:
            data += f"\n[titan: {size - self.limit} bytes of output dropped; the limit is {self.limit}]\n".encode()
        return data


# -- the process -----------------------------------------------------------------------------------
class Ended(Exception):
    """The worker said so or is gone."""


class Runner:
    def __init__(self, stream: socket.socket, tokens: int, marks: memoryview, output: Output, values: str) -> None:
        self.stream = stream
        self.tokens = tokens
        self.marks = marks  # of two 8-byte numbers
        self.output = output
        self.values = values
        self.functions = Functions()
        self.queue: deque[tuple[int, Function, Any, bool, int]] = deque()
        self.priority = 1  # of the call that runs
        self.session = ""  # the program whose calls these are
        self.memory = 0  # bytes that it may have between two calls; 0: any
        self._looked_s = 0.0
        self._waits = 0  # how many of its waits for other calls are under way
        self.unusable: str | None = None  # why this interpreter can run nothing
        self._inbox = bytearray()
        self._reports: list[tuple[Any, ...]] = []  # output; goes before the results
        self._first = 0
        self._next = 0
        self._statuses = bytearray()
        self._payloads: list[bytes] = []
        self._started: list[float] = []
        self._finished: list[float] = []
        self._bytes = 0
        self._flushed_s = 0.0

    def run(self) -> None:
        """Returns when the worker says so or is gone."""
        try:
            while True:
                self._work()
                self._flush()
                self._receive(0)
        except (Ended, ConnectionError):
            pass

    def _work(self) -> None:
        """Run calls until the queue or the tokens are used up."""
        queue, popleft, tokens, marks, output = self.queue, self.queue.popleft, self.tokens, self.marks, self.output
        take_token, seek, now, end = os.eventfd_read, os.lseek, time.monotonic, os.SEEK_END
        stdout, stderr = output.fds
        while queue:
            try:
                take_token(tokens)
            except BlockingIOError:
                return
            seq, function, payload, is_chunk, self.priority = popleft()
            self._waits = 0
            if self._payloads and (function.quick_row < QUICK_ROW or seq != self._next):
                self._flush()
            marks[0] = seq
            started = now()
            try:
                status, result = self._run_chunk(function, payload) if is_chunk else self._run_call(function, payload)
            except BaseException as error:  # a signal handler of the call's, between its end and here
                status, result = RAISED, pack_failure(*describe(error))
            finished = now()
            if forked:
                leave_fork()
            try:
                output.out.flush()
                output.err.flush()
                if sys.stdout is not output.out or sys.stderr is not output.err:
                    output.flush()
            except (OSError, ValueError):
                if refused := output.flush():
                    self._reports.append(("unprinted", seq, refused))
            if seek(stdout, 0, end) or seek(stderr, 0, end):
                self._take_output(seq)
            if not self._payloads:
                self._first = seq
            self._next = seq + 1
            self._statuses.append(status)
            self._payloads.append(result)
            self._started.append(started)
            self._finished.append(finished)
            self._bytes += len(result) + ENTRY_BYTES
            marks[1] = seq
            if finished - started < SLOW_S:
                function.quick_row += 1
            else:
                function.quick_row = 0
            if self._bytes >= FLUSH_BYTES or not 0 <= finished - self._flushed_s < FLUSH_S:
                self._flush()
                if not 0 <= finished - self._looked_s < LOOK_S:
                    self._looked_s = finished
                    if self.memory and has_leaked(self.memory):
                        raise Ended  # what is left of the queue has not begun: it runs elsewhere
                self._receive(socket.MSG_DONTWAIT)

    def _run_call(self, function: Function, payload: "bytes | tuple[bytes, list[bytes]]") -> tuple[int, bytes]:
        target = function.target
        if target is None and (target := function.load(self.unusable)) is None:
            assert function.failure is not None
            return UNLOADABLE, function.failure
        try:
            arguments = pickle.loads(payload) if type(payload) is bytes else Arguments(*payload).load()
            args, kwargs = arguments if is_pair(arguments) else (arguments, None)
        except BaseException as error:
            return UNLOADABLE, pack_failure(*describe(error))
        try:
            value = target(*args, **kwargs) if kwargs else target(*args)
        except BaseException as error:
            return RAISED, pack_failure(*describe(error))
        return (OK, b"") if value is None else self._pack_value(value)

    def _pack_value(self, value: object) -> tuple[int, bytes]:
        if type(value) in SCALARS:
            return OK, pickle.dumps(value, PROTOCOL)
        made = Value(self.values)
        try:
            try:
                pickle.Pickler(made, PROTOCOL).dump(value)
            except Refused:
                raise
            except Exception:
                import cloudpickle

                made.discard()
                made = Value(self.values)
                cloudpickle.Pickler(made, PROTOCOL).dump(value)
            return made.end()
        except BaseException as error:
            made.discard()
            return UNPICKLABLE, pack_failure(*describe(error))

    def _run_chunk(self, function: Function, payload: bytes) -> tuple[int, bytes]:
        """One failing value is its own; arguments or a function that cannot be loaded fail the
        chunk."""
        target = function.target
        if target is None and (target := function.load(self.unusable)) is None:
            assert function.failure is not None
            return UNLOADABLE, function.failure
        try:
            rows = pickle.loads(payload)
        except BaseException as error:
            return UNLOADABLE, pack_failure(*describe(error))
        results: list[tuple[bool, Any]] = []
        for args in rows:
            try:
                results.append((True, target(*args)))
            except BaseException as error:
                results.append((False, describe(error)))
            if forked:
                leave_fork()
        status, packed = self._pack_value(results)
        if status != UNPICKLABLE:
            return status, packed
        for at, (good, value) in enumerate(results):
            try:
                if good:
                    pickled_value(value)
            except BaseException as error:
                results[at] = (False, describe(error))
        return self._pack_value(results)

    def _take_output(self, seq: int) -> None:
        for stream in (1, 2):
            if data := self.output.take(stream):
                self._reports.append(("printed", seq, stream, data))
                self._bytes += len(data)

    # calls of calls
    def wait(self, *, begins: bool) -> None:
        """The call begins to wait for other calls, or ends that: another may have its slot. Said by
        the call's thread alone."""
        before, self._waits = self._waits, max(0, self._waits + (1 if begins else -1))
        if not forked and (before == 0) != (self._waits == 0):
            self._flush()  # or what was quick before it would wait too
            self.stream.sendall(pack_reports([("waits", self.marks[0], int(begins))]))

    # the stream
    def _flush(self) -> None:
        message = b""
        if self._reports:
            message = pack_reports(self._reports)
            self._reports = []
        if self._payloads:
            statuses = bytes(self._statuses)
            columns = ("results", self._first, statuses, self._payloads, self._started, self._finished)
            message += pack_reports([columns])
            self._statuses, self._payloads, self._started, self._finished = bytearray(), [], [], []
        self._bytes = 0
        if message:
            self.stream.sendall(message)
        self._flushed_s = time.monotonic()

    def _receive(self, flags: int) -> None:
        try:
            data = self.stream.recv(READ_BYTES, flags)
        except BlockingIOError:
            return
        if not data:
            raise Ended
        self._inbox += data
        for order in take_orders(self._inbox):
            self._on_order(order)

    def _on_order(self, order: "tuple[Any, ...]") -> None:
        name = order[0]
        if name == "calls":
            _, key, first, payloads, priority = order
            function = self.functions.get(key)
            self.queue.extend(zip(range(first, first + len(payloads)), repeat(function), payloads, repeat(False), repeat(priority)))
        elif name == "function":
            self.functions.enter(order[1], order[2])
        elif name == "chunk":
            self.queue.append((order[2], self.functions.get(order[1]), order[3], True, 1))
        elif name == "give_back":
            for _ in range(order[1]):
                self.queue.pop()
            self.stream.sendall(pack_reports([("given_back", order[1])]))
        else:
            assert name == "quit", f"no such order: {name}"
            self._flush()
            raise Ended


def has_leaked(memory: int) -> bool:
    """Whether calls have left more in this process than a new one should go on with."""
    with open("/proc/self/statm", "rb") as file:
        resident = int(file.read().split()[1]) * mmap.PAGESIZE
    return (
        resident > memory or len(os.listdir("/proc/self/task")) > MAX_THREADS or len(os.listdir("/proc/self/fd")) > MAX_DESCRIPTORS
    )


def leave_fork() -> None:
    """A call forked and its child came back from the call: only the parent goes on as the runner."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def connect(path: str, token: str) -> tuple[socket.socket, int, memoryview]:
    """Raises OSError."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(path)
    stream.sendall(pack_reports([("hello", os.getpid(), token)]))
    _, fds, _, _ = socket.recv_fds(stream, 1, 2, socket.MSG_CMSG_CLOEXEC)
    if len(fds) != 2:
        raise ConnectionAbortedError("the worker does not know this runner's token")
    tokens, memory = fds
    marks = mmap.mmap(memory, MARK_BYTES)
    os.close(memory)
    return stream, tokens, memoryview(marks).cast("Q")


def ignore(_number: int, _frame: object) -> None:
    """A handler, not SIG_IGN: exec resets handlers to the default, but would hand SIG_IGN on to
    what calls start."""


def look_plain() -> None:
    """Let the process look to calls like an interpreter that nobody has used: arguments, first
    path, `__main__`."""
    if sys.path and sys.path[0] and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
        sys.path[0] = ""  # or modules beside this file would stand in for the user's
    sys.argv = [""]
    sys.modules["_titan_runner"] = sys.modules["__main__"]
    main_module = types.ModuleType("__main__")
    main_module.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main_module


def need_cloudpickle() -> str | None:
    """Why cloudpickle cannot be imported; None if it can."""
    try:
        import cloudpickle  # noqa: F401
    except Exception as error:
        command = f"{sys.executable} -m pip install cloudpickle"
        return f"cloudpickle cannot be imported ({type(error).__name__}: {error}), so no function can run: `{command}`"
    return None


def main(
    socket_path: str, token: str, stdout_path: str, stderr_path: str, log_limit: int, values: str, session: str, memory: int
) -> None:
    global current_marks, current
    signal.signal(signal.SIGINT, ignore)
    output = Output(stdout_path, stderr_path, log_limit)
    stream, tokens, marks = connect(socket_path, token)
    current_marks = marks
    current = runner = Runner(stream, tokens, marks, output, values)
    runner.session, runner.memory = session, memory

    def after_fork() -> None:
        """The stream must end when the runner does, not with the last process that a call has left."""
        global forked
        forked = True
        stream.close()
        os.close(tokens)

    os.register_at_fork(after_in_child=after_fork)
    look_plain()
    runner.unusable = need_cloudpickle()
    gc.freeze()
    runner.run()
    output.flush()
    os._exit(0)  # threads and exit handlers of calls have no say in it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6], sys.argv[7], int(sys.argv[8]))
