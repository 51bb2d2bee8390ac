"""A master without sockets, for tests of its handlers. Everything but the port is the production
code.

A `Speaker` is the other end of a connection. The messages that it sends are encoded, and pass
through the real `Peer` as bytes. The messages that it receives are decoded and kept. The journal,
the history and the registry are real ones in a folder of the test.

    with SocketlessMaster(tmp_path) as master:
        ann = master.client("ann@here")
        answer = ann.ask(msg.Ping(1), msg.Pong)
        ann.refused(msg.GetRun(2, "nope"), "not_found", "there is no run 'nope'")

The decorators `answers`, `refuses` and `records` name the rows of the routing table that a test
covers, and check that the test covers them. tests/unit/master/handlers/test_every_row.py checks
that each row has such tests.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import msgspec

from support.core import alike
from titan.core.events import events as ev
from titan.core.events.events import VOLATILE
from titan.journal import SyncPolicy
from titan.master.server import Master
from titan.model.dag import DagSpec, JobTemplate
from titan.model.settings import Settings
from titan.model.states import Outcome
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Received, encode
from titan.protocol.handshake import hello

T = TypeVar("T")
M = TypeVar("M", bound=msg.Message)
Test = TypeVar("Test", bound=Callable[..., None])
PATIENCE_S = 20.0
"""Seconds to wait for an answer, on a machine with much other load."""
ANN = "ann@here"


class _Wire(asyncio.Transport):
    """Transport of a peer. It decodes at once what the master writes."""

    def __init__(self, number: int, on_message: Callable[[msg.Message, bytes], None]) -> None:
        super().__init__({"peername": ("127.0.0.1", 40_000 + number), "socket": self})
        self._decoder = MessageDecoder()
        self._on_message = on_message
        self._closing = False
        self.peer: Peer | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        for item in self._decoder.receive_data(bytes(data)):
            assert isinstance(item, Received), item
            self._on_message(item.message, bytes(item.blob))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def fileno(self) -> int:
        raise OSError("there is no socket")

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            assert self.peer is not None
            asyncio.get_running_loop().call_soon(self.peer.connection_lost, None)

    abort = close


class _NoServer:
    def close(self) -> None:
        pass

    async def start_serving(self) -> None:
        pass


class _Master(Master):
    """Master that keeps the events that it decided."""

    def __init__(self, home: Path, settings: Settings) -> None:
        super().__init__(home, policy=SyncPolicy.ALWAYS, settings=settings)
        self.decided: list[ev.Event] = []

    async def _listen(self) -> asyncio.Server:
        return cast(asyncio.Server, _NoServer())

    def _on_events(self, events: list[ev.Event]) -> None:
        self.decided += events
        super()._on_events(events)


class SocketlessMaster:
    """Master without sockets. Its event loop only runs while a test waits for something."""

    def __init__(self, home: Path, settings: Settings | None = None) -> None:
        self._home = home
        self._settings = settings or Settings(prefetch=0)
        self._loop = asyncio.new_event_loop()
        self.said: list[tuple[msg.Message, Speaker]] = []
        """All messages that were sent to the master, in order, each with its sender."""

    def __enter__(self) -> Self:
        self.inside = _Master(self._home, self._settings)
        self.do(self.inside.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.do(self.inside.stop())
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))

    def until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until `condition` returns a value other than None and False, and return the
        value."""

        async def wait() -> T:
            while (found := condition()) is None or found is False:
                await asyncio.sleep(0.001)
            return found

        try:
            return self.do(wait())
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {PATIENCE_S:g} s") from None

    def settled(self) -> None:
        """Wait until all messages so far are decided and durable, and the answers are sent."""
        self.do(self.inside.core.settled())

    @property
    def decided(self) -> list[ev.Event]:
        return self.inside.decided

    # -- who speaks to it --------------------------------------------------------------------------
    def connection(self) -> Speaker:
        """Return a connection that has not sent its Hello."""
        return Speaker(self)

    def client(self, user: str = ANN) -> Speaker:
        speaker = Speaker(self)
        speaker.ask(hello("client", "test", user), msg.Welcome)
        return speaker

    def worker(self, name: str = "w1", *, slots: int = 1, offers: str = "GENERAL") -> WorkerSpeaker:
        """Return a registered worker. `offers` are its capabilities, separated by blanks."""
        speaker = WorkerSpeaker(self)
        speaker.ask(hello("worker", "test"), msg.Welcome)
        speaker.register(name, slots, tuple(offers.split()))
        return speaker


