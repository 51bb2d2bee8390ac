"""A handler raises an exception in a real master. The input is refused, the master recovers from
its journal, and nothing is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.in_process import Line, a_master
from titan.core import inputs
from titan.core import step as stepping
from titan.errors import Bug, Conflict
from titan.master.server import Master
from titan.model.dag import DagSpec, JobTemplate
from titan.model.states import JobState
from titan.protocol import messages as msg
from titan.sdk.connection import Connection

PLANTED = AssertionError("planted")
SPEC = DagSpec("d", "1", [JobTemplate(command="true")], ["a"], [0], [()], [()])


def plant(monkeypatch: pytest.MonkeyPatch, kind: type, raises: Exception = PLANTED) -> None:
    """Make the handler of this kind of input raise, after it has changed the state."""
    real = stepping._HANDLERS[kind]

    def bad(turn: Any, value: Any) -> None:
        real(turn, value)
        raise raises

    monkeypatch.setitem(stepping._HANDLERS, kind, bad)


async def submit(connection: Connection, key: str) -> str:
    answer = await connection.call(lambda request: msg.Submit(request, key, SPEC))
    assert isinstance(answer, msg.Submitted)
    return answer.run


async def state_of(connection: Connection, run: str) -> msg.RunStatus:
    answer = await connection.call(lambda request: msg.GetRun(request, run))
    assert isinstance(answer, msg.RunStatus)
    return answer


def test_an_input_that_raises_is_refused_and_the_master_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with a_master(tmp_path) as (master, connection):
            run = await submit(connection, "k")
            port, store = master.port, master.store_port.port if master.store_port else 0
            with monkeypatch.context() as patch:
                plant(patch, inputs.CancelRequested)
                with pytest.raises(Bug, match="CancelRequested made the master fail"):
                    await connection.call(lambda request: msg.Cancel(request, run))
            status = await state_of(connection, run)
            assert status.run.tally[JobState.QUEUED] == 1, "the job is queued, because the changes of the failed handler are undone"
            assert (master.port, master.store_port.port if master.store_port else 0) == (port, store)
            assert master.core.state.term == 2
            cancelled = await connection.call(lambda request: msg.Cancel(request, run))
            assert isinstance(cancelled, msg.Cancelled)

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_client_whose_requests_raise_twice_is_refused_and_others_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with a_master(tmp_path) as (master, connection):
            run = await submit(connection, "k")
            plant(monkeypatch, inputs.CancelRequested)
            for _ in range(2):
                with pytest.raises(Bug):
                    await connection.call(lambda request: msg.Cancel(request, run))
            for _ in range(3):
                with pytest.raises(Conflict, match="set aside until this master is restarted"):
                    await connection.call(lambda request: msg.Cancel(request, run))
            assert master.core.state.term == 3, "the master does not recover again for the third request"
            assert await submit(connection, "other") != run

    asyncio.run(asyncio.wait_for(go(), 60))


def test_a_worker_whose_messages_raise_twice_is_not_registered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with a_master(tmp_path) as (master, _):
            plant(monkeypatch, inputs.WorkerBeat)
            for term in (2, 3):
                worker = await Line.dial(master.port)
                assert isinstance(await worker.register("bad"), msg.Registered)
                worker.send(msg.Heartbeat(0, [], []))
                while not (master.core.state.term == term and master.port):
                    await asyncio.sleep(0.01)
                assert master._reopening is not None
                await master._reopening
                await worker.close()
            worker = await Line.dial(master.port)
            refused = await worker.register("bad")
            assert isinstance(refused, msg.Error)
            assert "worker bad is set aside until this master is restarted" in refused.message
            assert isinstance(await worker.register("good"), msg.Registered)
            await worker.close()

    asyncio.run(asyncio.wait_for(go(), 60))


def test_an_input_without_a_sender_may_raise_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        master = Master(tmp_path, port=0)
        await master.start()
        plant(monkeypatch, inputs.BurstGone, ValueError("planted"))
        master.core.see(inputs.BurstGone("burst-x", "why"))
        while master._reopening is None:
            await asyncio.sleep(0)
        await master._reopening
        master.core.see(inputs.BurstGone("burst-x", "why"))
        with pytest.raises(ValueError, match="planted"):
            await master.run()
        await master.stop()

    asyncio.run(asyncio.wait_for(go(), 60))


def test_without_a_journal_the_master_stops_when_a_handler_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        master = Master(tmp_path, port=0, policy=None)
        await master.start()
        plant(monkeypatch, inputs.BurstGone)
        master.core.see(inputs.BurstGone("burst-x", "why"))
        with pytest.raises(AssertionError, match="planted") as caught:
            await master.run()
        assert "the last input was BurstGone(name='burst-x', reason='why')" in "".join(caught.value.__notes__)
        await master.stop()

    asyncio.run(asyncio.wait_for(go(), 60))
