"""Stand-alone TitanStore: the store, its journal and its port, without scheduling.

The journal has the format of a master's journal. A master can therefore open the home of a store,
and a store can open the home of a master.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from pathlib import Path

from titan.host.clock import SteadyClock
from titan.journal import SyncPolicy
from titan.master.core_loop import CoreLoop
from titan.master.home.server import HomeServer
from titan.master.interpreter_settings import tune_interpreter
from titan.master.recovery import recover
from titan.master.storage import open_storage, store_of
from titan.master.store.port import StorePort
from titan.master.store.sessions import StoreSessions
from titan.model.settings import Settings

log = logging.getLogger("titan.store")


class StoreServer(HomeServer):
    """Stand-alone store. If `policy` is None, no journal is kept. Port 0 means a free port."""

    WHAT = "the store"
    DANGER = "read and change all of it"

    def __init__(
        self,
        home: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 6379,
        policy: SyncPolicy | None = SyncPolicy.ALWAYS,
        insecure: bool = False,
        password: str = "",
        config: dict[str, str] | None = None,
    ) -> None:
        """`config` has settings as for CONFIG SET, such as maxmemory."""
        super().__init__(home, host, insecure=insecure, journaled=policy is not None)
        self._port = port
        self._policy = policy
        self._config = {**(config or {}), **({"requirepass": password} if password else {})}

    @property
    def address(self) -> str:
        return self.port.address

    async def _open(self) -> None:
        recovered = recover(open_storage(store_of(self.home), policy=self._policy, places=self.places), Settings())
        for warning in recovered.warnings:
            log.warning("%s", warning)
        if self._policy is None:
            log.warning("no journal is kept: a crash of this store loses everything")
        tune_interpreter()
        self.core = CoreLoop(
            recovered.state,
            SteadyClock(0.0),
            prepare=lambda effects: [],
            on_events=lambda events: None,
            on_pressure=lambda pressed: self.port.press(pressed=pressed),
            on_fatal=self._on_fatal,
        )
        self.sessions = StoreSessions(self.core, stop=self.request_stop)
        self.sessions.configure(self._config)
        self.port = StorePort(self.sessions, self.host, self._port)
        await self.port.open()
        try:
            self.core.lead(recovered.follower, secrets.token_hex(8))
            await self.core.settled()
            await self.port.serve()
        except BaseException:
            self.port.close()
            raise
        about = {"store": self.address, "pid": os.getpid()}
        (self.home / "store.json").write_text(json.dumps(about) + "\n")
        log.info("store on %s, home %s", self.address, self.home)

    async def _close(self) -> None:
        self.port.close()
        self.sessions.close()
        await self.core.close()
        with contextlib.suppress(OSError):
            (self.home / "store.json").unlink()
