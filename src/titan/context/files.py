"""Published files, as a job sees them: `context.publish(key, path)`,
`context.artifact(key).download(path)`.

Imports the standard library, the errors and `job_link` alone.
"""

from __future__ import annotations

import os
from typing import Any

from titan.net.job_link import FETCH_PATH, FIND_ARTIFACT, PUBLISH_PATH, JobLink

FOLDER = 2


class JobArtifact:
    """A published file or folder: one version of it."""

    __slots__ = ("_link", "by", "hash", "is_folder", "key", "published_at", "size")

    def __init__(self, link: JobLink, row: list[Any]) -> None:
        self._link = link
        self.key: str = row[0]
        """RUN/KEY; KEY if it is shared."""
        self.hash: str = row[1]
        self.size: int = row[2]
        self.is_folder: bool = row[3] == FOLDER
        self.published_at: float = row[4]
        self.by: str = row[5] if len(row) > 5 else ""
        """The job that published it, RUN/JOB; "" for a client."""

    def download(self, path: str | os.PathLike[str]) -> str:
        """Writes it, this version, to `path`, which a file replaces; a folder has to be empty or
        not there."""
        return fetch(self._link, self.key, path, self.hash)

    def __repr__(self) -> str:
        return f"<artifact {self.key} {self.hash[:12]} of {self.size:,} bytes>"


def publish(link: JobLink, key: str, path: str | os.PathLike[str], *, shared: bool) -> JobArtifact:
    row = _ask(link, PUBLISH_PATH, (key, os.path.abspath(path), shared))
    return JobArtifact(link, row)


def find(link: JobLink, key: str) -> JobArtifact:
    return JobArtifact(link, link.ask(FIND_ARTIFACT, (key, 0))[1][0])


def fetch(link: JobLink, key: str, path: str | os.PathLike[str], hash_: str = "") -> str:
    target = os.path.abspath(path)
    _ask(link, FETCH_PATH, (key, target, hash_))
    return target


def _ask(link: JobLink, opcode: int, fields: tuple[Any, ...]) -> list[Any]:
    """Again while the worker says that it goes on."""
    while True:
        rows = link.ask(opcode, fields)[1]
        if rows:
            row: list[Any] = rows[0]
            return row
