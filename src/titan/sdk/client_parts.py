"""Interfaces of `AsyncClient` that runs, pipelines and schedules use, without its class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from titan.sdk.connection import Connection
from titan.sdk.job import DAG
from titan.sdk.staging import StagedDag
from titan.sdk.status import JobStatus, RunStatus, RunSummary


class Stager(Protocol):
    """Client that stages DAGs on the master.

    The connection exists only while the client is open.
    """

    @property
    def _connection(self) -> Connection: ...

    def _staged(self, dag: DAG, *, addition: bool = False) -> AbstractAsyncContextManager[StagedDag]:
        """Provide the staged DAG, with its files on the master. Raises InvalidGraph."""


class Watcher(Stager, Protocol):
    """Client that also watches, reads and cancels runs."""

    def changes(
        self, run: str, *, jobs: bool = True, progress: bool = False, services: bool = True
    ) -> AsyncIterator[tuple[RunSummary, list[JobStatus]]]: ...

    async def status(self, run: str) -> RunStatus: ...

    async def cancel(self, target: str) -> int: ...
