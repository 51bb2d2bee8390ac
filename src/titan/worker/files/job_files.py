"""Files of this worker's attempts: uploads of outputs to the master, and downloads of inputs. The
worker downloads each content only once.

    keep(assignment)           Take an attempt's outputs out of its folder, upload them, then report
                               OutputsKept.
    need(hash)                 Fetch content that attempts wait for into the cache.
    publish(lease, key, path)  Publish a file for an attempt.
    fetch(lease, key, into)    Fetch published content for an attempt.

`on_publish` and `on_fetch` serve `publish` and `fetch` for the context handler. A transfer that a
lost connection interrupts continues at the same offset. Threads read, hash and write the files.
This module must not know when attempts run. It reports to the state machine with inputs.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from titan.content.transfer import Answer, fetch_file, message_of, send_file
from titan.errors import (
    Bug,
    CallerError,
    ConnectionLost,
    EnvironmentFault,
    LimitExceeded,
    NotFound,
    ProtocolError,
    TitanError,
)
from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.protocol import messages as msg
from titan.worker.context.requests import ContextHandler, JobRequest
from titan.worker.files.cache import FileCache, PlacedFile, TakenOutput, full_disk
from titan.worker.files.downloads import is_retryable
from titan.worker.files.left_files import OutputMissing
from titan.worker.files.sandbox import Workspace
from titan.worker.requests import WorkerLines
from titan.worker.state_machine import messages
from titan.worker.state_machine.machine import WorkerMachine

log = logging.getLogger("titan.worker")

THREADS = 6
AT_ONCE = 4
"""Maximum number of simultaneous uploads, and also of simultaneous downloads."""
MOST_ASKED = 1024
ANSWER_S = 30.0
"""Seconds after which the worker answers a waiting job that the transfer continues."""
HASH_FIRST = 8 << 20
"""Size of the largest file that is hashed before it is sent. If the master has the content already,
the upload is not needed."""
AGAIN_S = (1.0, 5.0)
"""Pauses before the worker sends a file again that the master could not store. If that still fails
after the last pause, the attempt has failed."""


class JobFiles:
    """File transfers of a worker. `see` takes inputs of the state machine. `kept(lease)` is called
    after each OutputsKept, or when the upload is given up."""

    def __init__(
        self,
        machine: WorkerMachine,
        workspace: Workspace,
        lines: WorkerLines,
        *,
        see: Callable[[Any], None],
        kept: Callable[[int], None],
        most_bytes: int,
    ) -> None:
        """Open the cache. `most_bytes` limits its size, 0 for the default."""
        self.cache = FileCache(workspace.root / "files", most_bytes=most_bytes, distrusted=workspace.distrusted)
        self._machine = machine
        self._machine.have.update(dict.fromkeys(messages.FILE_PREFIX + hash_ for hash_ in self.cache.all()))
        self._lines = lines
        self._workspace = workspace
        self._see = see
        self._kept = kept
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="titan-files")
        self._sending = asyncio.Semaphore(AT_ONCE)
        self._fetching = asyncio.Semaphore(AT_ONCE)
        self._keeping: dict[int, asyncio.Task[None]] = {}
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._pinned: dict[str, int] = {}
        """hash -> number of running copies from the cache, which keep the file there."""
        self._asked: dict[tuple[int, msg.Message], asyncio.Task[msg.ArtifactRow]] = {}
        """(lease, request) -> task that carries out the request."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in [*self._tasks, *self._asked.values()]:
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    def follow(self, instruction: messages.KeepOutputs | messages.GiveUpOutputs | messages.FetchArtifact) -> bool:
        """Carry out an instruction. Return False if the instruction is not for this class."""
        match instruction:
            case messages.KeepOutputs():
                self.keep(self._machine.held[instruction.lease].assignment)
            case messages.GiveUpOutputs():
                self.give_up(instruction.lease)
                self._kept(instruction.lease)
            case messages.FetchArtifact() if instruction.hash.startswith(messages.FILE_PREFIX):
                self.need(instruction.hash.removeprefix(messages.FILE_PREFIX))
            case _:
                return False
        return True

    # -- outputs -----------------------------------------------------------------------------------
    def keep(self, assignment: messages.Assignment) -> None:
        """Upload the outputs of an attempt. OutputsKept follows, unless `give_up` is called."""
        if assignment.lease not in self._keeping:
            self._keeping[assignment.lease] = self._spawn(self._keep(assignment))

    def give_up(self, lease: int) -> None:
        """Cancel the upload of an attempt's outputs. Remove other files if the cache is over its
        limit."""
        self._make_room()
        task = self._keeping.pop(lease, None)
        if task is not None:
            task.cancel()

    async def _keep(self, assignment: messages.Assignment) -> None:
        outputs: tuple[StoredFile, ...] = ()
        problem, outcome = "", Outcome.SUCCEEDED
        try:
            outputs = await self._send_all(assignment)
        except OutputMissing as e:
            problem, outcome = str(e), Outcome.EXITED
        except LimitExceeded as e:  # the job is at fault, so another worker would not help
            problem, outcome = f"the outputs could not be stored: {e}", Outcome.EXITED
        except (TitanError, OSError) as e:
            problem, outcome = f"the outputs could not be stored: {e}", Outcome.BROKEN
        self._keeping.pop(assignment.lease, None)
        self._see(messages.OutputsKept(assignment.lease, outputs, problem, outcome))
        self._kept(assignment.lease)

    async def _send_all(self, assignment: messages.Assignment) -> tuple[StoredFile, ...]:
        loop = asyncio.get_running_loop()
        try:
            taken = await loop.run_in_executor(
                self._pool, self.cache.take_outputs, assignment.template, self._workspace.folder_of(assignment)
            )
        except OSError as e:
            raise full_disk(e, "the outputs could not be read") from e
        try:
            stored = await asyncio.gather(*[self._store(output) for output in taken], return_exceptions=True)
            for error in [result for result in stored if isinstance(result, BaseException)]:
                raise error
            return tuple([result for result in stored if isinstance(result, StoredFile)])
        finally:
            for output in taken:
                output.path.unlink(missing_ok=True)

    async def _store(self, output: TakenOutput) -> StoredFile:
        """Upload an output and enter it in the cache. Raises TitanError, OSError."""
        async with self._sending:
            for wait in (*AGAIN_S, None):
                try:
                    hash_known = await self._hash_of(output) if output.size <= HASH_FIRST else ""
                    hash_ = await send_file(self._lines, output.path, key=output.key, hash_=hash_known, pool=self._pool)
                    break
                except EnvironmentFault as e:
                    if wait is None:
                        raise
                    log.warning("the file %s could not be stored: %s; the worker sends it again", output.name, e)
                    await asyncio.sleep(wait)
        self.cache.enter(output.path, hash_)
        self._see(messages.ArtifactReady(messages.FILE_PREFIX + hash_))
        self._make_room(hash_)
        return StoredFile(output.name, hash_, output.size, output.kind, output.of)

    async def _hash_of(self, output: TakenOutput) -> str:
        def digest() -> str:
            with output.path.open("rb") as source:
                return hashlib.file_digest(source, "sha256").hexdigest()

        return await asyncio.get_running_loop().run_in_executor(self._pool, digest)

    # -- inputs ------------------------------------------------------------------------------------
    def need(self, hash_: str) -> None:
        """Start to fetch content. ArtifactReady or ArtifactFailed follows, with FILE_PREFIX before
        the hash."""
        self._spawn(self._need(hash_))

    async def _need(self, hash_: str) -> None:
        name = messages.FILE_PREFIX + hash_
        try:
            await self.have(hash_)
        except (TitanError, OSError) as e:
            self._see(messages.ArtifactFailed(name, str(e), isinstance(e, OSError) or is_retryable(e)))
        else:
            self._see(messages.ArtifactReady(name))

    async def give(self, assignment: messages.Assignment, folder: str) -> tuple[PlacedFile, ...]:
        """Put the inputs of an attempt into its folder. Raises TitanError, OSError."""
        for file in assignment.files:  # a job may have changed a cached file since it was entered
            await self.have(file.hash)
        needed = Counter(self._needed())
        alone = {file.hash for file in assignment.files if needed[file.hash] <= 1 and file.hash not in self._pinned}
        return await asyncio.to_thread(self.cache.give, assignment.files, folder, alone)

    async def have(self, hash_: str) -> None:
        """Make sure that content is in the cache. If several callers wait for the same content, it
        is fetched once. Raises TitanError, OSError."""
        if (self.cache.is_intact(hash_) or self.cache.is_lent(hash_)) and hash_ not in self._fetches:
            self.cache.use(hash_)
            return
        task = self._fetches.get(hash_)
        if task is None:
            task = self._fetches[hash_] = self._spawn(self._fetch(hash_))
            task.add_done_callback(lambda _: self._fetches.pop(hash_, None))
        await asyncio.shield(task)

    async def _fetch(self, hash_: str) -> None:
        if self.cache.is_unsure(hash_):
            if await asyncio.get_running_loop().run_in_executor(self._pool, self.cache.verify, hash_):
                return
            log.warning("the file %s in the cache was changed by a job or by the disk: it is fetched again", hash_[:12])
        self.cache.drop(hash_)
        _, part = self.cache.new_part()
        try:
            async with self._fetching:
                await fetch_file(self._lines, hash_, part, pool=self._pool)
            self.cache.enter(part, hash_)
        except OSError as e:
            raise full_disk(e, "a file could not be fetched") from e
        finally:
            part.unlink(missing_ok=True)
        self._make_room(hash_)

    def _make_room(self, *just: str) -> None:
        removed = self.cache.make_room(lambda: (*self._needed(), *self._pinned, *just))
        for hash_ in removed:
            self._machine.have.pop(messages.FILE_PREFIX + hash_, None)
        if removed:
            log.info("%d files were removed from the cache, which is full", len(removed))

    def _needed(self) -> list[str]:
        """Return the hashes of all inputs of attempts on this worker."""
        return [file.hash for held in self._machine.held.values() for file in held.assignment.files]

    # -- requests of running attempts --------------------------------------------------------------
    async def publish(self, lease: int, key: str, path: str, *, shared: bool = False) -> msg.ArtifactRow:
        """Publish a file or folder under a key. The published content is durable when this method
        returns. Raises TitanError."""
        loop = asyncio.get_running_loop()
        subject = f"the file to publish as {key[:200]!r} ({path})"

        def take() -> TakenOutput:
            return self.cache.take(key, path, "", subject, may=self._may_name(lease))

        try:
            output = await loop.run_in_executor(self._pool, take)
        except OutputMissing as e:
            raise CallerError(str(e)) from None
        except OSError as e:
            raise full_disk(e, subject) from e
        try:
            stored = await self._store(output)
        finally:
            output.path.unlink(missing_ok=True)
        fields = (key, stored.hash, stored.size, stored.kind, lease, shared)
        answer = await self._ask_master(lambda request: msg.Publish(request, *fields))
        return answer.artifacts[0]

    async def find(self, lease: int, key: str, hash_: str = "") -> msg.ArtifactRow:
        """Return the newest version of a key, or the version with the hash.

        A key of the attempt's run takes precedence over a shared key. RUN/KEY names a key of
        another run. Raises NotFound.
        """
        answer = await self._ask_master(lambda request: msg.FindArtifact(request, key, lease))
        row = next((row for row in answer.artifacts if row.hash.startswith(hash_)), None)
        if row is None:
            raise NotFound(f"version {hash_[:12]} of {key} no longer exists: newer ones were published")
        return row

    async def fetch(self, lease: int, key: str, into: str, hash_: str = "") -> msg.ArtifactRow:
        """Write the content published under a key to the path `into`. Raises TitanError."""
        row = await self.find(lease, key, hash_)
        self._pinned[row.hash] = self._pinned.get(row.hash, 0) + 1
        try:
            await self.have(row.hash)
            write = partial(self.cache.copy_to, row.hash, into, row.kind, self._may_name(lease))
            await asyncio.get_running_loop().run_in_executor(self._pool, write)
        except OSError as e:
            raise full_disk(e, f"{key[:200]!r} could not be written to {into}") from e
        finally:
            self._pinned[row.hash] -= 1
            if not self._pinned[row.hash]:
                del self._pinned[row.hash]
        return row

    def _may_name(self, lease: int) -> Callable[[str], bool]:
        """Return a function that checks whether this worker may read or write a path for an
        attempt."""
        held = self._machine.held.get(lease)
        return partial(self._workspace.may_name, held.assignment.run if held is not None else "")

    async def _ask_master(self, make: Callable[[int], msg.Message]) -> msg.Artifacts:
        """Send a request to the master until it answers. Publish and FindArtifact may be sent twice
        without harm."""
        while True:
            line = await self._lines.open()
            try:
                line.peer.send(make(line.request))
                answer: Answer = await line.answers.get()
                message = message_of(answer)
            except ConnectionLost:
                continue
            finally:
                self._lines.close(line)
            if not isinstance(message, msg.Artifacts) or not message.artifacts:
                raise ProtocolError(f"the master answers with a {type(message).__name__}")
            return message

    # -- for the context handler -------------------------------------------------------------------
    def serve(self, handler: ContextHandler) -> None:
        handler.serve(msg.PublishPath, self.on_publish)
        handler.serve(msg.FetchPath, self.on_fetch)
        handler.serve(msg.SendFile, partial(self.on_send, handler))

    def on_publish(self, request: JobRequest) -> None:
        message: msg.PublishPath = request.message
        self._serve(request, lambda: self.publish(request.lease, message.key, message.path, shared=message.shared))

    @staticmethod
    def on_send(handler: ContextHandler, request: JobRequest) -> None:
        """Forward content of a job to the master. A job has to send its content in one piece: it
        has no connection of its own to the master on which it could continue an interrupted
        upload."""
        message: msg.SendFile = request.message
        if not message.hash or len(request.blob) != message.size:
            raise CallerError("a job has to send content in one piece, with its hash")
        handler.ask_master(request, message, request.blob)

    def on_fetch(self, request: JobRequest) -> None:
        message: msg.FetchPath = request.message
        self._serve(request, lambda: self.fetch(request.lease, message.key, message.path, message.hash))

    def _serve(self, request: JobRequest, work: Callable[[], Coroutine[Any, Any, msg.ArtifactRow]]) -> None:
        """Start the transfer for a request, or wait for the transfer of an equal request. If the
        transfer takes long, the answer says that it continues."""
        key = (request.lease, msgspec.structs.replace(request.message, request=0))
        task = self._asked.get(key)
        if task is None:
            if len(self._asked) >= MOST_ASKED:
                raise LimitExceeded(
                    f"{MOST_ASKED} file transfers of this worker's jobs are in progress, the limit: wait until one has ended"
                )
            task = self._asked[key] = asyncio.get_running_loop().create_task(work())
        self._spawn(self._answer(request, key, task))

    async def _answer(self, request: JobRequest, key: tuple[int, msg.Message], task: asyncio.Task[msg.ArtifactRow]) -> None:
        await asyncio.wait([task], timeout=ANSWER_S)
        if not task.done():
            request.reply(msg.Artifacts(request.id, []))
            return
        self._asked.pop(key, None)
        error = task.exception() if not task.cancelled() else ConnectionLost("this worker is shutting down")
        if error is None:
            request.reply(msg.Artifacts(request.id, [task.result()]))
        elif isinstance(error, TitanError):
            request.fail(error)
        else:
            log.error("a file of lease %d could not be transferred", request.lease, exc_info=error)
            request.fail(Bug(f"the worker could not transfer the file: {error!r}"))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (TitanError, OSError)):
            log.error("a file could not be transferred", exc_info=error)
