"""Start of a master or a worker in a fresh interpreter, and the limits of its restarts."""

from __future__ import annotations

import os
import subprocess
import sys

from titan.cli.prefork import Process
from titan.host.privacy import hand_on

MAX_RESTARTS = 5
"""Restarts of a worker in a row, at most."""
FIRST_PAUSE_S = 0.5


def spawn_server(arguments: list[str]) -> tuple[Process, int, int]:
    """Start `titan` in a fresh interpreter.

    Returns the process, the read end of the ready pipe and the write end of the hold pipe.
    """
    held, hold = os.pipe()
    ready, ready_out = os.pipe()
    command = [sys.executable, "-m", "titan", *arguments, "--parent-fd", str(held), "--ready-fd", str(ready_out)]
    # workers must not get the keys, since they run jobs
    keys, fds = hand_on() if arguments[0] == "master" else ({}, ())
    process = subprocess.Popen(
        command,
        env={**os.environ, **keys},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(held, ready_out, *fds),
        process_group=0,
    )
    for fd in (ready_out, held, *fds):
        os.close(fd)
    return process, ready, hold
