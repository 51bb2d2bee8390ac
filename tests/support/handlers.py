"""A master without sockets, for tests of its handlers: all of it is the production's, but for the
port that it does not open.

Who speaks to it is a `Speaker`: what it says passes the codec and the peer of a connection as
bytes, and what it is sent is decoded and kept. The journal, the history and the registry are real
ones in a folder of the test's.

    with SocketlessMaster(tmp_path) as master:
        ann = master.client("ann@here")
        answer = ann.ask(msg.Ping(1), msg.Pong)
        ann.refused(msg.GetRun(2, "nope"), "not_found", "there is no run 'nope'")

`answers`, `refuses` and `records` name the rows of the table of routes that a test is about, and
see that it is about them; that each row has such tests is what
tests/unit/master/handlers/test_every_row.py holds.
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
"""How long an answer is waited for, on a machine that does much else."""
ANN = "ann@here"


class _Wire(asyncio.Transport):
    """The socket of a peer: what is written is decoded at once."""

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
    """Keeps the events that were decided."""

    def __init__(self, home: Path, settings: Settings) -> None:
        super().__init__(home, policy=SyncPolicy.ALWAYS, settings=settings)
        self.decided: list[ev.Event] = []

    async def _listen(self) -> asyncio.Server:
        return cast(asyncio.Server, _NoServer())

    def _on_events(self, events: list[ev.Event]) -> None:
        self.decided += events
        super()._on_events(events)


class SocketlessMaster:
    """Its loop runs while something is waited for."""

    def __init__(self, home: Path, settings: Settings | None = None) -> None:
        self._home = home
        self._settings = settings or Settings(prefetch=0)
        self._loop = asyncio.new_event_loop()
        self.said: list[tuple[msg.Message, Speaker]] = []
        """All that was said to it, in order."""

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
        """What `condition` gives once that is something."""

        async def wait() -> T:
            while (found := condition()) is None or found is False:
                await asyncio.sleep(0.001)
            return found

        try:
            return self.do(wait())
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {PATIENCE_S:g} s") from None

    def settled(self) -> None:
        """All that was said is decided, durable and told."""
        self.do(self.inside.core.settled())

    @property
    def decided(self) -> list[ev.Event]:
        return self.inside.decided

    # -- who speaks to it --------------------------------------------------------------------------
    def connection(self) -> Speaker:
        """That has said nothing yet."""
        return Speaker(self)

    def client(self, user: str = ANN) -> Speaker:
        speaker = Speaker(self)
        speaker.ask(hello("client", "test", user), msg.Welcome)
        return speaker

    def worker(self, name: str = "w1", *, slots: int = 1, offers: str = "GENERAL") -> WorkerSpeaker:
        """One that is registered; `offers`: its capabilities, in words."""
        speaker = WorkerSpeaker(self)
        speaker.ask(hello("worker", "test"), msg.Welcome)
        speaker.register(name, slots, tuple(offers.split()))
        return speaker


class Speaker:
    """One connection. The numbers of its requests are drawn by `ask` where they are 0."""

    def __init__(self, master: SocketlessMaster) -> None:
        self.master = master
        self.got: list[tuple[msg.Message, bytes]] = []
        """All that it was sent, in order."""
        self._requests = 100

        async def connect() -> tuple[Peer, _Wire]:
            peer = master.inside._make_peer()
            wire = _Wire(master.inside._numbers, lambda message, blob: self.got.append((message, blob)))
            wire.peer = peer
            peer.connection_made(wire)
            return peer, wire

        self.peer, self._wire = master.do(connect())

    def next(self) -> int:
        """A number for a request that goes on, as a watch does."""
        self._requests += 1
        return self._requests

    def say(self, message: msg.Message, blob: bytes | None = None) -> msg.Message:
        """Sends it, and waits for nothing; with the number that it has got."""
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
        """The first message of that kind, and with that number if one is named, of what it was
        sent."""
        fit = [m for m, _ in self.got[since:] if type(m) is kind and request in (None, m.request)]
        return fit[0] if fit else None

    def heard(self, kind: type[M], request: int | None = None, *, since: int = 0) -> M:
        """Waits for such a message."""
        return self.master.until(lambda: self.find(kind, request, since=since), f"a {kind.__name__}")

    def ask(self, message: msg.Message, kind: type[M], blob: bytes | None = None) -> M:
        """The answer, which is of that kind."""
        since = len(self.got)
        said = self.say(message, blob)

        def answer() -> msg.Message | None:
            return self.find(kind, said.request, since=since) or self.find(msg.Error, said.request, since=since)

        found = self.master.until(answer, f"the {kind.__name__} for {said}")
        assert type(found) is kind, found
        return found

    def refused(self, message: msg.Message, code: str, text: str, blob: bytes | None = None) -> msg.Error:
        """It is answered by an Error of this code, whose message has this text in it."""
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
        """The id of the run that became of it."""
        return self.ask(msg.Submit(0, key, spec), msg.Submitted).run

    def state_of(self, run: str, job: str) -> int:
        """A JobState."""
        return self.ask(msg.GetRun(0, run, job), msg.RunStatus).jobs[0].state


class WorkerSpeaker(Speaker):
    """A worker, as far as the master can see."""

    def register(self, name: str, slots: int, capabilities: tuple[str, ...]) -> None:
        cluster = self.master.inside.core.state.cluster
        self.ask(msg.Register(0, name, "000001-a", cluster, capabilities, slots, {}, [], []), msg.Registered)
        self.name = name

    def lease_of(self, run: str, job: str, *, after: int = 0) -> int:
        """The newest lease of a job that it was sent; waits for one beyond `after`."""

        def found() -> int | None:
            orders = [m for m, _ in self.got if isinstance(m, msg.Dispatch)]
            rows = [row for order in orders for row in zip(order.leases, order.runs, order.jobs, strict=True)]
            return max([lease for lease, *whose in rows if whose == [run, job] and lease > after], default=None)

        return self.master.until(found, f"the dispatch of {run}/{job}")

    def start(self, run: str, job: str) -> int:
        """Its lease, under which it is RUNNING now."""
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
    """Jobs for the worker that offers this, of no retries."""
    return alike(" ".join(names), JobTemplate(command="true", requirement=capability, retries=0))


# -- which rows a test is about --------------------------------------------------------------------
Check = Callable[[SocketlessMaster, int, int], None]
"""(master, how much was said before the test, how much was decided before it)."""


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
    """Of the request, or of the whole connection."""
    return any(type(m) is msg.Error and m.request in (0, request) for m, _ in speaker.got)


def answers(*rows: type[msg.Message]) -> Callable[[Test], Test]:
    """The test has these messages answered, or taken if they have no answer."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        for row in rows:
            mine = [(m, by) for m, by in master.said[said:] if type(m) is row]
            assert any(not _errors(by, m.request) for m, by in mine), f"no {row.__name__} was taken"

    return _tagged("answered_rows", rows, check)


def refuses(*rows: type[msg.Message]) -> Callable[[Test], Test]:
    """The test has these messages refused."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        for row in rows:
            mine = [(m, by) for m, by in master.said[said:] if type(m) is row]
            assert any(_errors(by, m.request) for m, by in mine), f"no {row.__name__} was refused"

    return _tagged("refused_rows", rows, check)


def records(row: type[msg.Message], event: type[Any], user: str = ANN) -> Callable[[Test], Test]:
    """The test has such a message journal such an event, and the event says who asked."""

    def check(master: SocketlessMaster, said: int, decided: int) -> None:
        assert any(type(m) is row for m, _ in master.said[said:]), f"no {row.__name__} was said"
        assert event not in VOLATILE
        actors = [cast(Any, e).actor for e in master.decided[decided:] if type(e) is event]
        assert user in actors, f"{event.__name__} was recorded as asked for by {actors}"

    return _tagged("recorded_rows", (row,), check)


def story_of(speaker: Speaker, run: str, job: str) -> str:
    """What is told of a job, its lines joined."""
    return "\n".join(speaker.ask(msg.GetRun(0, run, job), msg.RunStatus).story)
