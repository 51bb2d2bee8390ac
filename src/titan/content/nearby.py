"""Content between processes of one machine: the file itself changes hands, and no byte of it passes
the connection.

The master *offers* its content folder in the Welcome. A peer that can read the token in that
folder, as the same user and in the same boot of the kernel, *proves* this with every request that
uses it. An address proves nothing: a container or a tunnel may have a loopback address of its own.
A peer without proof sends and fetches over the connection.

A *seal* belongs to the hash of a file: the marks that the file had when it was hashed. A worker
names the seal of a file that it hands over; a file that no longer matches is hashed by the master.
The master keeps a seal of each blob; a blob that no longer matches is not handed over: its content
goes over the connection, and the receiver hashes it.
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
"""Name of the token's file in the content folder."""
_TOKEN_BYTES = 64
_HASHED_BYTES = 1 << 20
_MAX_INT = (1 << 63) - 1


class Seal(NamedTuple):
    """Marks of an unchanged file. Every write sets the time of change; the kernel counts that in
    ticks of at most 10 ms."""

    inode: int
    size: int
    mtime_ns: int


class Nearby(NamedTuple):
    """A content folder of this machine, and the proof that its holder can read there."""

    folder: str
    proof: str


def seal_of(file: int | str) -> Seal:
    """Return the seal of a descriptor or a path. Raises OSError."""
    about = os.stat(file)
    return Seal(about.st_ino & _MAX_INT, about.st_size, about.st_mtime_ns)


# -- proof -----------------------------------------------------------------------------------------
def offer(folder: Path) -> Nearby:
    """Write a new token into the folder; proofs by an older one are void.

    Raises OSError; UnicodeError for a path that is no text.
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
    """Read the token of an offered folder. None: the folder is not on this machine, or belongs to
    another user."""
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
    """Tells machines apart that share a folder over the network."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        return b""


# -- files -----------------------------------------------------------------------------------------
def open_owned(path: str) -> int | None:
    """Open a regular file of this user for reading, no link; None for any other. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    about = os.fstat(fd)
    if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid():
        return fd
    os.close(fd)
    return None


def has_no_writers(fd: int) -> bool:
    """Return whether nobody has the file open for writing, or mapped so: only then does the kernel
    give a read lease."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    return True


class NearbyFile:
    """A blob of the master, open for reading. It stays readable when the master removes it."""

    def __init__(self, fd: int, hash_: str) -> None:
        self._file: BinaryIO = os.fdopen(fd, "rb")
        self._hash = hash_
        self._seal = seal_of(fd)
        self.size = self._seal.size

    @classmethod
    def open(cls, folder: str, hash_: str, seal: Seal) -> Self | None:
        """None: the file is gone, is not readable, or does not match the seal."""
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
        """Return all of it. Raises OSError."""
        self._file.seek(0)
        return self._file.read()

    def is_intact(self) -> bool:
        """Return whether nobody has changed it while it was read; hashes it if its times have
        changed. Raises OSError."""
        if seal_of(self._file.fileno()) == self._seal:
            return True
        digest, at = hashlib.sha256(), 0
        while piece := os.pread(self._file.fileno(), _HASHED_BYTES, at):
            digest.update(piece)
            at += len(piece)
        return digest.hexdigest() == self._hash

    def close(self) -> None:
        """Closing twice is no error."""
        self._file.close()

    def __del__(self) -> None:
        """An abandoned map leaves files that it had opened ahead."""
        with contextlib.suppress(Exception):
            self._file.close()
