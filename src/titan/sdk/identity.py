"""Who uses a client, as the master records it: USER@HOST, or in a job the job itself."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cache


def user_name() -> str:
    """The login name of whoever runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return "unknown"


@cache
def actor() -> str:
    """Nobody proves it: it is what this program says of itself."""
    run, job = os.environ.get("TITAN_RUN"), os.environ.get("TITAN_JOB")
    if run and job:
        return f"{run}/{job}"
    return f"{user_name()}@{socket.gethostname()}"
