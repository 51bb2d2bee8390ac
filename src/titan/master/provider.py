"""Where burst workers come from: the interface, and what stands between a provider and the core.

To have them come from elsewhere (a cloud, a batch system), write a class with the four methods of
`Provider`. It decides nothing: how many there are to be, and which go, is the core's to say.
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
    """Starts and ends workers. Each that it was told to start, and that is no more, is reported
    once by `gone`."""

    gone: Callable[[str, str], None]
    """(name, reason), set before the first call."""

    async def open(self, address: str) -> list[str]:
        """The workers that live on from the master's last process. `address`: where workers find
        this one."""
        ...

    async def start(self, name: str, capabilities: tuple[str, ...], slots: int) -> None:
        """Makes a worker of that name, which registers by itself. Raises TitanError or OSError if
        it cannot be made."""
        ...

    async def stop(self, name: str) -> None:
        """Ends it, whatever it does. One that was told to leave ends by itself; this is for those
        that do not."""
        ...

    async def close(self) -> None:
        """The master ends. Workers that are not to outlive it are ended."""
        ...


class Bursts:
    """Carries the core's orders to a provider, and its reports back. `provider` None: no burst
    workers are wanted."""

    def __init__(self, provider: Provider | None, see: Callable[[BurstGone], None]) -> None:
        self._provider = provider
        self._see = see
        self._known: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self, address: str) -> tuple[str, ...]:
        """The burst workers that are there already."""
        if self._provider is None:
            return ()
        self._provider.gone = self._on_gone
        found = await self._provider.open(address)
        self._known.update(dict.fromkeys(found))
        return tuple(found)

    def start(self, effect: fx.StartBurst) -> None:
        if self._closing:
            return  # the next master will find that it is not there
        self._known[effect.name] = None
        self._do(effect.name, self._start(effect))

    def stop(self, effect: fx.StopBurst) -> None:
        if self._provider is None or effect.name not in self._known:
            self._see(BurstGone(effect.name, "its provider knows of no such worker"))
        else:
            self._do(effect.name, self._provider.stop(effect.name))

    async def close(self) -> None:
        """Starts nothing more. Those that end with the master hand back what they ran, so close
        this before the core."""
        self._closing = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._provider is not None:
            await self._provider.close()

    async def _start(self, effect: fx.StartBurst) -> None:
        if self._provider is None:
            self._on_gone(effect.name, "no provider of burst workers is set up: give --scale")
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
            log.info("burst worker %s is no more: %s", name, reason)
            self._see(BurstGone(name, reason))

    def _do(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("an order for burst worker %s failed", task.get_name(), exc_info=task.exception())
