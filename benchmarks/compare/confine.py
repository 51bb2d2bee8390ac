"""A peer stays on this machine and in its folder while it runs, and nothing of it is left when its
turn is over.

Three means: a network of its own in which there is only the loopback; host and runner as the
parents of whatever a peer abandons; and SIGTERM for a host whose runner is gone. Everything is
ended by its process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from types import FrameType

import psutil

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def adopt_orphans() -> None:
    """What a descendant of this process leaves behind becomes its child, and so can be found and
    ended."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def follow_parent() -> None:
    """This process gets SIGTERM when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def interrupt_on_sigterm(patience_s: int = 0, give_up: Callable[[], None] = lambda: None) -> None:
    """From now on SIGTERM raises KeyboardInterrupt, as Ctrl-C does; while that is being handled a
    second one changes nothing.

    If the process is still there `patience_s` seconds later (0: however long that takes), it gives
    up and ends at once.
    """

    def on_term(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.alarm(patience_s)
        raise KeyboardInterrupt

    def on_alarm(number: int, frame: FrameType | None) -> None:
        try:
            give_up()
        finally:
            os._exit(130)

    signal.signal(signal.SIGTERM, on_term)


def own_network() -> bool:
    """Moves this process, before it has threads, into a network with nothing but the loopback;
    False if it may not."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        user, group = os.getuid(), os.getgid()
        if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            return False
        _write("/proc/self/uid_map", f"{user} {user} 1")
        with contextlib.suppress(OSError):
            _write("/proc/self/setgroups", "deny")
        _write("/proc/self/gid_map", f"{group} {group} 1")
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    return True


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def end_descendants(patience_s: float = 10.0) -> None:
    """Kills and reaps all that descends from this process, whatever it starts meanwhile
    included."""
    until = time.monotonic() + patience_s
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
