"""Published files in a job: `context.publish(key, path)`, `context.artifact(key).download(path)`.

This module imports only the standard library and `job_link`.
"""

from __future__ import annotations

import os
from typing import Any

from titan.net.job_link import FETCH_PATH, FIND_ARTIFACT, PUBLISH_PATH, JobLink

FOLDER = 2


class JobArtifact:
    """One version of a published file or folder."""

    __slots__ = ("_link", "by", "hash", "is_folder", "key", "published_at", "size")

    def __init__(self, link: JobLink, row: list[Any]) -> None:
        self._link = link
        self.key: str = row[0]
        """RUN/KEY, or KEY if the artifact is shared by all runs."""
        self.hash: str = row[1]
        self.size: int = row[2]
        self.is_folder: bool = row[3] == FOLDER
        self.published_at: float = row[4]
        self.by: str = row[5] if len(row) > 5 else ""
        """Job that published the artifact, as RUN/JOB; "" for a client."""

    def download(self, path: str | os.PathLike[str]) -> str:
        """Write this version to `path` and return its absolute path.

        If the artifact is a file, it replaces an existing file. If the artifact is a folder, `path`
        must be an empty folder or must not exist.
        """
        return fetch(self._link, self.key, path, self.hash)

    def __repr__(self) -> str:
        return f"<artifact {self.key} {self.hash[:12]} of {self.size:,} bytes>"


def publish(link: JobLink, key: str, path: str | os.PathLike[str], *, shared: bool) -> JobArtifact:
    row = _first_row(link, PUBLISH_PATH, (key, os.path.abspath(path), shared))
    return JobArtifact(link, row)


def find(link: JobLink, key: str) -> JobArtifact:
    return JobArtifact(link, link.ask(FIND_ARTIFACT, (key, 0))[1][0])


def fetch(link: JobLink, key: str, path: str | os.PathLike[str], hash_: str = "") -> str:
    target = os.path.abspath(path)
    _first_row(link, FETCH_PATH, (key, target, hash_))
    return target


def _first_row(link: JobLink, opcode: int, fields: tuple[Any, ...]) -> list[Any]:
    """Return the first row of the answer.

    An empty answer means that the worker is still busy with the file; the request is then sent
    again.
    """
    while True:
        rows = link.ask(opcode, fields)[1]
        if rows:
            row: list[Any] = rows[0]
            return row
