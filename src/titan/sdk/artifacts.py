"""Published files: `client.publish(key, path)`, `client.artifact(key).download(path)`.

A client publishes under keys that the whole cluster shares. RUN/KEY is a key that a job published
for its run. RUN/JOB.OUTPUT is an output of a job. Both clients inherit these methods.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from titan.content.archive import build_archive, survey, unpack_archive
from titan.content.transfer import fetch_file, send_file
from titan.errors import CallerError, InvalidGraph
from titan.host.temporary_folder import TemporaryFolder
from titan.model.files import FILE, FOLDER, PROGRAM
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.uploads import ConnectionLines

T = TypeVar("T")
HASH_FIRST = 8 << 20
"""Largest file to hash before it is sent, because the master may already have it."""
MAX_FOLDER_BYTES = 64 << 30
MAX_FOLDER_MEMBERS = 1_000_000


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """One version of a published file or folder, or an output of a job."""

    key: str
    hash: str
    """SHA-256 in hex; for a folder, that of its archive."""
    size: int
    """Bytes; for a folder, those of its archive."""
    is_folder: bool
    published_at: float
    """Seconds since the epoch."""
    by: str
    """Job that published the artifact, as RUN/JOB; "" for a client."""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class AsyncArtifact(ArtifactInfo):
    """A version under a key: the requested one, or the newest at the time of the request."""

    _connection: Connection | None = None

    async def download(self, path: str | os.PathLike[str]) -> Path:
        """Write this version to `path` and return the path.

        A file replaces an existing file atomically. A folder must be empty or missing. Raises
        PeerError if the content does not match its hash, NotFound if the master no longer has it,
        OSError.
        """
        assert self._connection is not None
        target = Path(path)
        part = target.with_name(f".{secrets.token_hex(6)}.part")
        try:
            await fetch_file(ConnectionLines(self._connection), self.hash, part)
            if self.is_folder:
                limits = {"max_bytes": MAX_FOLDER_BYTES, "max_members": MAX_FOLDER_MEMBERS}
                await asyncio.to_thread(unpack_archive, part, target, **limits)
            else:
                part.chmod(0o755 if self.executable else 0o644)
                part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        return target


class Artifact:
    """AsyncArtifact for code without an event loop."""

    def __init__(self, client: Artifacts, artifact: AsyncArtifact) -> None:
        self._client = client
        self._artifact = artifact
        self.key, self.hash, self.size = artifact.key, artifact.hash, artifact.size
        self.is_folder, self.published_at, self.by = artifact.is_folder, artifact.published_at, artifact.by

    def download(self, path: str | os.PathLike[str]) -> Path:
        """Write this version to `path` and return the path. See AsyncArtifact.download."""
        return self._client._wait(self._artifact.download(path))

    def __repr__(self) -> str:
        return f"<Artifact {self.key} {self.hash[:12]} of {self.size:,} bytes>"


class AsyncArtifacts:
    """Methods of AsyncClient for published files."""

    _connection: Connection

    async def publish(self, key: str, path: str | os.PathLike[str]) -> ArtifactInfo:
        """Publish a file or folder under a key that the whole cluster shares.

        It is durable when this returns. The newest version counts. Raises CallerError for a
        malformed key, LimitExceeded, OSError.
        """
        source, kind = Path(path), FILE
        scratch = None
        try:
            if source.is_dir():
                kind = FOLDER
                scratch = await asyncio.to_thread(TemporaryFolder)
                source = await asyncio.to_thread(_packed, source, scratch.path)
            elif not source.is_file():
                raise CallerError(f"{path} is not a file or folder: nothing was published. Check the path")
            elif source.stat().st_mode & 0o100:
                kind = PROGRAM
            size = source.stat().st_size
            known_hash = await asyncio.to_thread(_hash_of, source) if size <= HASH_FIRST else ""
            hash_ = await send_file(ConnectionLines(self._connection), source, hash_=known_hash)
        finally:
            if scratch is not None:
                scratch.close()
        answer = await self._connection.call(lambda n: msg.Publish(n, key, hash_, size, kind))
        assert isinstance(answer, msg.Artifacts)
        return _info(answer.artifacts[0])

    async def artifact(self, key: str, *, version: str = "") -> AsyncArtifact:
        """Return the artifact under KEY or RUN/KEY, or the output RUN/JOB.OUTPUT.

        `version` is the beginning of the hash of an older version. Raises NotFound, and CallerError
        for an unknown version.
        """
        answer = await self._connection.call(lambda n: msg.FindArtifact(n, key))
        assert isinstance(answer, msg.Artifacts)
        rows = [row for row in answer.artifacts if row.hash.startswith(version)]
        if not rows:
            versions = ", ".join(row.hash[:12] for row in answer.artifacts)
            raise CallerError(f"{key} has no version {version[:64]!r}: its versions are {versions}")
        row = rows[0]
        fields = (row.key, row.hash, row.size, row.kind == FOLDER, row.at, row.by, row.kind == PROGRAM)
        return AsyncArtifact(*fields, self._connection)

    async def artifacts(self, prefix: str = "", limit: int = 1000) -> list[ArtifactInfo]:
        """Return the newest version of each shared key with this prefix.

        `RUN/...` lists the artifacts and outputs of a run.
        """
        answer = await self._connection.call(lambda n: msg.ListArtifacts(n, prefix, limit))
        assert isinstance(answer, msg.Artifacts)
        return [_info(row) for row in answer.artifacts]

    async def remove_artifact(self, key: str) -> None:
        """Remove a shared key with all its versions. Raises NotFound."""
        await self._connection.call(lambda n: msg.RemoveArtifact(n, key))


class Artifacts:
    """Methods of Client for published files."""

    _async: AsyncArtifacts

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def publish(self, key: str, path: str | os.PathLike[str]) -> ArtifactInfo:
        """Publish a file or folder under a shared key, durably. See AsyncClient.publish."""
        return self._wait(self._async.publish(key, path))

    def artifact(self, key: str, *, version: str = "") -> Artifact:
        """Return the artifact under KEY or RUN/KEY, or the output RUN/JOB.OUTPUT.

        See AsyncClient.artifact.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     client.artifact("models/best").download("model.bin")
        """
        return Artifact(self, self._wait(self._async.artifact(key, version=version)))

    def artifacts(self, prefix: str = "", limit: int = 1000) -> list[ArtifactInfo]:
        """Return the newest version of each shared key with this prefix.

        See AsyncClient.artifacts.
        """
        return self._wait(self._async.artifacts(prefix, limit))

    def remove_artifact(self, key: str) -> None:
        """Remove a shared key with all its versions. Raises NotFound."""
        self._wait(self._async.remove_artifact(key))


def _info(row: msg.ArtifactRow) -> ArtifactInfo:
    return ArtifactInfo(row.key, row.hash, row.size, row.kind == FOLDER, row.at, row.by, row.kind == PROGRAM)


def _packed(folder: Path, into: Path) -> Path:
    limits = {"max_bytes": MAX_FOLDER_BYTES, "max_members": MAX_FOLDER_MEMBERS}
    try:
        return build_archive(folder, into, found=survey(folder, everything=True, **limits), level=1, **limits).path
    except InvalidGraph as error:
        raise CallerError(str(error).replace("project ", "")) from None


def _hash_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
