"""Files that a job left in its folder: `client.files("RUN/JOB")`, `client.download_files(...)`.

The worker that ran the job holds the folder; the master keeps the outputs of the job. Both clients
inherit these methods.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from titan.content.archive import unpack_archive
from titan.content.files import Counted, FileWriter
from titan.content.transfer import Writable, fetch_answer, fetch_file
from titan.errors import CallerError, EnvironmentFault, NotFound, ProtocolError
from titan.model.files import FILE, FOLDER, PROGRAM
from titan.model.left_files import LINK, is_path_inside
from titan.model.names import shell_word, split_job
from titan.model.plain import plain
from titan.protocol import messages as msg
from titan.sdk.artifacts import MAX_FOLDER_BYTES, MAX_FOLDER_MEMBERS
from titan.sdk.connection import Connection
from titan.sdk.uploads import ConnectionLines

T = TypeVar("T")
AT_ONCE = 8
"""Files that are downloaded at the same time."""
_KINDS = {FILE: "file", PROGRAM: "file", FOLDER: "folder", LINK: "link"}


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file that a job left.

    - `path`: in the job's folder. Bytes that are no UTF-8 are lone surrogates, as in `os.fsdecode`.
    - `size`: bytes; of an output that is a folder, those of its archive.
    - `kind`: "file", "link", "other" (such as a socket), or "folder" for an output that is one.
    - `target`: that of a link. Links are never followed.
    - `output`: name of the output that it is or belongs to; "" for none.
    """

    path: str
    size: int
    modified_at: float
    kind: str
    target: str
    output: str
    executable: bool
    hash: str
    """SHA-256 in hex, if the master keeps the file; "" if the worker holds it."""

    @property
    def can_be_downloaded(self) -> bool:
        return self.kind in ("file", "folder")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for programs."""
        return {name: getattr(self, name) for name in ("path", "size", "modified_at", "kind", "target", "output")}


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Files that an attempt of a job left, sorted by path.

    - `attempt`: its number, 0 if the job has not started.
    - `remark`: why there may be more files than listed, for people; "" if there are not.
    - `away`: True if the worker that holds the folder is away, so that only outputs are listed.
    - `removed_at`, `removed_by`: when the worker removed the folder, and by which of its options.
      None: it did not.
    """

    run: str
    job: str
    attempt: int
    worker: str
    files: tuple[LeftFile, ...]
    remark: str = ""
    removed_at: float | None = None
    removed_by: str = ""
    away: bool = False

    def at(self, path: str) -> list[LeftFile]:
        """Return the file of this path, or the files below this folder. Raises NotFound."""
        wanted = path.rstrip("/").removeprefix("./")
        found = [file for file in self.files if file.path == wanted or file.path.startswith(f"{wanted}/")]
        if not found:
            name = f"{self.run}/{self.job}"
            raise NotFound(f"{name} left no {plain(path, 200)!r}: `titan files {shell_word(name)}` lists what it left")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the list as data that can be written as JSON."""
        names = ("run", "job", "attempt", "worker", "remark", "removed_at", "removed_by", "away")
        return {**{name: getattr(self, name) for name in names}, "files": [file.to_dict() for file in self.files]}


class AsyncLeftFiles:
    """Methods of AsyncClient for the files that jobs left."""

    _connection: Connection

    async def files(self, target: str, *, attempt: int | None = None) -> JobFiles:
        """Return the files that a job `RUN/JOB` left in its folder, by default in its newest
        attempt.

        The worker keeps the folder for a time (`titan worker --keep`). What the worker put there
        itself, and the job left unchanged, is not in it after the job. Raises NotFound,
        EnvironmentFault if the worker does not answer.
        """
        run, job = split_job(target)
        if not job:
            raise CallerError(f"{plain(target, 80)!r} names no job: give RUN/JOB")
        files: dict[str, LeftFile] = {}
        after, number = b"", attempt or 0
        while True:
            answer = await self._connection.call(partial(_page, run, job, number, after))
            assert isinstance(answer, msg.LeftFiles)
            files |= {file.path: file for row in answer.files for file in [_file(row)]}
            if not answer.more or not answer.files:
                break
            after, number = bytes(answer.files[-1].path), answer.attempt
        ordered = tuple(sorted(_single(files), key=lambda file: file.path.split("/")))
        removed = (answer.removed_at or None, answer.removed_by)
        return JobFiles(run, job, answer.attempt, answer.worker, ordered, answer.remark, *removed, answer.away)

    async def download_files(
        self,
        found: JobFiles,
        folder: str | os.PathLike[str],
        files: Sequence[LeftFile] | None = None,
        *,
        replace: bool = False,
        count: Callable[[int], None] | None = None,
    ) -> list[Path]:
        """Write files of a list that `files()` returned into a folder of this machine, under their
        paths. Return where they are.

        `files`: default all; links and others are left out. An existing file is an error, unless
        `replace`. `count` is called with the number of bytes after each write, perhaps in a thread.
        Raises CallerError, NotFound if a file is gone, EnvironmentFault.
        """
        chosen = [file for file in (found.files if files is None else files) if file.can_be_downloaded]
        targets = [Path(folder, file.path) for file in chosen]
        if not replace and (existing := next((path for path in targets if os.path.lexists(path)), None)):
            raise CallerError(f"{plain(str(existing), 300)} exists: nothing was downloaded. Choose another folder, or replace it")
        waiting = iter(list(zip(chosen, targets, strict=True)))
        await _all_of(waiting, lambda file, path: self._download(found, file, path, count))
        return targets

    async def write_file(self, found: JobFiles, file: LeftFile, into: Writable) -> None:
        """Write a file of a list that `files()` returned. Raises as `download_files`."""
        await fetch_answer(ConnectionLines(self._connection), lambda n, offset: _request(found, file, n, offset), into)

    async def _download(self, found: JobFiles, file: LeftFile, path: Path, count: Callable[[int], None] | None) -> None:
        lines, part = ConnectionLines(self._connection), path.with_name(f".{secrets.token_hex(6)}.part")
        try:
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            if file.hash:
                await fetch_file(lines, file.hash, part, count=count)
            else:
                writer = FileWriter(part)
                try:
                    await self.write_file(found, file, writer if count is None else Counted(writer, count))
                finally:
                    writer.close()
            await asyncio.to_thread(_put, part, path, file)
        except OSError as e:
            raise EnvironmentFault(f"{plain(str(path), 300)} cannot be written: {e.strerror or e}") from e
        finally:
            part.unlink(missing_ok=True)


class LeftFiles:
    """Methods of Client for the files that jobs left."""

    _async: AsyncLeftFiles

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def files(self, target: str, *, attempt: int | None = None) -> JobFiles:
        """Return the files that a job `RUN/JOB` left in its folder. See AsyncClient.files.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     found = client.files("1m8w9w5pc3dq/train")
        ...     client.download_files(found, "train", found.at("plots"))
        """
        return self._wait(self._async.files(target, attempt=attempt))

    def download_files(
        self,
        found: JobFiles,
        folder: str | os.PathLike[str],
        files: Sequence[LeftFile] | None = None,
        *,
        replace: bool = False,
        count: Callable[[int], None] | None = None,
    ) -> list[Path]:
        """Write files of a list that `files()` returned into a folder of this machine. See
        AsyncClient.download_files."""
        return self._wait(self._async.download_files(found, folder, files, replace=replace, count=count))

    def write_file(self, found: JobFiles, file: LeftFile, into: Writable) -> None:
        """Write a file of a list that `files()` returned. See AsyncClient.write_file."""
        self._wait(self._async.write_file(found, file, into))


def _single(files: dict[str, LeftFile]) -> list[LeftFile]:
    """Return the files without outputs that are folders, if the files of these are listed too."""
    folders = {path for path, file in files.items() if file.kind == "folder"}
    listed = {path[:at] for path in files for at in _slashes(path) if path[:at] in folders} if folders else set()
    return [file for path, file in files.items() if path not in listed]


def _slashes(path: str) -> Iterator[int]:
    """Yield the positions of the slashes."""
    at = path.find("/")
    while at >= 0:
        yield at
        at = path.find("/", at + 1)


def _page(run: str, job: str, attempt: int, after: bytes, request: int) -> msg.ListLeftFiles:
    return msg.ListLeftFiles(request, run, job, attempt, after)


def _request(found: JobFiles, file: LeftFile, request: int, offset: int) -> msg.FetchLeftFile:
    return msg.FetchLeftFile(request, found.run, found.job, found.attempt, os.fsencode(file.path), offset, file.size)


def _file(row: msg.LeftFileRow) -> LeftFile:
    """Return a file as the master lists it. Raises ProtocolError for a path that leads out of the
    folder."""
    path = bytes(row.path)
    if not is_path_inside(path):
        raise ProtocolError(
            f"the list has the path {plain(os.fsdecode(path), 200)!r}, which leads out of the folder: nothing was downloaded"
        )
    kind = _KINDS.get(row.kind, "other")
    about = (kind, os.fsdecode(bytes(row.target)), row.output, row.kind == PROGRAM, row.hash)
    return LeftFile(os.fsdecode(path), row.size, row.modified_at, *about)


def _put(part: Path, path: Path, file: LeftFile) -> None:
    if file.kind == "folder":
        unpack_archive(part, path, max_bytes=MAX_FOLDER_BYTES, max_members=MAX_FOLDER_MEMBERS)
        return
    part.chmod(0o755 if file.executable else 0o644)
    with suppress(OSError, OverflowError):  # a time that this file system cannot hold
        os.utime(part, (file.modified_at, file.modified_at))
    part.rename(path)


async def _all_of(
    waiting: Iterator[tuple[LeftFile, Path]], download: Callable[[LeftFile, Path], Coroutine[Any, Any, None]]
) -> None:
    """Download the files, AT_ONCE at the same time. The first failure cancels the others."""

    async def take_next() -> None:
        for file, path in waiting:
            await download(file, path)

    tasks = [asyncio.ensure_future(take_next()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
