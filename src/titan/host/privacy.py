"""Protection of a master's or worker's homes, keys and memory from other users and processes.

*Homes* have mode 0700 and belong to the user of the process.

*Keys* are secret values in environment variables. As long as a process lives, /proc/PID/environ
shows the environment with which it was started. So the process executes itself again without these
variables, and passes the keys to itself in a file without a name.

*Memory* cannot be read by other processes of the same user, because the process is marked as not
dumpable. Its /proc/PID then belongs to root, and other processes can read only the public files
there (stat, cmdline, cgroup).

Jobs are exempt from these rules: they get the umask with which their worker was started.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import pwd
import stat
import sys
from pathlib import Path

from titan.errors import EnvironmentFault

log = logging.getLogger("titan")

KEYS = ("TITAN_SECRETS_PASSPHRASE", "TITAN_WEBHOOK_SECRET")
"""Environment variables with secret values. The master uses these values; a worker drops them."""
KEYS_FD = "TITAN_KEYS_FD"
"""Variable that holds the descriptor of the file with the keys."""
UMASK = 0o077
PR_SET_DUMPABLE = 4
_keys: dict[str, str] = {}
"""Keys that this process received in the file, by variable. `take_key` removes them."""
_umask: list[int] = []
"""The previous umask; empty until `seclude` is called."""


# -- keys ------------------------------------------------------------------------------------------
def leave_environment() -> None:
    """Execute this process again if its environment holds keys. `main` must call this first.

    In the new process, `take_key` returns the keys.
    """
    _receive()
    keys = {name: value for name in KEYS if (value := os.environ.get(name))}
    if not keys:
        return
    env = {name: value for name, value in os.environ.items() if name not in KEYS}
    argv = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, argv, {**env, KEYS_FD: str(_file_with({**_keys, **keys}))})


def hand_on() -> tuple[dict[str, str], tuple[int, ...]]:
    """Return (variables, descriptors) that pass the keys of this process to a child process.

    Close the descriptors after the child process has started.
    """
    if not _keys:
        return {}, ()
    fd = _file_with(_keys)
    return {KEYS_FD: str(fd)}, (fd,)


def take_key(name: str) -> str:
    """Return the value of one of KEYS; "" if it is not set. Remove it from this process's
    environment."""
    value = os.environ.pop(name, "")
    return _keys.pop(name, "") or value


def holds_keys() -> bool:
    """Return whether the memory or the environment of this process holds any of KEYS."""
    return bool(_keys) or any(name in os.environ for name in KEYS)


def drop_keys() -> None:
    for name in KEYS:
        take_key(name)


def _receive() -> None:
    text = os.environ.pop(KEYS_FD, "")
    if not text.isdigit():
        return
    with contextlib.suppress(OSError, ValueError):  # the variable was not set by Titan
        with open(int(text), "rb") as file:
            values = json.loads(file.read())
        _keys.update({name: str(values[name]) for name in KEYS if name in values})


def _file_with(keys: dict[str, str]) -> int:
    """Return the descriptor of a new file in memory that holds the keys. Child processes inherit
    it."""
    fd = os.memfd_create("keys", 0)
    os.write(fd, json.dumps(keys).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


# -- memory and files ------------------------------------------------------------------------------
def seclude() -> None:
    """Make new files of this process private, and its memory unreadable for other processes."""
    if _umask:
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        refused = libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    except OSError:
        refused = True
    if refused:
        log.warning("other processes of this user can read the memory of this process: the kernel refuses to forbid it")
    _umask.append(os.umask(UMASK))


def umask_before() -> int:
    """Return the umask for jobs and for their files; -1 if it is the umask of this process."""
    return _umask[0] if _umask else -1


def umask_of_jobs() -> None:
    """Set the umask for jobs. A child process calls this before it executes another program."""
    if _umask:
        os.umask(_umask[0])


def open_home(home: Path) -> None:
    """Ensure that a home exists, belongs to this user, and is closed to other users.

    A new home gets a .gitignore of `*`. Raises EnvironmentFault.
    """
    try:
        made = not home.exists()
        if made:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise EnvironmentFault(f"the home {home} is not a folder: choose another with --home")
        _check_owner(home, status)
        if stat.S_IMODE(status.st_mode) & 0o077:
            home.chmod(0o700)
            if not made:
                log.warning("the home %s was open to other users (mode %03o): it is closed now", home, status.st_mode & 0o777)
        if stat.S_IMODE(home.stat().st_mode) & 0o077:
            log.warning("the home %s stays open to other users: its file system has no modes", home)
        if made:
            (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise EnvironmentFault(f"the home {home} cannot be used: {error.strerror}: choose another with --home") from error


def _check_owner(home: Path, status: os.stat_result) -> None:
    """Raise EnvironmentFault if the home is shared by all users or belongs to another user."""
    if status.st_mode & stat.S_ISVTX:
        raise EnvironmentFault(f"{home} is a folder for all users: choose a private folder with --home, such as {home}/titan")
    if status.st_uid != os.geteuid():
        raise EnvironmentFault(
            f"the home {home} belongs to {_user(status.st_uid)}, and this process runs as {_user(os.geteuid())}: "
            f"run it as that user, change the owner (chown -R), or choose another home with --home"
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
