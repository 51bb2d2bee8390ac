"""Answers to the master about the files that jobs left: lists of folders, and downloads.

A download is never more than FILE_WINDOW bytes ahead of what its receiver has written, so other
messages of the connection pass between two pieces. Threads read the folders and files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from titan.content.blobs import Bytes
from titan.content.files import FileReader
from titan.content.transfer import pump
from titan.errors import Bug, CallerError, ConnectionLost, EnvironmentFault, LimitExceeded, TitanError
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of
from titan.worker.files.left_folders import Folder, LeftFolders

log = logging.getLogger("titan.worker")

MAX_SENDING = 64
"""Downloads at once. The master asks for fewer."""


class _Sending:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.taken = 0
        self.news = asyncio.Event()


class LeftFileServer:
    def __init__(self, folders: LeftFolders) -> None:
        self._folders = folders
        self._sending: dict[int, _Sending] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, peer: Peer, message: msg.Message) -> bool:
        """Handle a message of the master. Return False if it is not for this class."""
        match message:
            case msg.ListFolder():
                self._spawn(self._answer(peer, message.request, self._list(peer, message)))
            case msg.SendLeftFile():
                self._begin(peer, message)
            case msg.FileTaken():
                if (sending := self._sending.get(message.request)) is not None:
                    sending.taken += message.size
                    sending.news.set()
            case msg.StopSending():
                if (sending := self._sending.get(message.fetch)) is not None:
                    sending.task.cancel()
            case _:
                return False
        return True

    def disconnected(self) -> None:
        """End the downloads of a closed connection."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.disconnected()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _list(self, peer: Peer, message: msg.ListFolder) -> None:
        folder = Folder(message.run, message.job, message.attempt, message.shared)
        page = await asyncio.to_thread(self._folders.page, folder, bytes(message.after), message.limit)
        rows = [msg.FolderRow(*entry) for entry in page.entries]
        removed = (0.0, "") if page.removed is None else page.removed
        peer.send(msg.FolderListed(message.request, rows, page.more, page.remark, *removed))

    def _begin(self, peer: Peer, message: msg.SendLeftFile) -> None:
        request = message.request
        if request in self._sending or len(self._sending) >= MAX_SENDING:
            error = LimitExceeded(f"{MAX_SENDING} files are being sent from this worker, the limit: finish some first")
            peer.send(error_of(request, error))
            return
        task = self._spawn(self._answer(peer, request, self._send(peer, message)))
        self._sending[request] = _Sending(task)
        task.add_done_callback(lambda _: self._sending.pop(request, None))

    async def _send(self, peer: Peer, message: msg.SendLeftFile) -> None:
        opening = asyncio.get_running_loop().run_in_executor(None, self._open, message)
        try:
            source, first = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        sending = self._sending[message.request]

        async def room(end: int) -> None:
            while end - message.offset - sending.taken > msg.FILE_WINDOW:
                sending.news.clear()
                await sending.news.wait()

        try:
            await pump(peer, message.request, source, message.offset, room, first=first)
        finally:
            source.close()

    def _open(self, message: msg.SendLeftFile) -> tuple[FileReader, Bytes]:
        """Open a file and read its first piece, which for most files is the only piece."""
        folder = Folder(message.run, message.job, message.attempt, message.shared)
        source = self._folders.open(folder, bytes(message.path))
        try:
            if message.offset and (message.size != source.size or message.offset > source.size):
                raise CallerError("the file changed while it was sent: start again")
            return source, source.read(message.offset)
        except BaseException:
            source.close()
            raise

    async def _answer(self, peer: Peer, request: int, work: Coroutine[Any, Any, None]) -> None:
        """Run the work. Send its error to the master."""
        try:
            await work
        except ConnectionLost:
            pass  # the master knows
        except (TitanError, OSError) as e:
            if not isinstance(e, TitanError):
                e = EnvironmentFault(f"the folder of the job cannot be read: {e.strerror or e}")
            if not peer.closed:
                peer.send(error_of(request, e))
        except Exception as e:
            log.exception("files that a job left could not be read")
            peer.send(error_of(request, Bug(f"the worker could not read the files: {e!r}")))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _close_opened(opening: asyncio.Future[tuple[FileReader, Bytes]]) -> None:
    """Close the reader if a download was cancelled while the reader was being opened."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()
