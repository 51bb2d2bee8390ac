"""Name of a client, as the master records it.

It is RUN/JOB in a script or command of a job, else USER@HOST.
"""

from __future__ import annotations

import getpass
import os
import socket


def user_name() -> str:
    """Return the login name of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have a user without a name
        return "unknown"


def actor() -> str:
    """Return the name under which the master records this program's requests. The master does not
    verify the name."""
    run, job = os.environ.get("TITAN_RUN"), os.environ.get("TITAN_JOB")
    if run and job:
        return f"{run}/{job}"
    return f"{user_name()}@{socket.gethostname()}"
