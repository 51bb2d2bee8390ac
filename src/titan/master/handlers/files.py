"""Handlers for uploads and downloads of content.

Each transfer runs in its own task, so that it does not delay other messages of the connection. The
master confirms an upload after the content is on disk. This module owns the transfers of each
connection and the limit of their data in memory. It must not know the purpose of the content.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from titan.content.blobs import BlobStore, Bytes, Part, Reader, put
from titan.content.nearby import Seal, is_proved
from titan.content.transfer import SMALL_BYTES, Sink, pump
from titan.errors import CallerError, ConnectionLost, EnvironmentFault, LimitExceeded, ProtocolError, TitanError
from titan.master.relays import Relays
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

log = logging.getLogger("titan.master")

THREADS = 8
MAX_UPLOADS = 64
MAX_DOWNLOADS = 1024
"""Maximum number of downloads per connection, running and waiting together."""
AT_ONCE = 8
"""Maximum number of concurrent downloads per connection."""
PEER_BYTES, ALL_BYTES = 64 << 20, 256 << 20
"""Maximum bytes that wait in memory for the disk: of one sender, and of all senders.

Above a maximum the master stops reading from the sender. It resumes when less than half of the
maximum waits.
"""
_PAUSE_REASON = "files"
T = TypeVar("T")


class _Upload:
    def __init__(self, peer: Peer, message: msg.SendFile) -> None:
        self.peer = peer
        self.request = message.request
        self.key = message.key
        self.size = message.size
        self.part: Part | None = None
        self.sink: Sink | None = None
        self.ending = False
        self.over = asyncio.Event()


class _Download:
    def __init__(self) -> None:
        self.taken = 0
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class _Backlog:
    """Received bytes that are not on the disk yet.

    The master stops reading from a sender whose bytes exceed the limit.
    """

    def __init__(self) -> None:
        self._of: dict[Peer, int] = {}
        self._all = 0
        self._held: dict[Peer, None] = {}

    def add(self, peer: Peer, size: int) -> None:
        """Count received bytes. A negative `size` subtracts bytes that were written or dropped."""
        mine = self._of.get(peer, 0) + size
        self._all += size
        if mine:
            self._of[peer] = mine
        else:
            self._of.pop(peer, None)
        if size > 0 and peer not in self._held and (mine > PEER_BYTES or self._all > ALL_BYTES):
            self._held[peer] = None
            peer.pause_reading(_PAUSE_REASON)
        elif size < 0 and self._held:
            all_may = self._all < ALL_BYTES // 2
            for held in [p for p in self._held if all_may and self._of.get(p, 0) < PEER_BYTES // 2]:
                del self._held[held]
                held.resume_reading(_PAUSE_REASON)

    def forget(self, peer: Peer) -> None:
        self._held.pop(peer, None)


class FileHandler:
    def __init__(self, store: BlobStore, *, most_bytes: int) -> None:
        """`most_bytes`: maximum size of one upload."""
        self.store = store
        self.relays = Relays()
        self._most_bytes = most_bytes
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="titan-files")
        self._uploads: dict[Peer, dict[int, _Upload]] = {}
        self._by_key: dict[str, _Upload] = {}
        self._backlog = _Backlog()
        self._downloads: dict[Peer, dict[int, _Download]] = {}
        self._turns: dict[Peer, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self, peer: Peer) -> None:
        """Clean up after a closed connection. Partial uploads are kept, so that they can resume."""
        self.relays.forget(peer)
        for download in list(self._downloads.pop(peer, {}).values()):
            if download.task is not None:
                download.task.cancel()
        self._turns.pop(peer, None)
        self._backlog.forget(peer)
        for upload in list(self._uploads.pop(peer, {}).values()):
            # the tasks of the other uploads notice the closed connection themselves
            if upload.sink is not None and not upload.ending:
                upload.ending = True
                self._spawn(self._park(upload))

    async def close(self) -> None:
        for peer in [*self._uploads, *self._downloads]:
            self.forget(peer)
        for task in list(self._tasks):
            if task.get_name() == "download":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    # -- in ----------------------------------------------------------------------------------------
    def on_send_file(self, peer: Peer, message: msg.SendFile, blob: Blob) -> None:
        """Begin an upload. A TitanError is sent to the sender as an error reply."""
        if not 0 <= message.size <= self._most_bytes:
            raise LimitExceeded(f"the file has {message.size:,} bytes; the limit is {self._most_bytes:,} (--set file_bytes=...)")
        is_whole = bool(message.hash) and len(blob) == message.size
        if blob and not (is_whole and message.size <= msg.FILE_WINDOW):
            raise CallerError(f"the blob of a SendFile must be the whole file, at most {msg.FILE_WINDOW:,} bytes, with its hash")
        if message.hash and self.store.touch(message.hash):
            peer.send(msg.Stored(message.request, message.hash))
            return
        uploads = self._uploads.setdefault(peer, {})
        if message.request in uploads or len(uploads) >= MAX_UPLOADS:
            raise CallerError(f"at most {MAX_UPLOADS} uploads at once on a connection, each with its own request id")
        if not is_whole:
            self.store.check_key(message.key)
        upload = uploads[message.request] = _Upload(peer, message)
        if is_whole:
            self._spawn(self._take_whole(upload, message.hash, blob))
        elif message.path and message.hash and is_proved(self.store.nearby, message.proof):
            self._spawn(self._take_file(upload, message.hash, message.path, _hashed(peer, message)))
        else:
            self._spawn(self._begin(upload))

    async def _take_file(self, upload: _Upload, hash_: str, path: str, hashed: Seal | None) -> None:
        """Link a file of a sender on the same machine into the content store.

        If the file cannot be linked, ask the sender for the content.
        """
        try:
            taken = await self._in_thread(self.store.take, path, upload.size, hash_, hashed)
        except (TitanError, OSError) as e:
            self._refuse(upload, e)
            return
        if taken:
            self._confirm(upload, hash_)
        else:
            await self._begin(upload)

    async def _take_whole(self, upload: _Upload, hash_: str, blob: Blob) -> None:
        upload.ending = True
        self._backlog.add(upload.peer, len(blob))
        try:
            await self._in_thread(put, self.store, hash_, blob)
        except (TitanError, OSError) as e:
            self._refuse(upload, e)
        else:
            self._confirm(upload, hash_)
        finally:
            self._backlog.add(upload.peer, -len(blob))

    async def _begin(self, upload: _Upload) -> None:
        try:
            # the sender reconnected and resumes the upload; its older connection is about to break
            while (older := self._by_key.get(upload.key)) is not None:
                older.peer.abort()
                await older.over.wait()
            self._by_key[upload.key] = upload
            try:
                part = upload.part = await self._in_thread(self.store.open_part, upload.key, upload.size)
                if upload.peer.closed:
                    await self._in_thread(part.park)
                    raise ConnectionLost("the sender is gone")
                upload.sink = Sink(part, on_taken=lambda size: self._on_taken(upload, size), pool=self._pool)
            except BaseException:
                self._leave(upload)
                raise
            upload.peer.send(msg.SendFrom(upload.request, part.written))
        except (TitanError, OSError) as e:
            self._refuse(upload, e)

    def _on_taken(self, upload: _Upload, size: int) -> None:
        self._backlog.add(upload.peer, -size)
        if not upload.peer.closed:
            upload.peer.send(msg.FileTaken(upload.request, size))

    def on_file_piece(self, peer: Peer, message: msg.FilePiece, blob: Blob) -> None:
        if self.relays.on_piece(peer, message, blob):
            return
        upload = self._uploads.get(peer, {}).get(message.request)
        if upload is None or upload.sink is None or upload.ending:
            return  # the upload was rejected, and later pieces of the file still arrive
        sink = upload.sink
        try:
            if sink.received + len(blob) > upload.size:
                raise CallerError(f"the file has more than the announced {upload.size:,} bytes")
            if sink.waiting + len(blob) > msg.FILE_WINDOW:
                raise ProtocolError(f"more than {msg.FILE_WINDOW:,} bytes of a file were sent before a FileTaken")
            sink.put(message.offset, blob)
        except TitanError as e:
            upload.ending = True
            self._spawn(self._give_up(upload, e))
            return
        self._backlog.add(peer, len(blob))
        if sink.error is not None:
            upload.ending = True
            self._spawn(self._end(upload, ""))

    def on_file_end(self, peer: Peer, message: msg.FileEnd) -> None:
        upload = self._uploads.get(peer, {}).get(message.request)
        if upload is None or upload.ending:
            return
        if upload.sink is None:
            raise CallerError("a FileEnd arrived before the upload began: wait for SendFrom")
        upload.ending = True
        self._spawn(self._end(upload, message.hash))

    async def _end(self, upload: _Upload, hash_: str) -> None:
        assert upload.sink is not None and upload.part is not None, upload.key
        try:
            await upload.sink.idle()
            await self._in_thread(upload.part.finish, hash_)
        except (TitanError, OSError) as e:
            await self._give_up(upload, e)
            return
        self._leave(upload)
        self._confirm(upload, hash_)

    async def _give_up(self, upload: _Upload, error: TitanError | OSError) -> None:
        """Discard the received part, and send the error to the sender."""
        await self._stop(upload)
        if upload.part is not None:
            await self._in_thread(upload.part.discard)
        self._leave(upload)
        self._refuse(upload, error)

    async def _park(self, upload: _Upload) -> None:
        """Keep the received part after a lost connection, so that the sender can resume."""
        await self._stop(upload)
        if upload.part is not None:
            await self._in_thread(upload.part.park)
        self._leave(upload)

    async def _stop(self, upload: _Upload) -> None:
        """Stop writing to the part, and take its waiting bytes off the backlog."""
        if upload.sink is not None:
            await upload.sink.stop()
            self._backlog.add(upload.peer, -upload.sink.waiting)

    def _confirm(self, upload: _Upload, hash_: str) -> None:
        self._drop(upload)
        if not upload.peer.closed:
            upload.peer.send(msg.Stored(upload.request, hash_))

    def _refuse(self, upload: _Upload, error: TitanError | OSError) -> None:
        self._drop(upload)
        if isinstance(error, OSError):
            error = EnvironmentFault(f"the master could not keep the file: {error.strerror or error}")
        if not upload.peer.closed:
            upload.peer.send(error_of(upload.request, error))

    def _leave(self, upload: _Upload) -> None:
        if self._by_key.get(upload.key) is upload:
            del self._by_key[upload.key]
        upload.over.set()

    def _drop(self, upload: _Upload) -> None:
        self._uploads.get(upload.peer, {}).pop(upload.request, None)

    # -- out ---------------------------------------------------------------------------------------
    def on_fetch_file(self, peer: Peer, message: msg.FetchFile) -> None:
        if (
            not message.offset
            and is_proved(self.store.nearby, message.proof)
            and (seal := self.store.seal(message.hash)) is not None
        ):
            peer.send(msg.FileHere(message.request, *seal))
            return
        if not message.offset and not peer.congested and (whole := self.store.read_now(message.hash, SMALL_BYTES)) is not None:
            peer.send(msg.FilePiece(message.request, 0, len(whole)), whole, plain=True)
            return
        downloads = self._downloads.setdefault(peer, {})
        if message.request in downloads or len(downloads) >= MAX_DOWNLOADS:
            raise CallerError(f"{MAX_DOWNLOADS:,} downloads are open on this connection: finish some first")
        download = downloads[message.request] = _Download()
        turns = self._turns.setdefault(peer, asyncio.Semaphore(AT_ONCE))
        download.task = self._spawn(self._serve(peer, message, download, turns), name="download")
        download.task.add_done_callback(lambda _: downloads.pop(message.request, None))

    def on_file_taken(self, peer: Peer, message: msg.FileTaken) -> None:
        if self.relays.on_taken(peer, message):
            return
        download = self._downloads.get(peer, {}).get(message.request)
        if download is not None:
            download.taken += message.size
            download.news.set()

    def on_stop_sending(self, peer: Peer, message: msg.StopSending) -> None:
        if self.relays.on_stop(peer, message.fetch):
            return
        download = self._downloads.get(peer, {}).get(message.fetch)
        if download is not None and download.task is not None:
            download.task.cancel()

    async def _serve(self, peer: Peer, message: msg.FetchFile, download: _Download, turns: asyncio.Semaphore) -> None:
        async with turns:
            if peer.closed:
                return
            try:
                opening = self._in_thread(self._open, message.hash, message.offset)
                try:
                    source, first = await asyncio.shield(opening)
                except asyncio.CancelledError:
                    opening.add_done_callback(_close_opened)
                    raise
                try:

                    async def room(end: int) -> None:
                        while end - message.offset - download.taken > msg.FILE_WINDOW:
                            download.news.clear()
                            await download.news.wait()

                    await pump(peer, message.request, source, message.offset, room, self._pool, first)
                finally:
                    source.close()
            except ConnectionLost:
                pass  # the peer requests the file again on its next connection
            except (TitanError, OSError) as e:
                if not isinstance(e, TitanError):
                    e = EnvironmentFault(f"the file {message.hash[:12]} cannot be read: {e.strerror or e}")
                if not peer.closed:
                    peer.send(error_of(message.request, e))

    def _open(self, hash_: str, offset: int) -> tuple[Reader, Bytes]:
        """Open content and read the first piece, which for most files is the only piece."""
        source = self.store.open(hash_)
        try:
            if not 0 <= offset <= source.size:
                raise CallerError(f"offset {offset:,} is beyond the end of the file, which has {source.size:,} bytes")
            return source, source.read(offset)
        except BaseException:
            source.close()
            raise

    def _in_thread(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def _spawn(self, work: Coroutine[Any, Any, None], *, name: str = "") -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a transfer failed", exc_info=task.exception())


def _close_opened(opening: asyncio.Future[tuple[Reader, Bytes]]) -> None:
    """Close the reader if a download was cancelled while the reader was being opened."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


def _hashed(peer: Peer, message: msg.SendFile) -> Seal | None:
    """Return the seal of a file that its worker hashed, or None.

    The master hashes a file that has no seal.
    """
    return Seal(message.inode, message.size, message.mtime_ns) if peer.role == "worker" and message.mtime_ns else None
