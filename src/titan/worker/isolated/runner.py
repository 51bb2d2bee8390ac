"""Function runner: a long-lived process that executes Python calls for a worker, one at a time. A
message has many calls.

The runner owns the calls in its queue, their output, and the errors that they raise. Each call gets
a result, unless it kills the process. The runner knows nothing of jobs, attempts or the master: for
the runner, a call is a sequence number. Of Titan it imports only `orders` and `reports`, because it
runs in the user's interpreter as

    python runner.py SOCKET_PATH TOKEN STDOUT_PATH STDERR_PATH LOG_LIMIT VALUES_FOLDER SESSION
    MEMORY

The interpreter has to be Python 3.10 or later with cloudpickle. Without cloudpickle every call is
refused. A runner serves the calls of one program (SESSION). It exits after a call, and leaves the
rest of its queue to another runner, if it uses more than MEMORY bytes, or far more threads or
descriptors than a process needs.

Protocol: the runner connects to the AF_UNIX stream socket SOCKET_PATH and sends ("hello", pid,
TOKEN). The worker answers with one zero byte and two descriptors: an eventfd (EFD_SEMAPHORE |
EFD_NONBLOCK) that counts call tokens, and a memfd of 4096 bytes, the marks. Orders are tuples in
the encoding of `orders`. Reports have only plain fields, in the encoding of `reports`: code of
users runs in this process, so the worker reads reports without executing code. Times are
`time.monotonic()` in seconds.

Orders
    ("function", hash, pickled)
        Store a function. It is unpickled at its first call. If that fails, the failure is the error
        of every call of the function.
    ("calls", hash, first_seq, [payload, ...], priority)
        Run one call per payload (see `pack_arguments`). An entry may also be a pair: a payload with
        placeholders, and the list of values for them (see `Arguments`).
    ("chunk", hash, seq, payload)
        Call the function once for each argument tuple. The payload is the pickle of their list.
    ("give_back", k)
        Remove the last k calls of the queue, which the worker has taken back.
    ("quit",)
        Exit when this order is read, even if calls are queued. The end of the stream has the same
        effect.
Reports
    ("results", first_seq, statuses, payloads, started_s, finished_s)
        Results of consecutive calls as columns, with one entry per call.
    ("printed", seq, stream, data)
        Call `seq` printed `data` on stream 1 or 2. Sent before the result of the call.
    ("unprinted", seq, errno)
        The system refused some output of call `seq`. Sent before the result of the call.
    ("given_back", k)
    ("waits", seq, 1 or 0)
        The running call `seq` waits for other calls, or goes on.

Statuses and payloads
    0 OK            The pickle of the value; b"" is None. For a chunk: the pickle of a list of
                    (True, value) or (False, description).
    1 RAISED, 2 UNPICKLABLE (the result), 3 UNLOADABLE (function or arguments)
                    A description of the error: type name, str(exception), traceback, and the
                    pickle of the exception or none. All parts but the pickle are text. So the
                    description can be read without the exception's class, and without executing
                    code.
    4 FILED         `FILED_HEAD`, then the name of a file in VALUES_FOLDER that has the pickle of
                    the value. Used for pickles over 64 KiB.

Taking calls back: each queued call has one token in the eventfd. The worker adds the tokens before
it sends the calls. The runner takes one token before it starts the first call of its queue, and
starts no call without a token. So if the worker takes k tokens out itself, the last k calls of the
queue never run, even if the runner is busy and reads no orders. The worker then sends "give_back",
and sends no new calls until it has received "given_back".

Marks: the first 8 bytes of the memfd are the seq of the call that was started last, and the next 8
bytes the seq of the call that ended last (0: none). After the death of a runner the marks tell the
worker which call was running, which calls had ended without a report, and which never began.

Results are sent when no call is left to run, when 2 ms have passed since they were last sent, when
256 KiB are unsent, and before a call of a function that is not known to be quick. So a result waits
for the end of a slow call only if many quick calls of the same function preceded the slow one.

Limits: 512 functions (the least recently ordered one is dropped), 64 MiB per message, 2 GiB per
result, and LOG_LIMIT bytes of output per call and stream (the rest is dropped). The output of a
call is in files until the call ends. Output of threads or processes that outlive their call counts
as output of the next call.
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
else:  # in the runner's process the first entry of sys.path is the folder of this file
    from orders import take_orders
    from reports import FRAME_BYTES, pack_reports

    del sys.modules["orders"], sys.modules["reports"]  # the user's modules may have these names

OK, RAISED, UNPICKLABLE, UNLOADABLE, FILED = range(5)
KIB = 1024
# Limit of one call or result. Besides it a message has at most 256 KiB of other results, and the
# columns.
PAYLOAD_BYTES = FRAME_BYTES - 1024 * KIB
READ_BYTES = 64 * KIB
FLUSH_BYTES = 256 * KIB
FLUSH_S = 0.002
SLOW_S = 0.001
QUICK_ROW = 16  # number of quick calls in a row after which a function counts as quick
FUNCTIONS = 512
MARK_BYTES = 4096
LOG_BYTES = 16 * KIB * KIB  # upper bound of LOG_LIMIT
ENTRY_BYTES = 64  # upper bound for an entry of the columns without its payload
ERROR_BYTES = 1024 * KIB
INLINE_BYTES = 64 * KIB
VALUE_BYTES = 2048 * KIB * KIB
PIECE_BYTES = 1024 * KIB  # piece of a value that is hashed and written while it is in the CPU's cache
# SHA-256 and length of a value; inode, time of change and CPU time (ns) of its file
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
current_marks: "memoryview | None" = None  # tells `titan.context` the current call
current: "Runner | None" = None  # the SDK uses it to report that a call waits for other calls


def pack_arguments(args: "tuple[Any, ...]", kwargs: "dict[str, Any]", dumps: "Callable[..., bytes]" = pickle.dumps) -> bytes:
    """Return the payload of a call: the pickle of `args`, or of (args, kwargs) if there are kwargs.
    `args` that could be taken for such a pair are also packed as a pair."""
    plain = not kwargs and not is_pair(args)
    return dumps(args if plain else (args, kwargs), PROTOCOL)


def is_pair(arguments: "tuple[Any, ...]") -> bool:
    return len(arguments) == 2 and type(arguments[0]) is tuple and type(arguments[1]) is dict


class Arguments(pickle.Unpickler):
    """Unpickler of a payload with placeholders for the results of other calls. The placeholder with
    persistent id i stands for value i, which is unpickled on first use.

    A value is one of

    - b"" for None
    - b"i" and its pickle
    - b"f" and the path of a file with its pickle
    - b"j" and JSON
    - b"g" and the path of a file with JSON
    - b"x" and the reason why the value is not available

    The payload may also be b"f" and the path of a file with the pickle.
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
    """A function or its arguments cannot be loaded, or a result cannot be sent. The message has the
    reason and the remedy."""


