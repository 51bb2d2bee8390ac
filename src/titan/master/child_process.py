"""Child processes for long work of a master, so that the master's event loop does not stall.

A child has a lower priority than the master. The child ends with its master, because only the
master of a home may change the home.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys

STDERR_BYTES = 2000
NICENESS = 10
_PR_SET_PDEATHSIG = 1


async def run_beside(module: str, *arguments: str) -> str:
    """Run `python -m module ARGUMENTS`. Return "" if the process succeeds, else the end of its
    stderr.

    Cancellation kills the process. Raises OSError if the system lacks a process, a descriptor or
    memory.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not process.returncode:
        return ""
    return stderr.decode(errors="replace").strip()[-STDERR_BYTES:] or f"the process ended with {process.returncode}"


def begin_beside(parent: int) -> None:
    """Bind the calling child to the master's process `parent`, and lower the child's priority.

    The kernel kills the child when the master ends. If the master has already ended, the child
    exits.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("titan: the master has ended")
    os.nice(NICENESS)
