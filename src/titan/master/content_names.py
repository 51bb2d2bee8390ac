"""Registry of names for content: the folder perm_files/, which people and clients fill.

When a client requests a name, the master copies the content of the file to the content store.
Submissions then refer to the content by its hash. Names are paths inside perm_files/. A path that
leads out of the folder is rejected. Methods block while they read a file. The registry owns the
names, and the store owns the content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Collection
from pathlib import Path

from titan.content.blobs import BlobStore, pieces_of, put_from
from titan.content.files import FileReader
from titan.errors import CallerError, NotFound

_BAD_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
_Seal = tuple[int, int, int]


class Registry:
    def __init__(self, folder: Path, store: BlobStore) -> None:
        self.folder = folder
        self._store = store
        folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, tuple[_Seal, str]] = {}
        """Name -> (seal of the file when it was hashed, hash). The seal is inode, size, mtime."""

    def resolve(self, name: str) -> tuple[str, int]:
        """Return (hash, size) of a named file. Copy its content to the store if the store lacks it.

        Raises NotFound for an unknown name, CallerError for a path that leads out of the folder,
        and EnvironmentFault if the store has no room.
        """
        path = self._inside(name)
        try:
            stat = path.stat()
        except OSError:
            raise NotFound(f"perm_files/ has no {name!r}: put the file there, or submit it from your own disk") from None
        if not path.is_file():
            raise CallerError(f"perm_files/{name} is not a file")
        seal = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(name)
        if known is None or known[0] != seal or not self._store.touch(known[1]):
            known = self._known[name] = (seal, put_from(self._store, FileReader(path)))
        return known[1], stat.st_size

    def give(self, name: str, hash_: str) -> int:
        """Write the content `hash_` to the file of a name, and return the size.

        An existing file is replaced. Raises NotFound or CallerError.
        """
        path = self._inside(name)
        source = self._store.open(hash_)
        part = path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as copy:
                for piece in pieces_of(source):
                    copy.write(piece)
            part.rename(path)
        except OSError as e:
            with contextlib.suppress(OSError):
                part.unlink()
            if e.errno in _BAD_NAME:
                raise CallerError(f"perm_files/ cannot hold the name {name[:200]!r}: {e.strerror}") from e
            raise
        finally:
            source.close()
        return source.size

    def contents(self, sizes: Collection[int]) -> set[str]:
        """Return the hashes of all files in perm_files/ that may match blobs of these sizes.

        Garbage collection would remove blobs of these sizes. A file whose hash is unknown is read
        only if its size is among them.
        """
        found = set()
        for folder, _, names in os.walk(self.folder):
            for file in names:
                path = Path(folder, file)
                name = str(path.relative_to(self.folder))
                with contextlib.suppress(OSError):
                    stat = path.stat()
                    seal = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                    known = self._known.get(name)
                    if known is not None and known[0] == seal:
                        found.add(known[1])
                    elif stat.st_size in sizes and path.is_file():
                        with path.open("rb") as source:
                            hash_ = hashlib.file_digest(source, "sha256").hexdigest()
                        self._known[name] = (seal, hash_)
                        found.add(hash_)
        return found

    def _inside(self, name: str) -> Path:
        parts = name.split("/")
        if not name or name.startswith("/") or "\0" in name or any(p in ("", ".", "..") or p.startswith(".") for p in parts):
            raise CallerError(f"{name[:200]!r} is not a valid name inside perm_files/: no '..', no leading '/' or '.'")
        path = self.folder.joinpath(*parts)
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder)):
            raise CallerError(f"perm_files/{name} is a link that leads out of perm_files/")
        return path
