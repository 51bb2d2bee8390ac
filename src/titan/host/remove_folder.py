"""Removal of folders with untrusted content: of jobs, archives and projects.

`shutil.rmtree` recurses (up to Python 3.12), so it raises RecursionError for a folder that is
nested a thousand levels deep. It also fails at a subfolder without permissions. `remove_folder`
moves entries from deeper levels up into the root of the removed folder. So at any depth it needs at
most three descriptors and paths of two names. It never follows a link.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ROUNDS = 100
"""Passes over the folder without progress after which removal gives up. Another process then writes
into the folder faster than it is emptied."""


def remove_folder(path: str | os.PathLike[str], *, ignore_errors: bool = False) -> None:
    """Remove a folder and its content. A folder that does not exist is no error.

    Raises OSError if an entry cannot be removed; with `ignore_errors`, returns instead.
    NotADirectoryError: `path` is a file or a link. PermissionError: an entry belongs to another
    user. ENOTEMPTY: other processes keep writing into the folder.
    """
    try:
        with suppress(FileNotFoundError):
            _allow(os.fspath(path), None)
            root = os.open(path, _FOLDER)
            try:
                _empty(root, os.fspath(path))
            finally:
                os.close(root)
            os.rmdir(path)
    except OSError:
        if not ignore_errors:
            raise


def _empty(root: int, path: str) -> None:
    stuck = 0
    while entries := os.listdir(root):
        removed = 0
        failed: OSError | None = None
        for name in entries:
            try:
                removed += _remove(root, name)
            except OSError as e:
                failed = e
        if not removed:
            stuck += 1
            if failed is not None:
                raise failed
            if stuck >= _ROUNDS:
                raise OSError(errno.ENOTEMPTY, "other processes keep writing into it", path)


def _remove(root: int, name: str) -> int:
    """Remove the entry `name` of `root`. Return the number of removed entries.

    If the entry is a folder, its own entries are removed, and its subfolders move up into `root`.
    """
    if _unlinked(root, name):
        return 1
    _allow(name, root)
    try:
        folder = os.open(name, _FOLDER, dir_fd=root)
    except FileNotFoundError:
        return 1
    try:
        gone = 0
        for inner in os.listdir(folder):
            if not _unlinked(folder, inner):
                _allow(inner, folder)
                with suppress(FileNotFoundError):
                    os.rename(inner, f".going-{secrets.token_hex(8)}", src_dir_fd=folder, dst_dir_fd=root)
            gone += 1
    finally:
        os.close(folder)
    with suppress(OSError):  # another process wrote into the folder: the next pass removes it
        os.rmdir(name, dir_fd=root)
        gone += 1
    return gone


def _unlinked(folder: int, name: str) -> bool:
    """Return True if the entry is removed; False if it is a folder that is not empty or has no
    permissions."""
    remove: Callable[..., None] = os.unlink
    for _ in range(2):
        try:
            remove(name, dir_fd=folder)
            return True
        except FileNotFoundError:
            return True
        except OSError as e:
            if remove is os.rmdir and e.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            if e.errno not in (errno.EISDIR, errno.EPERM):
                raise
            remove = os.rmdir
    raise PermissionError(errno.EPERM, "may not be removed", name)


def _allow(name: str, folder: int | None) -> None:
    """Give the owner all rights to a folder. Reading, emptying and moving the folder need them."""
    with suppress(OSError):
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if os.fstat(handle).st_mode & 0o700 != 0o700:
                Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)
