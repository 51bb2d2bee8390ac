"""Safe opening of paths that a job names. A path cannot lead out of its folder through links that
the job made, and opening it neither blocks on a pipe nor has effects on a device.

The kernel resolves the path (openat2, Linux 5.6). It follows links that stay inside the folder. No
link, "..", or concurrent rename leads out of the folder. If the kernel lacks openat2 or a sandbox
forbids it, this module opens one component of the path at a time and refuses every link. The result
is an O_PATH descriptor, which locates a file without opening its content. Check its type, then
`reopen` it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct

NR_OPENAT2 = 437
"""Number of the system call openat2, which is the same on all architectures."""
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 0x02, 0x08
OPENS_AGAIN = 16
"""Number of tries. The kernel returns EAGAIN if a path is renamed during the lookup."""
LEADS_OUT = (errno.EXDEV, errno.ELOOP)
_PLACE = os.O_PATH | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)
_lacking: list[bool] = []


def open_place(path: str) -> int:
    """Return an O_PATH descriptor of any path. Raises OSError."""
    return os.open(path, _PLACE)


def open_beneath(folder: str, path: str, *, follow: bool = True) -> int:
    """Return an O_PATH descriptor of `path`, which is relative to the folder.

    Raises OSError, with an errno in LEADS_OUT if the path leads out of the folder. If `follow` is
    False, a link in the path is an error too.
    """
    if path.startswith("/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    at = os.open(folder, _PLACE | os.O_DIRECTORY)
    try:
        return _walk(at, path) if _lacking or not follow else _resolve(at, path)
    finally:
        os.close(at)


def reopen(place: int, flags: int = os.O_RDONLY) -> int:
    """Open the file or folder of an O_PATH descriptor for reading. The type is checked first,
    because opening a device may have effects. Raises OSError."""
    if not stat.S_ISREG(mode := os.fstat(place).st_mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "neither a file nor a folder")
    return os.open(f"/proc/self/fd/{place}", flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def path_of(place: int) -> str:
    """Return the current path of a descriptor, in which all links are resolved."""
    return os.readlink(f"/proc/self/fd/{place}")


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _resolve(at: int, path: str) -> int:
    how = struct.pack("QQQ", _PLACE, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    for _ in range(OPENS_AGAIN):
        found = int(_libc.syscall(NR_OPENAT2, at, os.fsencode(path), how, len(how)))
        if found >= 0:
            return found
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that forbids it
            _lacking.append(True)
            return _walk(at, path)
        if code != errno.EAGAIN:
            raise OSError(code, os.strerror(code), path)
    raise OSError(errno.EAGAIN, "the path is renamed again and again", path)


def _walk(at: int, path: str) -> int:
    here = os.dup(at)
    try:
        for part in path.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
            next_ = os.open(part, _PLACE | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = next_
            if stat.S_ISLNK(os.fstat(here).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    except BaseException:
        os.close(here)
        raise
    os.set_inheritable(here, False)
    return here
