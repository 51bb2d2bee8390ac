"""Provider of burst workers as child processes of the master, on its machine.

A burst worker holds the read end of a pipe, and the master holds the write end. When the master
ends in any way, the pipe closes. The worker then kills its attempts, returns them if it can reach a
master, and ends. The home of the worker lies in burst/ below the master's home. It is removed when
the worker has ended. This module must not know why a worker is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from titan.errors import Conflict
from titan.host.core_dumps import core_dumps_as_before
from titan.host.home_lock import HomeLock
from titan.host.privacy import umask_of_jobs
from titan.host.remove_folder import remove_folder

log = logging.getLogger("titan.master")

STOP_S = 8.0
"""Maximum time for a stopped worker to end before it is killed."""
CLEAN_S = 60.0
KILL_S = 2.0


class _Child(NamedTuple):
    process: asyncio.subprocess.Process
    hold: list[int]
    """Write end of the worker's pipe; empty when the pipe is closed."""
    watcher: asyncio.Task[None]


class LocalProvider:
    gone: Callable[[str, str], None]

    def __init__(self, home: Path) -> None:
        """`home`: the master's home."""
        self._home = home.resolve()
        self._folder = self._home / "burst"
        self._children: dict[str, _Child] = {}
        self._cleaner: asyncio.Task[None] | None = None

    async def open(self, address: str) -> list[str]:
        """Remove the homes of earlier workers. Return no workers, because none outlives its
        master."""
        self._address = address
        old = [path for path in self._folder.iterdir() if path.is_dir()] if self._folder.is_dir() else []
        if old:
            self._cleaner = asyncio.get_running_loop().create_task(self._clean(old))
        return []

    async def start(self, name: str, capabilities: tuple[str, ...], slots: int) -> None:
        home = self._folder / name
        home.mkdir(parents=True)
        held, hold = os.pipe()
        tags = [part for capability in capabilities for part in ("--capability", capability)]
        where = ["--master", self._address, "--home", str(home), "--shared", str(self._home / "shared")]
        try:
            with core_dumps_as_before():
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "titan", "worker", "--name", name, "--slots", str(slots), *tags, *where),
                    *("--quiet", "--parent-fd", str(held)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(held,),
                    start_new_session=True,
                    preexec_fn=umask_of_jobs,
                )
        except BaseException:
            os.close(hold)
            remove_folder(home, ignore_errors=True)
            raise
        finally:
            os.close(held)
        watcher = asyncio.get_running_loop().create_task(self._watch(name, process))
        self._children[name] = _Child(process, [hold], watcher)

    async def stop(self, name: str) -> None:
        child = self._children.get(name)
        if child is None:
            return
        while child.hold:
            os.close(child.hold.pop())
        try:
            await asyncio.wait_for(asyncio.shield(child.watcher), STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
            await asyncio.shield(child.watcher)

    async def close(self) -> None:
        await asyncio.gather(*(self.stop(name) for name in list(self._children)))
        if self._cleaner is not None:
            self._cleaner.cancel()
            await asyncio.gather(self._cleaner, return_exceptions=True)

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        child = self._children.pop(name)
        while child.hold:
            os.close(child.hold.pop())
        await asyncio.to_thread(_remove_home, self._folder / name)
        self.gone(name, f"it ended with exit code {code}" if code >= 0 else f"it was killed by signal {-code}")

    async def _clean(self, homes: list[Path]) -> None:
        give_up = time.monotonic() + CLEAN_S
        while homes and time.monotonic() < give_up:
            homes = [home for home in homes if not await asyncio.to_thread(_remove_if_free, home)]
            if homes:
                await asyncio.sleep(0.2)
        for home in homes:
            log.warning("%s is still in use by a burst worker of an earlier master", home)


def _remove_if_free(home: Path) -> bool:
    """Remove a home. Return False if a worker still uses it."""
    lock = HomeLock(home / "lock")
    try:
        lock.acquire()
    except Conflict:
        return False
    except OSError:
        return True
    try:
        _remove_home(home)
    finally:
        lock.release()
    return True


def _remove_home(home: Path) -> None:
    """Kill the remaining processes of a worker, then remove its home.

    Processes remain if the worker was killed together with its warden. TITAN_WORKER_HOME in their
    environment identifies them.
    """
    mark = b"TITAN_WORKER_HOME=" + os.fsencode(home)
    give_up = time.monotonic() + KILL_S
    while (left := _marked(mark)) and time.monotonic() < give_up:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    remove_folder(home, ignore_errors=True)


def _marked(mark: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found
