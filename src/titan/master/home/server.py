"""Server that owns a home. Only one process owns a home, from `start` until it stops or fails."""

from __future__ import annotations

import asyncio
import ipaddress
from abc import ABC, abstractmethod
from pathlib import Path

from titan.errors import CallerError, EnvironmentFault
from titan.host.home_lock import HomeLock
from titan.host.privacy import open_home


class HomeServer(ABC):
    """Base class of the master and the stand-alone store. Subclasses open and close their parts."""

    WHAT = "the server"
    DANGER = "use it"
    """Verb phrase for an error text: the permissions of everyone who can reach the server."""

    def __init__(self, home: Path, host: str, *, insecure: bool) -> None:
        """`insecure`: allow addresses that other machines can reach."""
        self.home = home
        self.host = host
        self._insecure = insecure
        self._lock = HomeLock(home / "lock")
        self._stopped: asyncio.Future[None] | None = None

    @property
    def places(self) -> tuple[Path, ...]:
        """Return the paths that must not be moved while this process uses the home."""
        return self.home, self._lock.path

    async def start(self) -> None:
        """Recover and listen.

        Raises Conflict if another process uses the home. Also raises PortInUse, JournalCorrupt,
        JournalFailed and CallerError.
        """
        self._check_host()
        self._stopped = asyncio.get_running_loop().create_future()
        open_home(self.home)
        try:
            self._lock.acquire()
            await self._open()
        except OSError as e:
            self._lock.release()
            problem = f"the home {self.home} cannot be used: {e.filename or self.home}: {e.strerror or e}"
            raise EnvironmentFault(f"{problem}: make it writable for this user, or give another with --home") from e
        except BaseException:
            self._lock.release()
            raise

    async def run(self) -> None:
        """Wait for `request_stop`, or raise the error that ends the server."""
        assert self._stopped is not None
        await self._stopped

    def request_stop(self) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def stop(self) -> None:
        """Close all connections and the journal."""
        await self._close()
        self._lock.release()

    @abstractmethod
    async def _open(self) -> None:
        """Open all parts. This process holds the lock of the home."""

    @abstractmethod
    async def _close(self) -> None:
        """Close all parts. This process still holds the lock of the home."""

    def _on_fatal(self, error: BaseException) -> None:
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_exception(error)

    def _check_host(self) -> None:
        """Raise CallerError unless the host is loopback or `insecure` is set."""
        try:
            loopback = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            loopback = False
        if not loopback and not self._insecure:
            raise CallerError(
                f"binding to {self.host} opens {self.WHAT} to everyone who can reach that address: they may {self.DANGER}. "
                "Give --insecure if that network is yours alone"
            )
