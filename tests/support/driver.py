"""A driver that is not part of Titan. It uses no warden, but starts and stops processes itself, as
a driver for containers would."""

from __future__ import annotations

import asyncio
import os
import time

from titan.worker.drivers.protocol import Attempt, Host, OneProcess
from titan.worker.processes.reports import Exited, Output, Refused, Started


class OwnDriver(OneProcess):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: dict[int, asyncio.subprocess.Process] = {}

    def start(self, attempt: Attempt) -> None:
        if "nothing" in attempt.assignment.template.command:
            attempt.report(Refused(attempt.assignment.lease, 0, "own: there is no such command", final=True))
            return
        self._host.work(self._run(attempt))

    async def _run(self, attempt: Attempt) -> None:
        lease, o = attempt.assignment.lease, attempt.options
        argv = ("/bin/sh", "-c", attempt.assignment.template.command)
        pipe = asyncio.subprocess.PIPE
        env = {**os.environ, **o.env, "STARTED_BY": "own"}
        process = await asyncio.create_subprocess_exec(*argv, cwd=o.cwd, env=env, stdout=pipe, stderr=pipe)
        self._running[lease] = process
        attempt.report(Started(lease, process.pid, time.monotonic()))
        assert process.stdout is not None and process.stderr is not None
        await asyncio.gather(
            self._copy(attempt, 1, o.stdout_path, process.stdout), self._copy(attempt, 2, o.stderr_path, process.stderr)
        )
        code = await process.wait()
        del self._running[lease]
        attempt.report(Exited(lease, code, time.monotonic()))

    async def _copy(self, attempt: Attempt, stream: int, path: str, pipe: asyncio.StreamReader) -> None:
        offset = 0
        with open(path, "wb", buffering=0) as file:
            while data := await pipe.read(4096):
                file.write(data)
                attempt.report(Output(attempt.assignment.lease, stream, offset, 0, data))
                offset += len(data)

    def stop(self, lease: int, grace_s: float) -> None:
        process = self._running[lease]
        process.terminate()
        asyncio.get_running_loop().call_later(grace_s, self._kill, lease)

    def _kill(self, lease: int) -> None:
        if lease in self._running:
            self._running[lease].kill()
