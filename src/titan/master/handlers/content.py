"""Handlers for staged content and for the names of content in perm_files/.

A handler's reply is sent to the peer; a TitanError is sent as an error reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from titan.content.blobs import BlobStore
from titan.errors import EnvironmentFault, TitanError
from titan.master.content_names import Registry
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

log = logging.getLogger("titan.master")


class ContentHandler:
    def __init__(self, store: BlobStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        """Held while a name is read or written, so that one request is served at a time."""

    def on_stage(self, peer: Peer, message: msg.Stage) -> None:
        """Report which hashes have no content on the master, and touch the content of the others.

        Garbage collection spares touched content until the submission that refers to it arrives.
        """
        peer.send(msg.Staged(message.request, [hash_ for hash_ in dict.fromkeys(message.hashes) if not self._store.touch(hash_)]))

    def on_resolve(self, peer: Peer, message: msg.Resolve) -> None:
        self._begin(peer, message, lambda: msg.Resolved(message.request, *self._registry.resolve(message.name)))

    def on_name_content(self, peer: Peer, message: msg.NameContent) -> None:
        self._begin(
            peer, message, lambda: msg.Resolved(message.request, message.hash, self._registry.give(message.name, message.hash))
        )

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, peer: Peer, message: msg.Message, work: Callable[[], msg.Message]) -> None:
        """Run `work` in a thread and send its reply to the peer.

        `work` may hash a large file, which would block the event loop.
        """

        async def answer() -> None:
            reply: msg.Message
            try:
                async with self._turn:
                    reply = await asyncio.to_thread(work)
            except TitanError as e:
                reply = error_of(message.request, e)
            except OSError as e:
                log.error("a %s could not be served: %s", type(message).__name__, e)
                reply = error_of(message.request, EnvironmentFault(f"the master's disk failed: {e}"))
            if not peer.closed:
                peer.send(reply)

        task = asyncio.get_running_loop().create_task(answer())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