def describe(error: BaseException) -> "tuple[bytes | None, str, str, str]":
    """Return the description of an error (see the module's docstring), with the pickle first. Never
    raises, even if methods of the exception raise."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind is Refused:
        return None, name.rpartition(".")[2], str(error), str(error)
    own = describe.__code__.co_filename
    trace = error.__traceback__
    while trace is not None and (trace.tb_frame.f_code.co_filename == own or "_titan_wrapper" in trace.tb_frame.f_locals):
        trace = trace.tb_next
    if isinstance(error, ImportError):
        note_interpreter(error)
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<str() of this {name} raised {type(broken).__name__}>"
    try:
        lines = "".join(traceback.format_exception(kind, error, trace))
    except BaseException as broken:
        lines = f"{name}: <its traceback cannot be formatted: {type(broken).__name__}>\n"
    return pickled_error(error), name, cut(text, TEXT_CHARS), cut(lines, TRACEBACK_CHARS)


def note_interpreter(error: ImportError) -> None:
    """Note at an error which interpreter lacks the module. Python shows such notes since 3.11."""
    try:
        notes = [*getattr(error, "__notes__", ()), f"the interpreter is {sys.executable}, Python {sys.version.split()[0]}"]
        error.__notes__ = notes
    except BaseException:  # a class of the user's own that refuses it
        pass


def pack_failure(pickled: "bytes | None", kind: str, text: str, trace: str) -> bytes:
    """Return the description of an error as bytes, for `titan.model.values.failure_of`."""
    fields = [part.encode("utf-8", "backslashreplace") for part in (kind, text, trace)]
    head = struct.pack(">BIIII", 1, *map(len, fields), 0 if pickled is None else len(pickled) + 1)
    return b"".join([head, *fields, pickled or b""])


def cut(text: str, limit: int) -> str:
    """Return `text`, or about `limit` characters of its head and tail if it is longer. Characters
    that cannot be encoded are replaced."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n... {len(text) - limit} characters left out ...\n{text[len(text) - limit // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def pickled_error(error: BaseException) -> bytes | None:
    """Return the pickle of an exception. Return None if the pickle is too large or cannot be
    loaded. For example, it cannot be loaded if `__init__` takes other arguments than it passes to
    its base class."""
    try:
        pickled = pickled_value(error)
        if len(pickled) > ERROR_BYTES:
            return None
        pickle.loads(pickled)
    except BaseException:
        return None
    return pickled


