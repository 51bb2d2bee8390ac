"""Messages with hostile values, a master that receives them, and a second state that replays the
master's journal as it grows.

`World` is a real master in this process: bytes go in at its port and pass through frames, the
decoder, the handlers, the core and the journal on a disk. After each case the records that were
added are replayed into a copy, as a restart would; both states are compared.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import msgspec

from support.core import picture
from support.in_process import Line
from titan.core.apply.apply import apply
from titan.core.events.events import decode
from titan.core.invariants import check
from titan.core.state.state import State
from titan.errors import Bug
from titan.journal import read_records
from titan.master.server import Master
from titan.model.dag import DagSpec, Gate, JobTemplate, Limits, Needs, Retry, Service
from titan.model.files import StoredFile
from titan.model.settings import Settings
from titan.model.timing import Timing
from titan.protocol import messages as msg
from titan.protocol.codec import Received
from titan.protocol.frames import BLOB, encode_frame
from titan.protocol.opcodes import OPCODE_OF, OPCODES

BIG = 1_000_001
LARGE_BYTES = 32 << 20
NUMBERS = (
    *(math.nan, math.inf, -math.inf, -1, -1.0, 0, 1, 0.5, 1e18, 1e308, -1e308, 5e-324, 2**31, 2**53),
    *(2**63 - 1, 2**63, 2**64 - 1, -(2**63), 1 << 32, True, None),
)
TEXTS = ("", "\x1b[2J\x07\0", "\u202egnp.exe", "x" * 70_000, "é" * 1025, "../../etc/passwd", "w1", "a", "%s%n", 7, None)
BLOBS = (b"", b"\xff" * 100, b"h" + bytes(40), b"x" * 70_000, "text", None)
SETTINGS = Settings(prefetch=0, heartbeat_s=500, loss_s=3000, missing_s=2000)
LEASE = 0x7E577E577E577E57
RUN = "therunofthis"
"""Placeholders for a lease and a run in a case. They are replaced by the attempt that the worker
has when the message is sent, and by its run."""
NOT_SENT = (msg.Stop, msg.Hello)
"""Messages that are not sent: Stop ends the master, and Hello is the handshake."""
WORKERS = (
    *(msg.Register, msg.Heartbeat, msg.Started, msg.ServiceStates, msg.Progress, msg.Statuses, msg.Results, msg.LogData, msg.Grow),
    *(
        msg.StoreStream,
        msg.FetchFile,
        msg.Draining,
        msg.Leaving,
        msg.Publish,
        msg.SendFile,
        msg.FilePiece,
        msg.FileEnd,
        msg.ReadValue,
    ),
)


@dataclass(frozen=True)
class Case:
    """A message with one hostile value. `payload` is the array of a message of `kind`, which is
    sent with `role`."""

    kind: type[msg.Message]
    role: str
    payload: bytes
    blob: bytes = b""
    told: str = ""


# -- the messages ----------------------------------------------------------------------------------
def good(kind: type[Any], world: World, number: int) -> dict[str, Any]:
    """Return valid fields of a message, or of a struct in a message."""
    return {field.name: _good(field.name, field.type, world, number) for field in msgspec.structs.fields(kind)}


def _good(name: str, of: Any, world: World, number: int) -> Any:
    known: dict[str, Any] = {
        "request": 9,
        "run": RUN,
        "runs": [RUN],
        "job": "a",
        "key": f"k{number}",
        "name": f"n{number}",
        "ids": ["a"],
        "argv": (),
        "by": "me",
        "outcomes": [0],
        "leases": [LEASE],
        "lease": LEASE,
        "capabilities": ("GENERAL",),
        "commands": [[b"SET", b"k", b"v"]],
        "hash": "a" * 64,
        "hashes": ["a" * 64],
        "state": 0,
        "overlap": "skip",
        "catch_up": "last",
        "command": "true",
        "requirement": "GENERAL",
        "template_of": [0],
        "count": 1,
        "slots": 2,
        "incarnation": "1",
        "cluster": world.cluster,
        "facts": {"cpus": 2},
        "size": 1,
        "sizes": [1],
        "streams": [1],
        "draws": [world.draw],
        "draw_of": [0],
    }
    if name in known and not (isinstance(of, type) and issubclass(of, msgspec.Struct)):
        return known[name]
    origin, args = typing.get_origin(of), typing.get_args(of)
    if origin is typing.Annotated:
        return _good(name, args[0], world, number)
    if of is DagSpec:
        return DagSpec("d", "1", [JobTemplate(command="true")], ["a"], [0], [()], [()])
    if of is Timing:
        return Timing(every_s=3600.0)
    if of is StoredFile:
        return StoredFile("f", "a" * 64, 1)
    if of is JobTemplate:
        return JobTemplate(command="true")
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        return of(**good(of, world, number))
    if origin is list:
        return [_good(name + "[]", args[0], world, number)]
    if origin is tuple and args[-1] is Ellipsis:
        return ()
    if origin is tuple:
        return tuple(_good(name, one, world, number) for one in args)
    if origin in (UnionType, typing.Union):
        return _good(name, args[0], world, number)
    return {int: 1, float: 1.0, str: "a", bytes: b"i\x80\x04N.", bool: False, dict: {}}.get(of if origin is None else origin)


def _plain(value: Any) -> Any:
    """Return the value as builtins, of which every part can be changed."""
    if isinstance(value, msgspec.Struct):
        return [_plain(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every field, and of every entry, of a message."""
    if at:
        yield at
    inside = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, one in inside:
        yield from places(one, (*at, key))


