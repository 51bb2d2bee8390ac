"""A `titan store` process for one test."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import psutil
import redis

from support.cluster import Cluster, Spawned
from support.waiting import until

Redis: Any = redis.Redis
"""Client class without its types, which leave open whether a call is asynchronous."""


class StoreServer:
    """`titan store` process. The kernel chooses its port at the first start; later starts use the
    same port."""

    def __init__(self, base: Path, *options: str) -> None:
        self.spawner = Cluster(base)
        self.home = self.spawner.base / "store-home"
        self.options = options
        self.port = 0
        self.process: Spawned | None = None
        self.clients: list[Any] = []

    def start(self) -> None:
        about = self.home / "store.json"
        about.unlink(missing_ok=True)
        where = ("--home", str(self.home), "--port", str(self.port), *self.options)
        process = self.process = self.spawner.spawn("store", *where, label="store")
        until(lambda: (about.exists() and about.read_text().endswith("\n")) or not process.running, "the store listens")
        assert process.running, process.err
        self.port = int(json.loads(about.read_text())["store"].rpartition(":")[2])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()

    def client(self, **options: object) -> Any:
        made = Redis(host="127.0.0.1", port=self.port, socket_timeout=20, **options)
        self.clients.append(made)
        return made

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def memory(self) -> int:
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def close(self) -> None:
        for made in self.clients:
            made.close()
        self.spawner.close()