class Speaker:
    """One connection. A message with the request number 0 gets a new number."""

    def __init__(self, master: SocketlessMaster) -> None:
        self.master = master
        self.got: list[tuple[msg.Message, bytes]] = []
        """All messages that the master sent on this connection, in order."""
        self._requests = 100

        async def connect() -> tuple[Peer, _Wire]:
            peer = master.inside._make_peer()
            wire = _Wire(master.inside._numbers, lambda message, blob: self.got.append((message, blob)))
            wire.peer = peer
            peer.connection_made(wire)
            return peer, wire

        self.peer, self._wire = master.do(connect())

    def next(self) -> int:
        """Return a new number, for a request with several answers such as a watch."""
        self._requests += 1
        return self._requests

    def say(self, message: msg.Message, blob: bytes | None = None) -> msg.Message:
        """Send a message without waiting for an answer. Return the message with its request
        number."""
        if not message.request:
            message = msgspec.structs.replace(message, request=self.next())
        self.master.said.append((message, self))
        rest = encode(message, blob)

        async def feed() -> None:
            nonlocal rest
            while rest and not self.peer.closed:
                space = self.peer.get_buffer(len(rest))
                count = min(len(space), len(rest))
                space[:count] = rest[:count]
                self.peer.buffer_updated(count)
                rest = rest[count:]

        self.master.do(feed())
        return message

    def find(self, kind: type[M], request: int | None = None, *, since: int = 0) -> M | None:
        """Return the first received message of this kind, and of this request if `request` is set.
        `since` is the number of received messages to skip."""
        fit = [m for m, _ in self.got[since:] if type(m) is kind and request in (None, m.request)]
        return fit[0] if fit else None

    def heard(self, kind: type[M], request: int | None = None, *, since: int = 0) -> M:
        """Wait for a message as `find` describes it, and return it."""
        return self.master.until(lambda: self.find(kind, request, since=since), f"a {kind.__name__}")

    def ask(self, message: msg.Message, kind: type[M], blob: bytes | None = None) -> M:
        """Send a message and return its answer, which must be of this kind."""
        since = len(self.got)
        said = self.say(message, blob)

        def answer() -> msg.Message | None:
            return self.find(kind, said.request, since=since) or self.find(msg.Error, said.request, since=since)

        found = self.master.until(answer, f"the {kind.__name__} for {said}")
        assert type(found) is kind, found
        return found

    def refused(self, message: msg.Message, code: str, text: str, blob: bytes | None = None) -> msg.Error:
        """Send a message, and check that the answer is an Error with this code and with `text` in
        its message."""
        since = len(self.got)
        said = self.say(message, blob)
        error = self.master.until(
            lambda: next((m for m, _ in self.got[since:] if m.request == said.request), None), f"the refusal of {said}"
        )
        assert isinstance(error, msg.Error) and error.code == code, error
        assert text in error.message, error
        return error

    def blob_of(self, message: msg.Message) -> bytes:
        return next(blob for it, blob in self.got if it is message)

    def hang_up(self) -> None:
        async def lose() -> None:
            self.peer.connection_lost(None)

        self.master.do(lose())
        self.master.settled()

    def submit(self, spec: DagSpec, key: str = "") -> str:
        """Submit a DAG and return the id of its run."""
        return self.ask(msg.Submit(0, key, spec), msg.Submitted).run

    def state_of(self, run: str, job: str) -> int:
        """Return the JobState of a job."""
        return self.ask(msg.GetRun(0, run, job), msg.RunStatus).jobs[0].state