def hostile(value: Any, *, large: bool) -> tuple[Any, ...]:
    """Return the hostile values to put in the place of a value."""
    if isinstance(value, list):
        one = value[0] if value else 0
        # a larger value would exhaust the memory of this process
        room = LARGE_BYTES // len(msgspec.msgpack.encode(one))
        many = [one] * (min(BIG, room) if large else 3000)
        return ([], many, value * 2, [None], [[]], None, {"a": 1})
    if isinstance(value, dict):
        return ({}, {str(i): i for i in range(500)}, {"": ""}, {"cpus": math.nan}, {"advertise": "\x1b"}, None, [])
    if isinstance(value, bytes):
        return BLOBS
    return TEXTS if isinstance(value, str) else NUMBERS


def put(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = put(value[at[0]], at[1:], new)
    return copy


FULL = JobTemplate(
    command="true",
    argv=(),
    env=(("K", "v"),),
    needs=Needs(1.0, 1 << 20, 0, ("GENERAL",)),
    retry=Retry(1.0, 2.0, (3,)),
    limits=Limits(8 << 20, 1.0, 10),
    secrets=(),
    outputs=(("o", "out"),),
)
GATE = JobTemplate(kind="gate", gate=Gate("go?", 60.0, ""))
SERVICE = JobTemplate(command="serve", kind="service", service=Service(0, "tcp", "", 1.0, 1.0, 1.0, "always", 1.0, 2.0))


def cases(kind: type[msg.Message], world: World, *, large: bool = False, some: random.Random | None = None) -> Iterator[Case]:
    """Yield a case for each place in the message and each hostile value for it. With `some`, yield
    one random case per place instead."""
    role = "worker" if kind in WORKERS else "client"
    fields = good(kind, world, world.next_number())
    wholes = [_plain(kind(**fields))]
    if "dag" in fields:
        for template in (FULL, GATE, SERVICE):
            dag = DagSpec("d", "1", [template], ["a"], [0], [("x",)], [()])
            wholes.append(_plain(kind(**{**fields, "dag": dag})))
    elif "templates" in fields:
        wholes += [_plain(kind(**{**fields, "templates": [template]})) for template in (FULL, GATE, SERVICE)]
    for whole in [some.choice(wholes)] if some is not None else wholes:
        paths = list(places(whole))
        for path in [some.choice(paths)] if some is not None else paths:
            old = whole
            for step in path:
                old = old[step]
            values = hostile(old, large=large)
            for value in [some.choice(values)] if some is not None else values:
                changed = put(whole, path, value)
                try:
                    payload = msgspec.msgpack.encode(changed)
                except OverflowError:
                    continue
                yield Case(kind, role, payload, b"x", f"{kind.__name__}{list(path)} = {repr(value)[:60]}")


def kinds() -> list[type[msg.Message]]:
    return [kind for kind in OPCODES.values() if kind not in NOT_SENT]


class Wire(Line):
    """Line on which raw bytes can be sent. Its end is no error."""

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def next_or_end(self) -> msg.Message | None:
        """Return the next message; None if the master has closed the connection."""
        while not self._came:
            try:
                data = await self._reader.read(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._came += [it.message for it in self._decoder.receive_data(data) if isinstance(it, Received)]
        return self._came.pop(0)


# -- the receiver ----------------------------------------------------------------------------------
class World:
    """A master and a copy of its state. `case` sends one message and returns whether the master
    refused it. Raises AssertionError if the master or a replay fails."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="titan-hostile-")
        self._loop = asyncio.new_event_loop()
        self._numbers = 0
        self.run = ""
        self.cluster = ""
        self._do(self._open())

    def close(self) -> None:
        try:
            self._do(self._end())
        finally:
            self._loop.close()
            self._folder.cleanup()

    @property
    def draw(self) -> str:
        """Return the draw of the master's present start."""
        return next(reversed(self.master.core.state.draws.values()), "")

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def case(self, it: Case) -> bool:
        return bool(self._do(self._case(it)))

    def restart(self) -> None:
        """Restart the master. Its state after the restart must equal its state before."""
        self._do(self._restart())

    def _do(self, work: Any) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, 30))

    async def _open(self) -> None:
        self.master = Master(Path(self._folder.name), port=0, settings=SETTINGS)
        await self.master.start()
        self.copy, self._replayed = State(SETTINGS), 0
        self.term = self.master.core.state.term
        self.cluster = self.master.core.state.cluster
        await self._submit()

    async def _submit(self) -> None:
        """Submit a run. Its first job goes to the worker, if there is one."""
        client = await Line.dial(self.master.port, "client")
        dag = DagSpec("d", "1", [JobTemplate(command="true")], ["a", "b"], [0, 0], [(), ()], [(), ("a",)])
        client.send(msg.Submit(1, f"first{self.next_number()}", dag))
        answer = await client.next()
        assert isinstance(answer, msg.Submitted), answer
        self.run = answer.run
        await client.close()

    async def _attempt(self, line: Line) -> int:
        """Register the worker, and return the lease of an attempt that it holds."""
        state = self.master.core.state
        held = self._held()
        line.send(msg.Register(1, "w1", "1", self.cluster, ("GENERAL",), 2, {"cpus": 2}, list(held), [0.0] * len(held)))
        while not isinstance(answer := await line.next(), msg.Registered):
            assert not isinstance(answer, msg.Error), answer.message
        if not held:
            await self._submit()
            self.master.core.turn()
            held = self._held()
        if not held:  # an earlier case made the worker drain or leave
            return 1
        lease, number = next(iter(held.items()))
        self.run = state.jobs[number].run.id
        return lease

    def _held(self) -> dict[int, int]:
        return next((dict(w.held) for w in self.master.core.state.workers.values() if w.name == "w1"), {})

    async def _end(self) -> None:
        await self.master.stop()

    async def _restart(self) -> None:
        await self._same()
        before = picture(self.master.core.state)
        await self.master.stop()
        self.master = Master(Path(self._folder.name), port=0, settings=SETTINGS)
        replayed = State(SETTINGS)
        self._replay(replayed, 0)
        assert picture(replayed) == before
        await self.master.start()
        self.term = self.master.core.state.term

    async def _case(self, it: Case) -> bool:
        line = await Wire.dial(self.master.port, it.role)
        try:
            lease = await self._attempt(line) if it.role == "worker" else 1
            payload = it.payload.replace(LEASE.to_bytes(8, "big"), lease.to_bytes(8, "big"))
            payload = payload.replace(RUN.encode(), self.run.encode())
            frame = encode_frame(OPCODE_OF[it.kind], len(payload).to_bytes(4, "big") + payload + it.blob, BLOB)
            line.raw(frame)
            line.send(msg.Ping(77))
            refused = await self._until_pong(line)
            await self._same()
        except AssertionError as error:
            raise AssertionError(f"{it.told}: {error}") from error
        finally:
            await line.close()
        return refused

    async def _until_pong(self, line: Wire) -> bool:
        """Read until the Pong. Return whether an Error came before it, or the connection was
        closed."""
        refused = False
        while True:
            answer = await line.next_or_end()
            if answer is None:
                return True
            if isinstance(answer, msg.Pong) and answer.request == 77:
                return refused
            assert not (isinstance(answer, msg.Error) and answer.code == Bug.code), answer.message
            refused = refused or isinstance(answer, msg.Error)

    async def _same(self) -> None:
        core = self.master.core
        core.turn()
        assert self.master._reopening is None, "an input made a handler raise"
        assert not core._dead
        await core.settled()
        check(core.state)
        now = core.clock.now()
        late = [job.name for job in core.state.jobs.values() if max(job.since, job.started_at, job.finished_at) > now]
        assert late == [], "a worker moved the time"
        assert core.state.term >= self.term
        self.term = core.state.term  # a worker that holds a lease of another home raises the term
        if core.order.seq == self._replayed:
            return  # no record was written, so the state has not changed
        self._replayed = self._replay(self.copy, self._replayed)
        assert picture(self.copy) == picture(core.state), "a replay of the journal comes to another state"

    def _replay(self, into: State, after: int) -> int:
        for record in read_records(Path(self._folder.name) / "store", after):
            for event in decode(record.payload):
                apply(into, event)
            after = record.last_seq
        return after
