"""Confinement of a peer. It stays on this machine and in its folder while it runs, and no process
of it is left after its turn.

There are three means. The peer has a network of its own with only the loopback. Host and runner
become the parents of processes that a peer abandons. A host gets SIGTERM when its runner has ended.
All processes are ended by their process ids.
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
    """Make this process the parent of orphaned descendants, so that it can find and end them."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def follow_parent() -> None:
    """Let this process get SIGTERM when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def interrupt_on_sigterm(patience_s: int = 0, give_up: Callable[[], None] = lambda: None) -> None:
    """Make SIGTERM raise KeyboardInterrupt from now on, as Ctrl-C does. A second SIGTERM has no
    effect.

    If the process has not ended `patience_s` seconds later, it calls `give_up` and ends at once. 0
    means no limit.
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
    """Move this process into a network with nothing but the loopback. The process must not have
    threads yet. Return False if it may not do this."""
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
    """Kill and reap all descendants of this process, including those that are started meanwhile."""
    until = time.monotonic() + patience_s
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < until:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
