"""Valid messages that ask for much work. The master's answers stay within their limits, and the
master survives."""

from __future__ import annotations

import asyncio
from pathlib import Path

from support.in_process import Line, a_master
from titan.gateway.outbound import DISPATCH_BYTES
from titan.model.dag import DagSpec, JobTemplate
from titan.protocol import messages as msg
from titan.protocol.codec import encode
from titan.protocol.frames import MAX_FRAME


def wide(jobs: int, template: JobTemplate, *args: str, name: str = "d") -> DagSpec:
    return DagSpec(name, "1", [template], [f"j{i}" for i in range(jobs)], [0] * jobs, [args] * jobs, [()] * jobs)


def test_a_dispatch_is_split_by_its_whole_size_including_arguments(tmp_path: Path) -> None:
    """The size of a dispatch includes the arguments. Earlier, 4,200 jobs with 131 kB of arguments
    each made one message of 525 MB, which ended the master."""

    async def go() -> None:
        async with a_master(tmp_path) as (master, connection):
            worker = await Line.dial(master.port)
            worker.send(msg.Register(7, "greedy", "1", "", ("GENERAL",), 65_536, {}, [], []))
            spec = wide(400, JobTemplate(command="true"), "x" * 120_000)
            answer = await connection.call(lambda request: msg.Submit(request, "k", spec))
            assert isinstance(answer, msg.Submitted)
            came: list[msg.Dispatch] = []
            while sum(len(it.leases) for it in came) < 400:
                message = await worker.next()
                if isinstance(message, msg.Dispatch):
                    came.append(message)
            assert sorted(job for it in came for job in it.jobs) == sorted(spec.ids)
            assert [lease for it in came for lease in it.leases] == sorted(lease for it in came for lease in it.leases)
            sizes = [len(encode(it)) for it in came]
            assert len(sizes) >= 400 * 120_000 // DISPATCH_BYTES
            assert max(sizes) <= DISPATCH_BYTES + 200_000 < MAX_FRAME
            await worker.close()

    asyncio.run(asyncio.wait_for(go(), 60))


def test_output_of_other_workers_attempts_is_not_kept_and_gaps_are_requested(tmp_path: Path) -> None:
    async def go() -> None:
        async with a_master(tmp_path) as (master, connection):
            mine, other = [await Line.dial(master.port) for _ in range(2)]
            assert isinstance(await mine.register("mine"), msg.Registered)
            answer = await connection.call(lambda request: msg.Submit(request, "k", wide(1, JobTemplate(command="true"))))
            assert isinstance(answer, msg.Submitted)
            while not isinstance(dispatched := await mine.next(), msg.Dispatch):
                pass
            assert isinstance(await other.register("other"), msg.Registered)
            run = answer.run
            mine.send(msg.LogData(0, [run], ["j0"], [1], [1], [0], [5]), b"hello")
            other.send(msg.LogData(0, [run, run], ["j0", "j0"], [1, 2], [1, 1], [5, 0], [4, 4]), b"evilevil")
            other.send(msg.LogData(9, [run], ["j0"], [1], [1], [5], [400]), b"evil")
            refused = await other.next()
            while not (isinstance(refused, msg.Error) and refused.request == 9):
                refused = await other.next()
            assert "400 bytes of output were announced, 4 arrived" in refused.message
            mine.send(msg.LogData(0, [run], ["j0"], [1], [1], [11], [5]), b"after")
            while not (isinstance(resume := await mine.next(), msg.LogResume) and resume.leases):
                pass
            assert (resume.leases, resume.stdout, resume.stderr) == (dispatched.leases, [5], [0])
            mine.send(msg.LogData(0, [run], ["j0"], [1], [1], [5], [11]), b" world " + b"back")
            mine.send(msg.Ping(3))
            while not isinstance(await mine.next(), msg.Pong):
                pass
            assert b"".join(data for _, _, data in master.logs.pieces(run, "j0", 1, {})) == b"hello world back"
            assert list(master.logs.pieces(run, "j0", 2, {})) == []
            for line in (mine, other):
                await line.close()

    asyncio.run(asyncio.wait_for(go(), 60))
