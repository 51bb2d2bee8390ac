"""What the parts of a client ask of it: runs, pipelines and schedules know these names of
`AsyncClient`, and none of its class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from titan.sdk.connection import Connection
from titan.sdk.job import DAG
from titan.sdk.staging import StagedDag
from titan.sdk.status import JobStatus, RunStatus, RunSummary


class Stager(Protocol):
    """Brings DAGs to the master; not open before the client is."""

    @property
    def _connection(self) -> Connection: ...

    def _staged(self, dag: DAG, *, addition: bool = False) -> AbstractAsyncContextManager[StagedDag]:
        """The DAG, with its files on the master. Raises InvalidGraph."""


class Watcher(Stager, Protocol):
    """Knows besides what becomes of runs."""

    def changes(
        self, run: str, *, jobs: bool = True, progress: bool = False
    ) -> AsyncIterator[tuple[RunSummary, list[JobStatus]]]: ...

    async def status(self, run: str) -> RunStatus: ...

    async def cancel(self, target: str) -> int: ...
