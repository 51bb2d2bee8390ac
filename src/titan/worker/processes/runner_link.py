"""The worker's side of the function runners: one listening socket for all runners, and one link per
runner.

The hub owns the socket and recognizes a connecting runner by its secret token. A link owns the
stream, the call tokens and the marks of one runner. It batches calls per turn of the event loop,
takes calls back, and passes results on. Hub and link start no processes, and do not know the
purpose of a call. `titan.worker.isolated.runner` describes the protocol, the call tokens and the
marks.

    hub = RunnerHub(home / "runners.sock")
    hub.open()
    link = RunnerLink(hub, on_results=take, on_output=log, on_closed=start_a_new_one)
    link.expect(token)
    # Now start command_line(sys.executable, hub.path, token, ...). Calls need not wait for it.
    link.enter(b"hash", pickled)
    first_seq = link.call(b"hash", payloads)
    taken = link.take_back(100)     # at most 100 of the last calls, which then never run
    link.close()
    hub.close()

Limits: a function or payload has at most `runner.PAYLOAD_BYTES`. The link's owner has to limit the
number of calls that wait in a runner.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from titan.errors import Bug, EnvironmentFault, LimitExceeded
from titan.host.temporary_folder import TemporaryFolder
from titan.worker.isolated import runner
from titan.worker.isolated.orders import pack_orders
from titan.worker.isolated.reports import take_reports
from titan.worker.processes.stream import LocalStream

__all__ = ["Columns", "RunnerHub", "RunnerLink", "command_line"]

BATCH_BYTES = 1024 * 1024
HELLO_BYTES = 1024
HALF_S = 5.0
HELLO_S = 10.0
LAST_S = 1e11  # upper bound of a valid time
WROTE_HINT = "did the call write to Titan's file descriptors?"
STRANGERS = 1024  # maximum number of connections that have not sent their token
PATH_BYTES = 107  # longest path that fits in sockaddr_un

Payload = bytes | tuple[bytes, list[bytes]]
"""Pickled arguments, or a pair of pickled arguments with placeholders and the values of the
placeholders: see `runner.Arguments`."""
Columns = tuple[bytes, list[bytes], list[float], list[float]]
"""Results as columns: statuses, payloads, started_s, finished_s. Each column has one entry per
call, beginning with call `first_seq`."""


def command_line(
    python: str,
    socket_path: str,
    token: str,
    stdout_path: str,
    stderr_path: str,
    log_limit: int,
    values: str,
    session: str = "",
    memory: int = 0,
) -> list[str]:
    """Return the command line that starts a runner.

    `python` is the interpreter of the user. Paths are absolute. Each runner needs two log files of
    its own. The runner writes large results to the folder `values`, and serves only calls of
    `session`. It exits after a call if it uses more than `memory` bytes (0: no limit), or far more
    threads or descriptors than a process needs.
    """
    return [
        python,
        str(runner.__file__),
        socket_path,
        token,
        stdout_path,
        stderr_path,
        str(log_limit),
        values,
        session,
        str(memory),
    ]


class RunnerHub:
    """Listening socket for all runners, with mode 0600. `path` is its location. If the requested
    path is too long, the socket is in a temporary folder."""

    def __init__(self, socket_path: str | Path) -> None:
        self._asked = os.fspath(socket_path)
        self.path = ""
        self._away: TemporaryFolder | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._expected: dict[str, RunnerLink] = {}
        self._strangers: dict[socket.socket, tuple[bytearray, asyncio.TimerHandle]] = {}

    def open(self) -> None:
        """Listen on the socket. Must be called in a running event loop. A socket that a dead worker
        left at the path is replaced. Raises EnvironmentFault."""
        if self._socket is not None:
            raise Bug("a RunnerHub was opened twice")
        self._loop = asyncio.get_running_loop()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.path = self._place()
            listening.setblocking(False)
            listening.bind(self.path)
            os.chmod(self.path, 0o600)  # nobody can connect before listen
            listening.listen(512)
        except OSError as error:
            listening.close()
            self._remove()
            raise EnvironmentFault(f"cannot listen for function runners at {self.path}: {error.strerror}") from error
        self._socket = listening
        self._loop.add_reader(listening, self._on_connections)

    def close(self) -> None:
        """Stop listening and remove the socket. Connected links stay connected."""
        if self._socket is None or self._loop is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for stranger in list(self._strangers):
            self._dismiss(stranger)
        self._expected.clear()
        self._remove()

    def _place(self) -> str:
        if len(os.fsencode(self._asked)) > PATH_BYTES:
            self._away = TemporaryFolder(short=True)
            return os.path.join(self._away.path, "runners.sock")
        if os.path.lexists(self._asked):
            os.unlink(self._asked)
        return self._asked

    def _remove(self) -> None:
        if self._away is not None:
            self._away.close()
            self._away = None
        elif self.path and os.path.lexists(self.path):
            os.unlink(self.path)

    # connections
    def _expect(self, token: str, link: RunnerLink) -> None:
        if token in self._expected:
            raise Bug(f"two runners were given the token {token}")
        self._expected[token] = link

    def _forget(self, token: str) -> None:
        self._expected.pop(token, None)

    def _on_connections(self) -> None:
        assert self._socket is not None
        assert self._loop is not None
        while True:
            try:
                stranger = self._socket.accept()[0]
            except OSError:  # there is no further connection, or no free descriptor: the next event tries again
                return
            if len(self._strangers) >= STRANGERS:
                stranger.close()
                continue
            stranger.setblocking(False)
            timer = self._loop.call_later(HELLO_S, self._dismiss, stranger)
            self._strangers[stranger] = (bytearray(), timer)
            self._loop.add_reader(stranger, self._on_hello, stranger)

    def _on_hello(self, stranger: socket.socket) -> None:
        inbox, _ = self._strangers[stranger]
        try:
            data = stranger.recv(HELLO_BYTES)
            inbox += data
            messages = take_reports(inbox)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            self._dismiss(stranger)
            return
        if not messages and data and len(inbox) < HELLO_BYTES:
            return
        match messages:
            case [("hello", pid, token)] if not inbox and token in self._expected:
                link = self._expected.pop(token)
                self._release(stranger)
                link._on_connected(stranger, pid)
            case _:
                self._dismiss(stranger)

    def _release(self, stranger: socket.socket) -> None:
        assert self._loop is not None
        self._strangers.pop(stranger)[1].cancel()
        self._loop.remove_reader(stranger)

    def _dismiss(self, stranger: socket.socket) -> None:
        self._release(stranger)
        stranger.close()


class RunnerLink:
    """Link to one runner. A link cannot be used after `on_closed` or `close`.

    `call` assigns rising sequence numbers to calls, beginning with 1. The numbers of calls that
    were taken back are not used again. Calls end in order. A link can be used before its runner has
    connected, because the link buffers its orders.
    """

    def __init__(
        self,
        hub: RunnerHub,
        *,
        on_results: Callable[[RunnerLink, int, Columns], None],
        on_output: Callable[[RunnerLink, int, int, bytes], None],
        on_unprinted: Callable[[RunnerLink, int, int], None] | None = None,
        on_closed: Callable[[RunnerLink], None],
        on_ready: Callable[[RunnerLink], None] | None = None,
        on_waits: Callable[[RunnerLink, bool], None] | None = None,
    ) -> None:
        """Create a link without a runner.

        `on_results(link, first_seq, columns)` passes results. `on_output(link, seq, stream, data)`
        passes output of call `seq`, and `on_unprinted(link, seq, errno)` says that the system
        refused a part of that output. Both precede the result of the call. `on_ready(link)` says
        that the runner has connected. `on_waits(link, waits)` says that the running call waits for
        other calls, or goes on.

        `on_closed(link)` is called once, after the last results, if the stream ends without
        `close`. This includes the end after `quit`. The pending calls then have no result.
        `current_seq` and `ended_seq` return which of them had started and ended. Raises
        EnvironmentFault if no descriptors are left.
        """
        self._hub = hub
        self._on_results = on_results
        self._on_output = on_output
        self._on_unprinted = on_unprinted
        self._on_closed = on_closed
        self._on_ready = on_ready
        self._on_waits = on_waits
        self._loop = asyncio.get_running_loop()
        self._token: str | None = None
        self.pid = 0  # the runner's pid, 0 before it has connected
        self.pending = 0  # calls without a result that were not taken back
        self._next_seq = 1
        # Functions that the runner will hold when it has read all orders so far.
        self._functions = runner.Functions()
        # Unsent orders: those of this turn, or all since a "give_back" that the runner has not
        # answered.
        self._held: list[tuple[Any, ...]] = []
        self._scheduled = False
        self._giving_back = False
        self._stream = LocalStream(self._loop, self._on_data, self._on_end)
        self._closed = False
        self._came = 0  # number of chunks received
        self._half = self._watching = False
        """`_half`: the last report is incomplete. `_watching`: a timer will check whether it has
        become complete."""
        self.problem = ""  # protocol violation because of which the link gave up the runner, "" if none
        self._last_marks = (0, 0)
        self._tokens, self._memory = -1, -1
        try:
            self._tokens = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE | os.EFD_NONBLOCK)
            self._memory = os.memfd_create("titan-runner", os.MFD_CLOEXEC)
            os.ftruncate(self._memory, runner.MARK_BYTES)
            self._map = mmap.mmap(self._memory, runner.MARK_BYTES)
        except OSError as error:
            for fd in (self._tokens, self._memory):
                if fd >= 0:
                    os.close(fd)
            raise EnvironmentFault(f"cannot create the shared memory of a function runner: {error.strerror}") from error
        self._marks = memoryview(self._map).cast("Q")

    def expect(self, token: str) -> None:
        """Make the runner that connects with `token` the runner of this link.

        A token is secret and is used once. There is no timeout: if the process ends without a
        connection, call `close`.
        """
        if self._token is not None or self._closed:
            raise Bug("a RunnerLink was given a second token, or a token after its end")
        self._hub._expect(token, self)
        self._token = token

    # orders
    def has(self, function_hash: bytes) -> bool:
        """Return whether the function can be called without `enter`."""
        return function_hash in self._functions

    def enter(self, function_hash: bytes, pickled: bytes) -> None:
        """Send a function to the runner. The runner holds the 512 functions that were entered or
        called last. Raises LimitExceeded."""
        self._bound(len(pickled), "the function")
        self._functions.enter(function_hash, b"")
        self._order(("function", function_hash, pickled))

    def call(self, function_hash: bytes, payloads: Sequence[Payload], priority: int = 1) -> int:
        """Order one call per payload (see `runner.pack_arguments`). Return the sequence number of
        the first call. If it raises LimitExceeded, no call was ordered."""
        for payload in payloads:
            self._bound(_size_of(payload), "the arguments of the call")
        first = self._next_seq
        self._functions.get(function_hash)
        last = self._held[-1] if self._held else None
        same = last is not None and last[0] == "calls" and last[1] == function_hash and last[4] == priority
        if last is not None and same and last[2] + len(last[3]) == first:
            last[3].extend(payloads)
        else:
            self._order(("calls", function_hash, first, list(payloads), priority))
        self._next_seq += len(payloads)
        self.pending += len(payloads)
        return first

    def call_chunk(self, function_hash: bytes, payload: bytes) -> int:
        """Order one call for many values and return its sequence number. `payload` is the pickle of
        a list of argument tuples. Raises LimitExceeded."""
        self._bound(len(payload), "the arguments of the chunk")
        seq = self._next_seq
        self._functions.get(function_hash)
        self._order(("chunk", function_hash, seq, payload))
        self._next_seq += 1
        self.pending += 1
        return seq

    def take_back(self, count: int) -> int:
        """Take back up to `count` of the last pending calls that have not begun. They never run.

        Return the number of calls that were taken back. The method does not wait for the runner.
        New calls may be ordered right after it.
        """
        taken = self._take_held(count)
        # An earlier "give_back" already took back all sent calls that have not begun.
        if self._giving_back or self._closed:
            self.pending -= taken
            return taken
        read = 0
        while taken + read < count:
            try:
                os.eventfd_read(self._tokens)
            except BlockingIOError:
                break
            read += 1
        if read:
            self._giving_back = True
            self._pack([("give_back", read)])
            self._stream.flush()
        self.pending -= taken + read
        return taken + read

    def quit(self) -> None:
        """Let the runner exit after its current call. `on_closed` follows. Queued calls do not
        run."""
        if not self._closed:
            self._held = []
            self._pack([("quit",)])
            self._stream.flush()

    def close(self) -> None:
        """Give up the runner at once, without further callbacks. The runner exits when it next
        reads its stream. The link's owner has to kill the process."""
        self._hang_up()

    def current_seq(self) -> int:
        """Return the number of the call that was started last, 0 if none was. The call still runs
        unless the number equals `ended_seq`. The method also works after the runner's death."""
        return self._last_marks[0] if self._closed else int(self._marks[0])

    def ended_seq(self) -> int:
        """Return the number of the call that ended last. A call up to this number that has no
        result did run, but its result was not reported."""
        return self._last_marks[1] if self._closed else int(self._marks[1])

    @staticmethod
    def _bound(size: int, subject: str) -> None:
        if size > runner.PAYLOAD_BYTES:
            raise LimitExceeded(f"{subject}: {size} bytes; the limit is {runner.PAYLOAD_BYTES}: pass large data in files")

    def _order(self, order: tuple[Any, ...]) -> None:
        if self._closed:
            raise Bug("an order was given to a runner that has ended")
        self._held.append(order)
        if not self._scheduled and not self._giving_back:
            self._scheduled = True
            self._loop.call_soon(self._on_turn)

    def _take_held(self, count: int) -> int:
        """Take back up to `count` of the last unsent calls. Return their number.

        Their orders stay as orders without calls, so that the runner and this link drop the same
        functions.
        """
        taken = 0
        for at in range(len(self._held) - 1, -1, -1):
            if taken == count:
                break
            order = self._held[at]
            if order[0] == "calls":
                cut = min(count - taken, len(order[3]))
                del order[3][len(order[3]) - cut :]
                taken += cut
            elif order[0] == "chunk":
                self._held[at] = ("calls", order[1], order[2], [], 1)
                taken += 1
        return taken

    def _on_turn(self) -> None:
        self._scheduled = False
        if not self._giving_back and not self._closed:
            self._send_held()
            self._stream.flush()

    def _send_held(self) -> None:
        """Send the buffered orders in messages of about 1 MiB. The call tokens are added first,
        because the runner starts no call without a token."""
        orders, self._held = self._held, []
        calls = sum(len(order[3]) if order[0] == "calls" else order[0] == "chunk" for order in orders)
        if calls:
            os.eventfd_write(self._tokens, calls)
        batch: list[tuple[Any, ...]] = []
        size = 0
        for order in orders:
            for part in _parts(order):
                part_bytes = _bytes_of(part)
                if batch and size + part_bytes > BATCH_BYTES:
                    self._pack(batch)
                    batch, size = [], 0
                batch.append(part)
                size += part_bytes
        if batch:
            self._pack(batch)

    def _pack(self, orders: list[tuple[Any, ...]]) -> None:
        self._stream.add(pack_orders(orders))

    # the stream
    def _on_connected(self, stream: socket.socket, pid: int) -> None:
        self._token = None
        self._stream.open(stream)
        self.pid = pid
        try:
            socket.send_fds(stream, [b"\0"], [self._tokens, self._memory])
        except OSError:
            self._on_end()
            return
        os.close(self._memory)
        self._memory = -1
        self._stream.flush()
        if self._on_ready is not None:
            self._on_ready(self)

    def _on_data(self, inbox: bytearray) -> None:
        try:
            reports = take_reports(inbox)
        except ValueError as e:
            self._distrust(str(e))
            return
        for report in reports:
            if not self._closed:  # a callback may close the link
                self._on_report(report)
        self._came += 1
        self._half = bool(inbox)
        if self._half and not self._watching:
            self._watch_half()

    def _watch_half(self) -> None:
        self._watching = True
        self._loop.call_later(HALF_S, self._look_at_half, self._came)

    def _look_at_half(self, came: int) -> None:
        """Give up the runner if a report stays incomplete.

        A runner writes a whole report at once. An incomplete report must come from a call that
        wrote to the stream, and all later reports would be read as parts of it.
        """
        self._watching = False
        if self._half and not self._closed:
            if self._came == came:
                self._distrust(f"a report that was not complete within {HALF_S:g} s")
            else:
                self._watch_half()

    def _on_report(self, report: tuple[Any, ...]) -> None:
        """Handle a report. Reports are untrusted input, because code of users runs in the sending
        process."""
        if report[0] == "results" and self._may_be(report):
            self.pending -= len(report[2])
            self._on_results(self, report[1], report[2:])
        elif report[0] == "printed" and report[2] in (1, 2):
            self._on_output(self, report[1], report[2], report[3])
        elif report[0] == "unprinted":
            if self._on_unprinted is not None:
                self._on_unprinted(self, report[1], report[2])
        elif report[0] == "waits":
            if self._on_waits is not None and report[1] == self.current_seq() > self.ended_seq():
                self._on_waits(self, bool(report[2]))
        elif report[0] == "given_back":
            self._giving_back = False
            self._send_held()
            self._stream.flush()
        else:
            self._distrust(f"an invalid report {report[0]!r}")

    def _distrust(self, detail: str) -> None:
        """Give up the runner: a call has written to its stream, so no report in the stream can be
        trusted."""
        self.problem = f"the function runner sent invalid data ({detail}): {WROTE_HINT}"
        self._on_end()

    def _may_be(self, report: tuple[Any, ...]) -> bool:
        """Return whether the report has no more results than there are pending calls, and valid
        times."""
        _, _, statuses, _, started, finished = report
        return (
            len(statuses) <= self.pending
            and (not statuses or max(statuses) <= runner.FILED)
            and all(0 <= at < LAST_S for at in started)
            and all(0 <= at < LAST_S for at in finished)
        )

    def _on_end(self) -> None:
        if not self._closed:
            self._hang_up()
            self._on_closed(self)

    def _hang_up(self) -> None:
        if self._closed:
            return
        self._last_marks = (int(self._marks[0]), int(self._marks[1]))
        self._closed = True
        if self._token is not None:
            self._hub._forget(self._token)
        self._stream.close()
        self._marks.release()
        self._map.close()
        os.close(self._tokens)
        if self._memory >= 0:
            os.close(self._memory)
        self._held = []


_PLAIN = {bytes}


def _bytes_of(order: tuple[Any, ...]) -> int:
    data = order[3] if order[0] == "calls" else order[-1]
    if isinstance(data, bytes):
        return len(data)
    return sum(map(len if set(map(type, data)) == _PLAIN else _size_of, data)) + 5 * len(data)


def _size_of(payload: Payload) -> int:
    return len(payload) if isinstance(payload, bytes) else len(payload[0]) + sum(map(len, payload[1])) + 5 * len(payload[1])


def _parts(order: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the order itself, or several orders with less than about 1 MiB of payloads each."""
    if order[0] != "calls" or _bytes_of(order) <= BATCH_BYTES:
        return [order]
    _, key, first, payloads, priority = order
    parts: list[tuple[Any, ...]] = []
    start = size = 0
    for at, payload in enumerate(payloads):
        payload_bytes = _size_of(payload) + 5
        if at > start and size + payload_bytes > BATCH_BYTES:
            parts.append(("calls", key, first + start, payloads[start:at], priority))
            start, size = at, 0
        size += payload_bytes
    parts.append(("calls", key, first + start, payloads[start:], priority))
    return parts
