"""Files that a job left in its folder: their kinds, and the rule for their paths."""

from __future__ import annotations

LINK, OTHER = 3, 4
"""Kinds beside FILE, PROGRAM and FOLDER of `titan.model.files`: a symbolic link, and what is none
of these, such as a socket or a folder that cannot be read."""
PAGE = 10_000
"""Most files in one page of a list."""


def is_path_inside(path: bytes) -> bool:
    """Return whether a relative path stays inside the folder to which it is relative, if no link
    leads out.

    >>> is_path_inside(b"out/a.csv"), is_path_inside(b"../a"), is_path_inside(b"/etc")
    (True, False, False)
    """
    return b"\0" not in path and all(part not in (b"", b".", b"..") for part in path.split(b"/"))
