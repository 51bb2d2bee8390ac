"""Connections of the dashboard to the master: one for reading, and one for each actor that changes
something, so that the master records who it was."""

from __future__ import annotations

from collections import OrderedDict

from titan.sdk.client import AsyncClient

MOST_ACTORS = 64
"""Connections of actors that stay open. The least recently used is closed."""
PATIENCE_S = 5.0
"""Seconds for which a request waits for a master that restarts."""


class Clients:
    def __init__(self, address: str) -> None:
        self.reader = AsyncClient(address, patience_s=PATIENCE_S, actor="dashboard")
        self._address = address
        self._actors: OrderedDict[str, AsyncClient] = OrderedDict()

    async def of(self, actor: str) -> AsyncClient:
        """Return the connection on which an actor changes something."""
        client = self._actors.get(actor)
        if client is None:
            client = self._actors[actor] = AsyncClient(self._address, patience_s=PATIENCE_S, actor=actor)
            if len(self._actors) > MOST_ACTORS:
                _, oldest = self._actors.popitem(last=False)
                await oldest.close()
        self._actors.move_to_end(actor)
        return client

    async def close(self) -> None:
        for client in (self.reader, *self._actors.values()):
            await client.close()
