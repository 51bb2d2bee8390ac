"""Providers of burst workers: the interface, and the adapter between a provider and the core.

To add a provider (a cloud, a batch system), write a class with the four methods of `Provider`. A
provider decides nothing: the core decides how many workers to start and which to stop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from titan.core import effects as fx
from titan.core.inputs import BurstGone
from titan.errors import TitanError

log = logging.getLogger("titan.master")


class Provider(Protocol):
    """Interface that starts and stops workers. A provider reports the end of each worker once."""

    gone: Callable[[str, str], None]
    """Callback (name, reason) for the end of a worker. It is set before the first call."""

    async def open(self, address: str) -> list[str]:
        """Return the running workers that a previous process of the master started.

        `address` is the address at which workers reach this master.
        """
        ...

    async def start(self, name: str, capabilities: tuple[str, ...], slots: int) -> None:
        """Start a worker of that name. The worker registers with the master by itself.

        Raises TitanError or OSError if the worker cannot be started.
        """
        ...

    async def stop(self, name: str) -> None:
        """Stop a worker, even if it runs attempts.

        The master calls this method if a worker does not leave after the order to leave.
        """
        ...

    async def close(self) -> None:
        """Stop the workers that must not outlive the master. The master calls this when it ends."""
        ...


class Bursts:
    """Adapter that passes the core's orders to a provider, and the provider's reports to the core.

    There are no burst workers if `provider` is None.
    """

    def __init__(self, provider: Provider | None, see: Callable[[BurstGone], None]) -> None:
        self._provider = provider
        self._see = see
        self._known: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self, address: str) -> tuple[str, ...]:
        """Return the burst workers that are already running."""
        if self._provider is None:
            return ()
        self._provider.gone = self._on_gone
        found = await self._provider.open(address)
        self._known.update(dict.fromkeys(found))
        return tuple(found)

    def start(self, effect: fx.StartBurst) -> None:
        if self._closing:
            return  # the next master will notice that this worker is missing
        self._known[effect.name] = None
        self._do(effect.name, self._start(effect))

    def stop(self, effect: fx.StopBurst) -> None:
        if self._provider is None or effect.name not in self._known:
            self._see(BurstGone(effect.name, "its provider does not know this worker"))
        else:
            self._do(effect.name, self._provider.stop(effect.name))

    async def close(self) -> None:
        """Stop the workers and start no more.

        Call this before the core is closed, because the core must still take the attempts that
        these workers return.
        """
        self._closing = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._provider is not None:
            await self._provider.close()

    async def _start(self, effect: fx.StartBurst) -> None:
        if self._provider is None:
            self._on_gone(effect.name, "no provider of burst workers is configured: start the master with --scale")
            return
        try:
            await self._provider.start(effect.name, effect.capabilities, effect.slots)
        except (OSError, TitanError) as e:
            log.error("burst worker %s cannot be started: %s", effect.name, e)
            self._on_gone(effect.name, f"it could not be started: {e}")
        else:
            log.info("burst worker %s is started for %s", effect.name, " ".join(effect.capabilities))

    def _on_gone(self, name: str, reason: str) -> None:
        if self._known.pop(name, ()) is None:
            log.info("burst worker %s has ended: %s", name, reason)
            self._see(BurstGone(name, reason))

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an order for burst worker %s failed", task.get_name(), exc_info=task.exception())
