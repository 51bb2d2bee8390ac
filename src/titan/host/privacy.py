"""What a master and a worker keep from other users of the machine, and from other processes of
their own: homes, keys, memory.

*Homes* are 0700 and their owner's. *Keys* (passphrases in variables) leave the environment for
good: /proc/PID/environ shows that of a process's start for as long as it lives, so the process
executes itself anew without them and hands them to itself in a file without a name. *Memory* cannot
be read by a process of the same user: the kernel is told that this one is not dumpable. Its
/proc/PID then belongs to root, so who is not root reads there of a master or worker what everybody
may (stat, cmdline, cgroup).

Nothing here is for jobs: they have the umask that their worker was started with.
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
"""Variables whose values nobody is to see. The master's: a worker drops them."""
HANDED = "TITAN_KEYS_FD"
"""The descriptor by which they come."""
UMASK = 0o077
PR_SET_DUMPABLE = 4
_handed: dict[str, str] = {}
_umask: list[int] = []
"""The one that there was, once this process is secluded."""


# -- keys ------------------------------------------------------------------------------------------
def leave_environment() -> None:
    """Execute this process anew if its environment holds keys; to be called first of all. Then
    `take_key` has them."""
    _receive()
    keys = {name: value for name in KEYS if (value := os.environ.get(name))}
    if not keys:
        return
    env = {name: value for name, value in os.environ.items() if name not in KEYS}
    argv = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, argv, {**env, HANDED: str(_file_with({**_handed, **keys}))})


def hand_on() -> tuple[dict[str, str], tuple[int, ...]]:
    """(variables, descriptors) by which a process that is started finds the keys of this one. Close
    the descriptors then."""
    if not _handed:
        return {}, ()
    fd = _file_with(_handed)
    return {HANDED: str(fd)}, (fd,)


def take_key(name: str) -> str:
    """The value of one of KEYS, which is gone from this process's environment from then on; "" if
    none was given."""
    given = os.environ.pop(name, "")
    return _handed.pop(name, "") or given


def holds_keys() -> bool:
    """Return whether the memory or the environment of this process has any of KEYS."""
    return bool(_handed) or any(name in os.environ for name in KEYS)


def drop_keys() -> None:
    for name in KEYS:
        take_key(name)


def _receive() -> None:
    text = os.environ.pop(HANDED, "")
    if not text.isdigit():
        return
    with contextlib.suppress(OSError, ValueError):  # somebody else's variable
        with open(int(text), "rb") as file:
            values = json.loads(file.read())
        _handed.update({name: str(values[name]) for name in KEYS if name in values})


def _file_with(keys: dict[str, str]) -> int:
    """A file in memory that holds them, to be inherited."""
    fd = os.memfd_create("keys", 0)
    os.write(fd, json.dumps(keys).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


# -- memory and files ------------------------------------------------------------------------------
def seclude() -> None:
    """Files of this process are its own from now on, and its memory cannot be read."""
    if _umask:
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        refused = libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0
    except OSError:
        refused = True
    if refused:
        log.warning("processes of this user can read the memory of this one: the kernel refuses to forbid it")
    _umask.append(os.umask(UMASK))


def umask_before() -> int:
    """What jobs, and files that they are given, have for a umask; -1: this process's own."""
    return _umask[0] if _umask else -1


def umask_of_jobs() -> None:
    """To be called in a child, before it becomes another program."""
    if _umask:
        os.umask(_umask[0])


def open_home(home: Path) -> None:
    """The folder is there, this user's, and closed to others. One that is made has a .gitignore of
    `*`. Raises EnvironmentFault."""
    try:
        made = not home.exists()
        if made:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = home.stat()
        if not stat.S_ISDIR(about.st_mode):
            raise EnvironmentFault(f"the home {home} is no folder: give another with --home")
        _check_owner(home, about)
        if stat.S_IMODE(about.st_mode) & 0o077:
            home.chmod(0o700)
            if not made:
                log.warning("the home %s was open to other users (mode %03o): it is closed now", home, about.st_mode & 0o777)
        if stat.S_IMODE(home.stat().st_mode) & 0o077:
            log.warning("the home %s stays open to other users: its file system knows no modes", home)
        if made:
            (home / ".gitignore").write_text("*\n")
    except OSError as error:
        raise EnvironmentFault(f"the home {home} cannot be used: {error.strerror}: give another with --home") from error


def _check_owner(home: Path, about: os.stat_result) -> None:
    """Raises EnvironmentFault."""
    if about.st_mode & stat.S_ISVTX:
        raise EnvironmentFault(f"{home} is a folder for all users: give a folder of its own with --home, such as {home}/titan")
    if about.st_uid != os.geteuid():
        raise EnvironmentFault(
            f"the home {home} belongs to {_user(about.st_uid)}, and this process runs as {_user(os.geteuid())}: "
            f"run it as that user, change the owner (chown -R), or give another with --home"
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
