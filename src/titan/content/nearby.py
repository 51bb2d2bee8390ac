"""Exchange of files between processes of one machine, without sending the bytes over a connection.

The master *offers* its content folder in the Welcome. A peer *proves* that it runs as the same user
on the same machine: it reads the token file in that folder, and sends a hash of the token and the
kernel's boot id with every request that uses the folder. An address would prove nothing: a
container or a tunnel may have a loopback address of its own. A peer without proof uploads and
fetches over the connection.

A *seal* is the inode, size and mtime that a file had when it was hashed. A worker sends the seal
with a file that it hands over. If the file no longer matches this seal, the master hashes the file.
The master also keeps the seals of blobs. A blob that no longer matches its seal is not handed over:
the master sends its content over the connection, and the receiver hashes the content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from titan.host.large_files import reuse_memory

TOKEN = "nearby"
"""Name of the token file in the content folder."""
_TOKEN_BYTES = 64
_HASHED_BYTES = 1 << 20
_MAX_INT = (1 << 63) - 1


class Seal(NamedTuple):
    """Attributes that show that a file is unchanged. Every write sets the mtime, in ticks of at
    most 10 ms."""

    inode: int
    size: int
    mtime_ns: int


class Nearby(NamedTuple):
    """Content folder of this machine, and the proof that this process can read there."""

    folder: str
    proof: str


def seal_of(file: int | str) -> Seal:
    """Return the seal of a descriptor or a path. Raises OSError."""
    status = os.stat(file)
    return Seal(status.st_ino & _MAX_INT, status.st_size, status.st_mtime_ns)


# -- proof -----------------------------------------------------------------------------------------
def offer(folder: Path) -> Nearby:
    """Write a new token into the folder. Proofs that were made with an older token become invalid.

    Raises OSError, and UnicodeError for a path that is not text.
    """
    place = str(folder.resolve())
    place.encode()
    token = secrets.token_hex(_TOKEN_BYTES // 2).encode()
    part = folder / f"{TOKEN}.new"
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, token)
    finally:
        os.close(fd)
    part.rename(folder / TOKEN)
    return Nearby(place, _proof(token))


def prove(folder: str) -> Nearby | None:
    """Return the proof for an offered folder; None if the folder is not on this machine or belongs
    to another user."""
    if not os.path.isabs(folder):
        return None
    try:
        fd = open_owned(os.path.join(folder, TOKEN))
    except OSError:
        return None
    if fd is None:
        return None
    try:
        token = os.read(fd, _TOKEN_BYTES + 1)
    finally:
        os.close(fd)
    return Nearby(folder, _proof(token)) if len(token) == _TOKEN_BYTES else None


def is_proved(offered: Nearby | None, proof: str) -> bool:
    return offered is not None and hmac.compare_digest(offered.proof.encode(), proof.encode("utf-8", "replace"))


def _proof(token: bytes) -> str:
    return hashlib.sha256(token + _boot_id()).hexdigest()


@cache
def _boot_id() -> bytes:
    """Return the id of this boot. Machines that share a folder over the network have different
    ids."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return b""


# -- files -----------------------------------------------------------------------------------------
def open_owned(path: str) -> int | None:
    """Open a file for reading if it is a regular file of this user; otherwise return None.

    Raises OSError, also for a link.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return fd
    os.close(fd)
    return None


def has_no_writers(fd: int) -> bool:
    """Return whether no process has the file open or mapped for writing. Only then does the kernel
    grant a read lease."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


class NearbyFile:
    """Blob of the master, open for reading. It stays readable after the master removes it."""

    def __init__(self, fd: int, hash_: str) -> None:
        self._file: BinaryIO = os.fdopen(fd, "rb")
        self._hash = hash_
        self._seal = seal_of(fd)
        self.size = self._seal.size

    @classmethod
    def open(cls, folder: str, hash_: str, seal: Seal) -> Self | None:
        """Open a blob. Return None if the file is gone, unreadable, or does not match the seal."""
        try:
            fd = open_owned(os.path.join(folder, hash_))
        except OSError:
            return None
        if fd is None:
            return None
        if seal_of(fd) != seal:
            os.close(fd)
            return None
        reuse_memory()
        return cls(fd, hash_)

    @property
    def file(self) -> BinaryIO:
        return self._file

    def read(self) -> bytes:
        """Return the whole content. Raises OSError."""
        self._file.seek(0)
        return self._file.read()

    def is_intact(self) -> bool:
        """Return whether the file is unchanged since it was opened. Hashes the file if its seal has
        changed. Raises OSError."""
        if seal_of(self._file.fileno()) == self._seal:
            return True
        digest, at = hashlib.sha256(), 0
        while piece := os.pread(self._file.fileno(), _HASHED_BYTES, at):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest() == self._hash

    def close(self) -> None:
        """Close the file. Closing twice is no error."""
        self._file.close()

    def __del__(self) -> None:
        """Close the file. A `map` that the caller abandons leaves its prefetched files open."""
        with contextlib.suppress(Exception):
            self._file.close()