def pickled_value(value: object) -> bytes:
    """Return the pickle of a value. If plain pickle fails (lambdas, local classes), cloudpickle is
    used. Raises the exceptions of cloudpickle."""
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception:
        import cloudpickle

        pickled: bytes = cloudpickle.dumps(value, PROTOCOL)
        return pickled


# -- values and functions --------------------------------------------------------------------------
class Value:
    """Destination of a pickle. A small pickle stays in memory. A larger one is hashed and written
    to a file in `folder`."""

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
            raise Refused(f"the result takes more than the limit of {VALUE_BYTES:,} bytes: write it to a file instead")
        self._append(data)
        return count

    def _append(self, data: "bytes | memoryview") -> None:
        """Hash data and write it to the file. Data that may change meanwhile is copied first, such
        as an array that another thread of the call writes to. Otherwise the hash might not match
        the file, and nobody hashes the file again."""
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
        """Return (status, payload) of the result."""
        if self._fd < 0:
            return OK, self._head
        status = os.fstat(self._fd)
        os.close(self._fd)
        marks = status.st_ino & MAX_INT, status.st_mtime_ns & MAX_INT
        head = FILED_HEAD.pack(self._digest.digest(), self.size, *marks, self._writing_ns)
        return FILED, head + os.fsencode(os.path.basename(self._path))

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._path)


class Function:
    """A function that the worker sent. `quick_row` counts its quick calls since the last slow
    one."""

    __slots__ = ("failure", "pickled", "quick_row", "target")

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled
        self.target: Callable[..., Any] | None = None
        self.failure: bytes | None = None
        self.quick_row = 0

    def load(self, unusable: str | None) -> "Callable[..., Any] | None":
        """Return the function. If it cannot be loaded, return None and set `failure` to the
        description of the error. A function is loaded only once, even if that fails. `unusable` is
        the reason why this interpreter cannot run calls, None if it can."""
        if self.target is None and self.failure is None:
            try:
                if unusable is not None:
                    raise Refused(unusable)
                target = pickle.loads(self.pickled)
                if not callable(target):
                    raise Refused(f"the object sent as a function is a {type(target).__name__}, which cannot be called")
                self.target = target
            except BaseException as error:
                self.failure = pack_failure(*describe(error))
            self.pickled = b""
        return self.target


