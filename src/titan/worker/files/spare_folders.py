"""Spare folders: unchanged folders of ended attempts, kept for reuse by later attempts. One rename
then replaces a mkdir, a copy of the program and a removal.

The folder of an attempt that left no files need not be kept: a million empty folders would cost 4
KiB and an inode each. Owns the list of reusable folders and the check that they are unchanged. This
module must not know whether an attempt succeeded.
"""

from __future__ import annotations

import os
from typing import NamedTuple

PROGRAM_BYTES = 64 * 1024
"""Size of the largest program that is compared. The comparison of a larger program would take as
long as a copy."""
FOLDERS = 64

_Mark = tuple[int, int, int, int]


class Content(NamedTuple):
    """Content of a folder: one program with this name and content, or nothing."""

    file: str = ""
    program: bytes = b""


class FolderState(NamedTuple):
    """State of a folder when it was created. A later comparison shows whether the folder has
    changed."""

    path: str
    content: Content
    folder_mark: _Mark
    program_mark: _Mark


def note(path: str, content: Content) -> FolderState:
    """Return the state of a folder that contains exactly this content. Raises OSError."""
    return FolderState(path, content, _mark(path), _mark(f"{path}/{content.file}") if content.file else (0, 0, 0, 0))


class SpareFolders:
    """Set of at most `FOLDERS` spare folders."""

    def __init__(self) -> None:
        self._folders: dict[Content, list[FolderState]] = {}
        self._count = 0
        self.emptied = ""
        """Parent folder of the spare folder that was taken last."""

    def give(self, state: FolderState) -> list[FolderState]:
        """Add the folder of an attempt whose processes have all ended. Return the folders that the
        caller has to remove, because the set is full."""
        if self._count < FOLDERS:
            self._folders.setdefault(state.content, []).append(state)
            self._count += 1
            return []
        if len(self._folders) == 1 and state.content in self._folders:
            return [state]
        dropped = [spare for folders in self._folders.values() for spare in folders]
        self._folders = {state.content: [state]}  # recently used content replaces older content
        self._count = 1
        return dropped

    def take(self, path: str, content: Content) -> FolderState | None:
        """Rename a spare folder with this content to `path`. Return None if there is no unchanged
        spare folder with this content."""
        if os.path.lexists(path):  # the attempt was withdrawn earlier, and begins again
            return self._own(path, content)
        while (state := self._pop(content)) is not None:
            try:
                if _is_unchanged(state):
                    os.rename(state.path, path)
                    self.emptied = os.path.dirname(state.path)
                    # The rename changes only the mark of the folder, not that of the program.
                    return FolderState(path, content, _mark(path), state.program_mark)
            except OSError:  # somebody removed the folder
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
    """Remove a folder if it is unchanged. A changed folder stays, because it may contain files that
    somebody needs."""
    try:
        if _is_unchanged(state):
            if state.content.file:
                os.unlink(f"{state.path}/{state.content.file}")
            os.rmdir(state.path)
    except OSError:
        pass


def _mark(path: str) -> _Mark:
    """Return values that change when the owner, the mode, the names in a folder or the content of a
    file change. The kernel's clock for ctime has coarse ticks, so a change of names or content
    within one tick may not show."""
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
