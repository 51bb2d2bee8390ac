"""Artifacts that leave, to workers and to clients: in pieces, at the pace at which each reads."""

from __future__ import annotations

import asyncio
import os
import weakref

from titan.errors import EnvironmentFault, TitanError
from titan.master.registry import Registry
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

PIECE_BYTES = 1 << 20
AT_ONCE = 4
"""Artifacts on their way to one peer: each has a piece in memory, however many were asked for."""


class Outlet:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: weakref.WeakKeyDictionary[Peer, asyncio.Semaphore] = weakref.WeakKeyDictionary()

    def send(self, peer: Peer, it: msg.Fetch) -> None:
        turns = self._turns.get(peer)
        if turns is None:
            turns = self._turns[peer] = asyncio.Semaphore(AT_ONCE)
        task = asyncio.get_running_loop().create_task(self._send_in_turn(turns, peer, it))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send_in_turn(self, turns: asyncio.Semaphore, peer: Peer, it: msg.Fetch) -> None:
        async with turns:
            if not peer.closed:
                await self._send(peer, it)

    async def _send(self, peer: Peer, it: msg.Fetch) -> None:
        try:
            path = self._registry.path(it.hash)
            size = path.stat().st_size
            with path.open("rb", buffering=0) as source:
                source.seek(it.offset)
                at = it.offset
                while True:
                    await peer.drain()
                    piece = source.read(PIECE_BYTES)
                    peer.send(msg.Piece(it.request, it.hash, size, at), piece)
                    at += len(piece)
                    if at >= size or not piece:
                        break
                if peer.role == "client":  # a value, which is seldom read twice: memory that is used already is quicker than more
                    os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except TitanError as e:
            peer.send(error_of(it.request, e))
        except ConnectionError:
            pass  # it will ask again on its next connection
        except (OSError, ValueError) as e:
            peer.send(error_of(it.request, EnvironmentFault(f"the artifact {it.hash[:12]} cannot be read: {e}")))
