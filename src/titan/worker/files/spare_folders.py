"""Unchanged folders of ended attempts, kept for reuse by the next attempts. A rename replaces a
mkdir, a copy and a removal.

An attempt that leaves nothing needs no folder, and a million empty ones cost a disk 4 KiB and an
inode each. Owns which folders can be reused, and the check that they are unchanged. This module
must not know whether an attempt succeeded.
"""

from __future__ import annotations

import os
from typing import NamedTuple

PROGRAM_BYTES = 64 * 1024
"""Largest program that is compared. Comparing a larger one would take as long as copying it."""
FOLDERS = 64

_Mark = tuple[int, int, int, int]


class Content(NamedTuple):
    """Content of a folder: nothing, or a program with this name and content."""

    file: str = ""
    program: bytes = b""


class FolderState(NamedTuple):
    """State of a folder when it was made, to find out later whether it changed."""

    path: str
    content: Content
    folder_mark: _Mark
    program_mark: _Mark


def note(path: str, content: Content) -> FolderState:
    """Record a folder that holds just this content. Raises OSError."""
    return FolderState(path, content, _mark(path), _mark(f"{path}/{content.file}") if content.file else (0, 0, 0, 0))


class SpareFolders:
    """Spare folders, at most `FOLDERS` of them."""

    def __init__(self) -> None:
        self._folders: dict[Content, list[FolderState]] = {}
        self._count = 0
        self.emptied = ""
        """Folder from which the last spare folder was taken."""

    def give(self, state: FolderState) -> list[FolderState]:
        """Add the folder of an attempt whose processes have all ended. Return the folders that are
        no longer needed."""
        if self._count < FOLDERS:
            self._folders.setdefault(state.content, []).append(state)
            self._count += 1
            return []
        if len(self._folders) == 1 and state.content in self._folders:
            return [state]
        dropped = [spare for folders in self._folders.values() for spare in folders]
        self._folders = {state.content: [state]}  # content in demand now replaces older content
        self._count = 1
        return dropped

    def take(self, path: str, content: Content) -> FolderState | None:
        """Rename a spare folder with this content to `path`. Return None if there is no unchanged
        one."""
        if os.path.lexists(path):  # an attempt that was withdrawn begins again
            return self._own(path, content)
        while (state := self._pop(content)) is not None:
            try:
                if _is_unchanged(state):
                    os.rename(state.path, path)
                    self.emptied = os.path.dirname(state.path)
                    # The program was not touched by the rename.
                    return FolderState(path, content, _mark(path), state.program_mark)
            except OSError:  # removed
                pass
        return None

    def _own(self, path: str, content: Content) -> FolderState | None:
        found = self._folders.get(content, [])
        state = next((spare for spare in reversed(found) if spare.path == path), None)
        try:
            if state is None or not _is_unchanged(state):
                return None
        except OSError:
            return None
        found.remove(state)
        self._count_down(content)
        return state

    def _pop(self, content: Content) -> FolderState | None:
        found = self._folders.get(content)
        if not found:
            return None
        state = found.pop()
        self._count_down(content)
        return state

    def _count_down(self, content: Content) -> None:
        self._count -= 1
        if not self._folders[content]:
            del self._folders[content]


def remove(state: FolderState) -> None:
    """Remove a folder if it is unchanged. Otherwise somebody left something in it."""
    try:
        if _is_unchanged(state):
            if state.content.file:
                os.unlink(f"{state.path}/{state.content.file}")
            os.rmdir(state.path)
    except OSError:
        pass


def _mark(path: str) -> _Mark:
    """Return values that change with the owner, the mode, the names in a folder or the content of a
    file. The last two change in steps of the kernel's clock."""
    found = os.lstat(path)
    return found.st_mode, found.st_uid, found.st_gid, found.st_ctime_ns


def _is_unchanged(state: FolderState) -> bool:
    """Return whether a folder is unchanged. Raises OSError."""
    file, program = state.content
    if _mark(state.path) != state.folder_mark or os.listdir(state.path) != ([file] if file else []):
        return False
    if not file:
        return True
    path = f"{state.path}/{file}"
    return _mark(path) == state.program_mark and _read(path, len(program) + 1) == program


def _read(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)