class Functions:
    """Store of the 512 functions that were ordered last. The worker has such a store too. Both get
    the same orders, so the worker knows which functions the runner has."""

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
    """Output of calls. Descriptors 1 and 2 are append-only files, from which the output of each
    call is read and removed."""

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
        """Redirect descriptor `stream` to a new file. Return another descriptor of the file, which
        is above 2 and not inheritable."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(fd)
        os.dup2(own, stream)
        return own

    def reopen(self) -> None:
        """Create sys.stdout and sys.stderr. Needed at the start, and after a call has closed or
        broken them."""
        self.out = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        self.err = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stdout = sys.__stdout__ = self.out  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.err  # type: ignore[misc]

    def flush(self) -> int:
        """Flush every stream object that may buffer text. Ignore all errors of stream objects that
        a call installed. Return the errno if the disk refused text that the call had printed,
        otherwise 0."""
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
        """Return the content of the file of `stream`, and empty the file. Of output above the limit
        only the head is returned, and a line that says how many bytes were dropped."""
        fd = self.fds[stream - 1]
        size = os.lseek(fd, 0, os.SEEK_END)
        data = os.pread(fd, min(size, self.limit), 0)
        os.ftruncate(fd, 0)
        if size > self.limit:
            data += f"\n[titan: {size - self.limit} bytes of output dropped; the limit is {self.limit}]\n".encode()
        return data


# -- the process -----------------------------------------------------------------------------------
class Ended(Exception):
    """The worker sent "quit", or is gone."""


class Runner:
    def __init__(self, stream: socket.socket, tokens: int, marks: memoryview, output: Output, values: str) -> None:
        self.stream = stream
        self.tokens = tokens
        self.marks = marks  # two 8-byte numbers
        self.output = output
        self.values = values
        self.functions = Functions()
        self.queue: deque[tuple[int, Function, Any, bool, int]] = deque()
        self.priority = 1  # priority of the running call
        self.session = ""  # id of the program to which the calls belong
        self.memory = 0  # maximum memory of the process in bytes after a call, 0 for no limit
        self._checked_s = 0.0
        self._waits = 0  # number of open waits of the running call
        self.unusable: str | None = None  # reason why this interpreter cannot run calls
        self._inbox = bytearray()
        self._reports: list[tuple[Any, ...]] = []  # output, sent before the results
        self._first = 0
        self._next = 0
        self._statuses = bytearray()
        self._payloads: list[bytes] = []
        self._started: list[float] = []
        self._finished: list[float] = []
        self._bytes = 0
        self._flushed_s = 0.0

    def run(self) -> None:
        """Serve until the worker sends "quit" or is gone."""
        try:
            while True:
                self._work()
                self._flush()
                self._receive(0)
        except (Ended, ConnectionError):
            pass

    def _work(self) -> None:
        """Run calls until the queue is empty or no token is left."""
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
            except BaseException as error:  # raised by a signal handler of the call, after the end of the call
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
                if not 0 <= finished - self._checked_s < LOOK_S:
                    self._checked_s = finished
                    if self.memory and has_leaked(self.memory):
                        raise Ended  # the rest of the queue has not begun, and another runner executes it
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
        pickled = Value(self.values)
        try:
            try:
                pickle.Pickler(pickled, PROTOCOL).dump(value)
            except Refused:
                raise
            except Exception:
                import cloudpickle

                pickled.discard()
                pickled = Value(self.values)
                cloudpickle.Pickler(pickled, PROTOCOL).dump(value)
            return pickled.end()
        except BaseException as error:
            pickled.discard()
            return UNPICKLABLE, pack_failure(*describe(error))

    def _run_chunk(self, function: Function, payload: bytes) -> tuple[int, bytes]:
        """Run a chunk. An error for one argument tuple does not affect the others. If the function
        or the arguments cannot be loaded, the whole chunk fails."""
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

    # calls that wait for calls
    def wait(self, *, begins: bool) -> None:
        """Note that the running call begins or ends to wait for other calls. While it waits,
        another call may use its slot. Only the thread of the call may call this method."""
        before, self._waits = self._waits, max(0, self._waits + (1 if begins else -1))
        if not forked and (before == 0) != (self._waits == 0):
            self._flush()  # otherwise the results of earlier calls would wait too
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
    """Return whether calls left so much memory, threads or descriptors in use that a new process
    should replace this one."""
    with open("/proc/self/statm", "rb") as file:
        resident = int(file.read().split()[1]) * mmap.PAGESIZE
    return (
        resident > memory or len(os.listdir("/proc/self/task")) > MAX_THREADS or len(os.listdir("/proc/self/fd")) > MAX_DESCRIPTORS
    )


def leave_fork() -> None:
    """Exit from a child that a call forked and that returned from the call. Only the parent process
    is the runner."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def connect(path: str, token: str) -> tuple[socket.socket, int, memoryview]:
    """Connect to the worker. Return the stream, the eventfd of the call tokens, and the marks.
    Raises OSError."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.connect(path)
    stream.sendall(pack_reports([("hello", os.getpid(), token)]))
    _, fds, _, _ = socket.recv_fds(stream, 1, 2, socket.MSG_CMSG_CLOEXEC)
    if len(fds) != 2:
        raise ConnectionAbortedError("the worker rejected the runner's token")
    tokens, memory = fds
    marks = mmap.mmap(memory, MARK_BYTES)
    os.close(memory)
    return stream, tokens, memoryview(marks).cast("Q")


def ignore(_number: int, _frame: object) -> None:
    """Ignore a signal. The runner uses this handler instead of SIG_IGN, because exec resets
    handlers to the default, but processes that calls start would inherit SIG_IGN."""


def look_plain() -> None:
    """Make the process look like a new interpreter to calls: reset sys.argv, the first entry of
    sys.path, and `__main__`."""
    if sys.path and sys.path[0] and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
        sys.path[0] = ""  # otherwise modules beside this file would shadow the user's
    sys.argv = [""]
    sys.modules["_titan_runner"] = sys.modules["__main__"]
    main_module = types.ModuleType("__main__")
    main_module.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main_module


def need_cloudpickle() -> str | None:
    """Return the reason why cloudpickle cannot be imported, None if it can."""
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
        """Close the stream in a forked child. The worker must see the end of the stream when the
        runner ends, even if children of calls live on."""
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
    os._exit(0)  # does not wait for threads and exit handlers that calls left


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6], sys.argv[7], int(sys.argv[8]))