class WorkerSpeaker(Speaker):
    """Worker, as far as the master can see."""

    def register(self, name: str, slots: int, capabilities: tuple[str, ...]) -> None:
        cluster = self.master.inside.core.state.cluster
        self.ask(msg.Register(0, name, "000001-a", cluster, capabilities, slots, {}, [], []), msg.Registered)
        self.name = name

    def lease_of(self, run: str, job: str, *, after: int = 0) -> int:
        """Wait until the worker has received a lease of the job above `after`. Return the newest
        such lease."""

        def found() -> int | None:
            orders = [m for m, _ in self.got if isinstance(m, msg.Dispatch)]
            rows = [row for order in orders for row in zip(order.leases, order.runs, order.jobs, strict=True)]
            return max([lease for lease, *whose in rows if whose == [run, job] and lease > after], default=None)

        return self.master.until(found, f"the dispatch of {run}/{job}")

    def start(self, run: str, job: str) -> int:
        """Report that the job has started, and return its lease. The job is RUNNING when this
        returns."""
        lease = self.lease_of(run, job)
        self.say(msg.Started(0, [lease], [self.master.inside.core.clock.now()]))
        self.master.settled()
        return lease

    def results(self, lease: int, outcome: Outcome = Outcome.SUCCEEDED, code: int = 0, *, value: bytes = b"") -> msg.Results:
        now = self.master.inside.core.clock.now()
        return msg.Results(0, [lease], [outcome], [code], [""], [now], [now], [0.1], [1], [value] if value else [])

    def finish(self, lease: int, outcome: Outcome = Outcome.SUCCEEDED, code: int = 0, *, value: bytes = b"") -> None:
        since = len(self.got)
        self.say(self.results(lease, outcome, code, value=value))
        self.heard(msg.Acked, since=since)


# -- what is submitted -----------------------------------------------------------------------------


def needing(capability: str, *names: str) -> DagSpec:
    """Return a DAG of jobs without retries that require this capability."""
    return alike(" ".join(names), JobTemplate(command="true", requirement=capability, retries=0))


# -- which rows a test is about --------------------------------------------------------------------
Check = Callable[[SocketlessMaster, int, int], None]
"""Check with the arguments (master, number of messages before the test, number of events before the
test)."""


def _tagged(how: str, rows: tuple[type[msg.Message], ...], check: Check) -> Callable[[Test], Test]:
    def tag(test: Test) -> Test:
        @functools.wraps(test)
        def checked(master: SocketlessMaster, *args: Any, **kwargs: Any) -> None:
            said, decided = len(master.said), len(master.decided)
            test(master, *args, **kwargs)
            master.settled()
            check(master, said, decided)

        setattr(checked, how, (*getattr(test, how, ()), *rows))
        return cast(Test, checked)

    return tag


def _errors(speaker: Speaker, request: int) -> bool:
    """Return whether an Error answered this request, or closed the whole connection."""
    return any(type(m) is msg.Error and m.request in (0, request) for m, _ in speaker.got)


def answers(*rows: type[msg.Message]) -> Callable[[Test], Test]:
    """Check that the master accepts a message of each of these kinds during the test."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        for row in rows:
            mine = [(m, by) for m, by in master.said[said:] if type(m) is row]
            assert any(not _errors(by, m.request) for m, by in mine), f"no {row.__name__} was taken"

    return _tagged("answered_rows", rows, check)


def refuses(*rows: type[msg.Message]) -> Callable[[Test], Test]:
    """Check that the master refuses a message of each of these kinds during the test."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        for row in rows:
            mine = [(m, by) for m, by in master.said[said:] if type(m) is row]
            assert any(_errors(by, m.request) for m, by in mine), f"no {row.__name__} was refused"

    return _tagged("refused_rows", rows, check)


def records(row: type[msg.Message], event: type[Any], user: str = ANN) -> Callable[[Test], Test]:
    """Check that a message of this kind leads to a journaled event of this kind, and that the event
    records the user."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        assert any(type(m) is row for m, _ in master.said[said:]), f"no {row.__name__} was said"
        assert event not in VOLATILE
        actors = [cast(Any, e).actor for e in master.decided[decided:] if type(e) is event]
        assert user in actors, f"{event.__name__} was recorded as asked for by {actors}"

    return _tagged("recorded_rows", (row,), check)


def story_of(speaker: Speaker, run: str, job: str) -> str:
    """Return the story of a job as one text."""
    return "\n".join(speaker.ask(msg.GetRun(0, run, job), msg.RunStatus).story)
