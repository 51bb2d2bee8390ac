"""Who uses a client, as the master records it: USER@HOST; in a script or command of a job RUN/JOB."""

from __future__ import annotations

import getpass
import os
import socket


def user_name() -> str:
    """The login name of whoever runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return "unknown"


def actor() -> str:
    """The name under which the master records what this program asks for. Nobody proves it."""
    run, job = os.environ.get("TITAN_RUN"), os.environ.get("TITAN_JOB")
    if run and job:
        return f"{run}/{job}"
    return f"{user_name()}@{socket.gethostname()}"
