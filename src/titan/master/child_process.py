"""Long work of a master in a process of its own, so that it never stalls for it: how that is
started, and how it begins.

Such a process has a lower priority and ends with its master: nobody but the master of a home may
change what is there.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

SAID_BYTES = 2000
NICENESS = 10
_PR_SET_PDEATHSIG = 1


async def run_beside(module: str, *arguments: str) -> str:
    """Runs `python -m module ARGUMENTS`; returns the end of what it said if it failed, else
    nothing. Cancelled, it is killed.

    Raises OSError if there is no process, descriptor or memory for it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not process.returncode:
        return ""
    return said.decode(errors="replace").strip()[-SAID_BYTES:] or f"it ended with {process.returncode}"


def begin_beside(parent: int) -> None:
    """In that process: has the kernel kill it when `parent`, the master's pid, ends, and ends it
    now if that has happened."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("titan: the master has ended")
    os.nice(NICENESS)
