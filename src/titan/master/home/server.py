"""Server that owns a home. Only one process owns a home, from `start` until it stops or fails."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from abc import ABC, abstractmethod
from pathlib import Path

from titan.errors import CallerError, EnvironmentFault, HomeGone
from titan.host.home_lock import HomeLock
from titan.host.privacy import open_home
from titan.journal.anchors import CHECK_S, Anchors


class HomeServer(ABC):
    """Base class of the master and the stand-alone store. Subclasses open and close their parts."""

    WHAT = "the server"
    DANGER = "use it"
    """Verb phrase for an error text: the permissions of everyone who can reach the server."""

    def __init__(self, home: Path, host: str, *, insecure: bool, journaled: bool) -> None:
        """`insecure`: allow addresses that other machines can reach. `journaled`: the server keeps
        a journal, whose writer notices a home that was deleted."""
        self.home = home
        self.host = host
        self._insecure = insecure
        self._journaled = journaled
        self._watch: asyncio.Task[None] | None = None
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
            if not self._journaled:
                self._watch = asyncio.get_running_loop().create_task(self._watch_home(Anchors(self.places)))
        except OSError as e:
            self._lock.release()
            problem = f"the home {self.home} cannot be used: {e.filename or self.home}: {e.strerror or e}"
            advice = "free space there" if e.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable for this user"
            raise EnvironmentFault(f"{problem}: {advice}, or choose another with --home") from e
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
        if self._watch is not None:
            self._watch.cancel()
        await self._close()
        self._lock.release()

    @abstractmethod
    async def _open(self) -> None:
        """Open all parts. This process holds the lock of the home."""

    @abstractmethod
    async def _close(self) -> None:
        """Close all parts. This process still holds the lock of the home."""

    async def _watch_home(self, anchors: Anchors) -> None:
        """End the server when its home was deleted, moved or replaced."""
        try:
            while True:
                await asyncio.sleep(CHECK_S)
                anchors.check()
        except (HomeGone, OSError) as error:
            self._on_fatal(error)

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
