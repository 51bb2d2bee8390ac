"""Whatever happens to the connection, the master gets every byte of the output once and in
order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from support.log_pump import Link
from titan.worker import log_pump

LEASES = st.integers(1, 3)
STEPS = st.one_of(
    st.tuples(st.just("write"), LEASES, st.integers(1, 2), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("write"), LEASES, st.integers(1, 2), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("end"), LEASES),
    st.tuples(st.just("deliver"), st.integers(0, 3)),
    *(st.tuples(st.just(what)) for what in ("flush", "flush", "catch_up", "catch_up", "cut", "reconnect", "congest", "relax")),
)


def do(link: Link, step: tuple[object, ...], ended: set[int]) -> None:
    match step:
        case ("write", int(lease), int(stream), bytes(data)) if lease not in ended:
            link.write(lease, stream, data)
        case ("end", int(lease)) if lease not in ended:
            ended.add(lease)
            link.pump.on_ended(lease)
        case ("deliver", int(messages)):
            link.deliver(messages)
        case ("flush",) if link.connected and not link.congested:
            link.pump.flush()
        case ("catch_up",):
            link.pump.catch_up()
        case ("cut",) if link.connected:
            link.cut()
        case ("reconnect",) if not link.connected:
            link.reconnect()
        case ("congest",) if link.connected:
            link.pump.flush() if not link.congested else None
            link.congested = True
        case ("relax",):
            link.congested = False


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_output_arrives_whole_whatever_the_interleaving(steps: list[tuple[object, ...]]) -> None:
    ended: set[int] = set()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(log_pump, "CHUNK", 4):
        link = Link(Path(folder))
        for lease in (1, 2, 3):
            link.open(lease)
        for step in steps:
            do(link, step, ended)
        if not link.connected:
            link.reconnect()
        link.congested = False
        link.pump.flush()
        link.catch_up()
        link.deliver()
        assert link.received == link.written
        assert set(link.done) == ended
