"""A server that owns a home: one process at a time, from `start` until it is told to stop or cannot
go on."""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from pathlib import Path

from titan.errors import CallerError, EnvironmentFault
from titan.host.home_lock import HomeLock
from titan.host.privacy import open_home


class HomeServer(ABC):
    """What a master and a store of its own have in common. Subclasses open and close."""

    WHAT = "the server"
    DANGER = "use it"
    """What anybody may do who can reach it."""

    def __init__(self, home: Path, host: str, *, insecure: bool) -> None:
        """`insecure`: it may listen where others can reach it."""
        self.home = home
        self.host = host
        self._insecure = insecure
        self._lock = HomeLock(home / "lock")
        self._stopped: asyncio.Future[None] | None = None

    @property
    def places(self) -> tuple[Path, ...]:
        """What must stay where it is while this process works on the home."""
        return self.home, self._lock.path

    async def start(self) -> None:
        """Recovers and listens. Raises Conflict (the home is taken), PortInUse, JournalCorrupt,
        JournalFailed, CallerError."""
        self._check_host()
        self._stopped = asyncio.get_running_loop().create_future()
        open_home(self.home)
        try:
            self._lock.acquire()
            await self._open()
        except OSError as e:
            self._lock.release()
            what = f"the home {self.home} cannot be used: {e.filename or self.home}: {e.strerror or e}"
            raise EnvironmentFault(f"{what}: make it writable for this user, or give another with --home") from e
        except BaseException:
            self._lock.release()
            raise

    async def run(self) -> None:
        """Until `request_stop`, or an error that is final, which it raises."""
        assert self._stopped is not None
        await self._stopped

    def request_stop(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def stop(self) -> None:
        """Closes every connection and the journal."""
        await self._close()
        self._lock.release()

    @abstractmethod
    async def _open(self) -> None:
        """The home is this process's."""

    @abstractmethod
    async def _close(self) -> None:
        """The home is still this process's."""

    def _on_fatal(self, error: BaseException) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_exception(error)

    def _check_host(self) -> None:
        """Loopback, unless it was said that others may come. Raises CallerError."""
        try:
            loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            loopback = False
        if not loopback and not self._insecure:
            raise CallerError(
                f"binding to {self.host} opens {self.WHAT} to everyone who can reach it, and anyone who can may {self.DANGER}: "
                "say --insecure if that network is yours alone"
            )
